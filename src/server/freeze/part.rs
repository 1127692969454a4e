//! The parts of a program beside its server that rest in a freeze.

use crate::base::rest::RestOrder;

/// A part of the program that works for a server on threads of its own, such as one that writes to a
/// disk. All methods are called on the server's main thread, and don't wait.
pub trait Freezes: Send + Sync {
    /// The part, for people: what a freeze was taken back for.
    fn name(&self) -> &'static str;

    /// Nothing new comes in any more; a clock of the part's own stands from here on.
    fn hush(&self) {}

    /// Does what was given, also what follows from that, and then rests for this order. Nobody gives
    /// more: the server's callbacks rest, and so do the parts before this one.
    fn rest(&self, order: RestOrder);

    /// Goes on, wherever it is.
    fn thaw(&self);
}
