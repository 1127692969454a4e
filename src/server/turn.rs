//! The turn of one connection on a worker: what its messages have cost so far.
//!
//! It is kept with the thread, so that it sees every push of a callback, whichever handle it took.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::base::Fd;

/// How long one connection may keep a worker while others wait: with twenty of them in the ring,
/// each is back within 20 ms, and whoever asks little waits for one of them at most.
pub(super) const TURN: Duration = Duration::from_millis(1);

/// No connection has this name.
const NOBODY: Fd = Fd(u64::MAX);

thread_local! {
    static CURRENT: TurnState = const {
        TurnState {
            fd: Cell::new(NOBODY),
            pushed: Cell::new(0),
            pushed_max: Cell::new(usize::MAX),
            began: Cell::new(None),
            stopped_at: Cell::new(None),
        }
    };
}

/// What a turn has cost so far.
struct TurnState {
    fd: Cell<Fd>,
    /// Bytes that its callbacks pushed to the connection itself.
    pushed: Cell<usize>,
    pushed_max: Cell<usize>,
    /// When somebody first asked how long it takes; one message alone is never timed.
    began: Cell<Option<Instant>>,
    /// How many parts of the message are handled, if the rest has to wait.
    stopped_at: Cell<Option<u32>>,
}

/// Says how many bytes a turn on this thread may push to its own connection.
pub(super) fn set_pushed_max(bytes: usize) {
    CURRENT.with(|turn| turn.pushed_max.set(bytes));
}

/// Begins the turn of a connection.
pub(super) fn begin(fd: Fd) {
    CURRENT.with(|turn| {
        turn.fd.set(fd);
        turn.pushed.set(0);
        turn.began.set(None);
    });
}

/// Counts what is pushed to a connection, if it is its turn.
pub(super) fn note_pushed(fd: Fd, bytes: usize) {
    CURRENT.with(|turn| {
        if turn.fd.get() == fd {
            turn.pushed.set(turn.pushed.get() + bytes);
        }
    });
}

/// Whether the connection got so much that the next answer has to wait until it has read.
pub(super) fn has_pushed_much() -> bool {
    CURRENT.with(|turn| turn.pushed.get() > turn.pushed_max.get())
}

/// Whether it is the others' turn now.
pub(super) fn is_over() -> bool {
    has_pushed_much()
        || CURRENT.with(|turn| match turn.began.get() {
            Some(began) => began.elapsed() >= TURN,
            None => {
                turn.began.set(Some(Instant::now()));
                false
            }
        })
}

/// Whether it is a worker's turn of this connection, so that it can end.
pub(super) fn is_of(fd: Fd) -> bool {
    CURRENT.with(|turn| turn.fd.get() == fd)
}

/// Stops inside a message, of which so many parts are handled.
pub(super) fn stop_at(parts: u32) {
    CURRENT.with(|turn| turn.stopped_at.set(Some(parts)));
}

/// Where the message that was just handled stopped, if it did.
pub(super) fn take_stop() -> Option<u32> {
    CURRENT.with(|turn| turn.stopped_at.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_pushed_to_the_own_connection_makes_a_turn_long() {
        set_pushed_max(100);
        begin(Fd(1));
        note_pushed(Fd(2), 1_000);
        note_pushed(Fd(1), 100);
        assert!(!is_over() && !has_pushed_much());
        note_pushed(Fd(1), 1);
        assert!(is_over() && has_pushed_much());
        begin(Fd(1));
        assert!(!is_over(), "another turn");
    }

    #[test]
    fn a_turn_that_takes_long_is_over() {
        begin(Fd(1));
        assert!(!is_over(), "timed from here on");
        let began = Instant::now();
        while began.elapsed() < TURN {}
        assert!(is_over());
    }
}
