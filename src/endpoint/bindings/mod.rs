//! Who is where, written to a store for other programs: the thread, its counter, its numbers.
//!
//! The chat notes which rows change, the thread says what is so about them ([`crate::chat::Bindings`]).
//! After each new connection the whole table is compared with what stands there, so the store may lose
//! whatever it likes.
//!
//! Nobody waits for the store but this thread: where it is away or slow, the chat goes on.

mod compare;
mod feed;
mod thread;

use std::fmt;
use std::sync::Arc;

pub(super) use feed::BindingFeed;
pub(super) use thread::start;

use crate::chat::BindingStore;

/// How bindings are written to a store.
#[derive(Clone)]
pub struct BindingSettings {
    /// The store.
    pub store: Arc<dyn BindingStore>,
    /// The server's name, the same after each restart.
    pub node: String,
    /// Rows that wait to be written, at the most; with one more, the whole table is compared instead.
    pub changes_max: usize,
    /// Milliseconds between two writes at least.
    pub gather_ms: u64,
}

impl fmt::Debug for BindingSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindingSettings")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
