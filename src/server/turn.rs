//! The turn of one connection on a worker: the time and the answers that its messages have cost so
//! far.
//!
//! The turn is kept with the thread, so that every push of a callback counts, whichever handle it
//! took.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::base::Fd;

/// Time for which one connection may keep a worker while others wait: with twenty of them in the
/// ring, each is back within 20 ms, and a connection that asks little waits for one of them at
/// most.
pub(super) const TURN: Duration = Duration::from_millis(1);

/// A name that no connection has.
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

/// The costs of a turn so far.
struct TurnState {
    fd: Cell<Fd>,
    /// Bytes that its callbacks pushed to the connection itself.
    pushed: Cell<usize>,
    pushed_max: Cell<usize>,
    /// The time at which the turn's length was first asked for; one message alone is never timed.
    began: Cell<Option<Instant>>,
    /// The number of handled parts of the message, if the rest has to wait.
    stopped_at: Cell<Option<u32>>,
}

/// Sets how many bytes a turn on this thread may push to its own connection.
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

/// Ends the turn of whoever has it.
pub(super) fn end() {
    begin(NOBODY);
}

/// Counts the bytes that are pushed to a connection, if this is the connection's turn.
pub(super) fn note_pushed(fd: Fd, bytes: usize) {
    CURRENT.with(|turn| {
        if turn.fd.get() == fd {
            turn.pushed.set(turn.pushed.get() + bytes);
        }
    });
}

/// Whether the connection got so many bytes that the next answer has to wait until the peer has
/// read.
pub(super) fn has_pushed_much() -> bool {
    CURRENT.with(|turn| turn.pushed.get() > turn.pushed_max.get())
}

/// Whether the turn is over: the connection got enough answers, or the turn has lasted its time.
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

/// Whether a worker handles a message of this connection, so that a turn can end.
pub(super) fn is_of(fd: Fd) -> bool {
    CURRENT.with(|turn| turn.fd.get() == fd)
}

/// Stops inside a message, of which `parts` parts are handled.
pub(super) fn stop_at(parts: u32) {
    CURRENT.with(|turn| turn.stopped_at.set(Some(parts)));
}

/// Returns the number of handled parts if the last message stopped.
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
