//! Freeze and thaw: the whole server comes to a stand with nothing under way, and goes on where it was.
//!
//! The main thread brings one thread after the other to rest, in an order in which each still needs
//! those after it:
//!
//! | step | who | until |
//! |---|---|---|
//! | hush | reactors | nothing new comes in; their owner is told nothing from here to the thaw |
//! | settle | workers, disk, processes go on | each request that was handed on is answered |
//! | rest | processes, then workers | pipes aren't touched; what stood in the queues is handled |
//! | parts | threads beside the server ([`Freezes`]), one part after the other | each has done what it was given |
//! | still | calls of foreign threads, then reactors | commands are carried out, what waits was written once |
//!
//! Then a function looks at all that stands still ([`FrozenServer`]), and the same steps lead back. A
//! freeze that isn't there in time, or that a stop overtakes, is taken back from where it is, and says
//! who held it. Each has a number, so that a thread that was late doesn't rest for one that is over.
//!
//! What stays as it is, as plain data: bytes half read and half written, large deliveries half done, the
//! events that wait for their connection's turn. Messages that gather go out before the stand.

mod board;
mod course;
mod driver;
mod errand;
mod frozen;
mod gate;
mod part;

pub(super) use board::FreezeBoard;
pub(super) use driver::FreezeDriver;
pub use errand::{FreezeErrand, FreezeError, FreezeHolder, FreezeStep, FreezeTimes};
pub use frozen::{FrozenReactor, FrozenServer};
pub(super) use gate::CallPass;
pub use part::Freezes;
