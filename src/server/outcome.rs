//! The way in which a server ended.

/// The way in which a server ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerOutcome {
    /// Connections that were cut because `stop_ms_max` had passed.
    pub connections_cut: u64,
    /// Requests that were left without an answer.
    pub requests_unanswered: u64,
    /// Accepted tasks that didn't finish.
    pub tasks_unfinished: usize,
    /// Threads that were stuck in a callback.
    pub threads_stuck: usize,
    /// Whether a second signal ended the server at once.
    pub is_forced: bool,
    /// Whether the server stopped because one of its threads died, or because of [`Handle::fail`](super::Handle::fail).
    pub has_failed: bool,
}

impl ServerOutcome {
    /// Whether nothing was lost, however the stop came about.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let is_forced = false;
        Self { is_forced, ..*self } == Self::default()
    }
}
