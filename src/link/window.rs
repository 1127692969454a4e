//! The part of its outbox that a sender holds: a range of numbers without holes, sent ones before
//! unsent ones.
//!
//! Invariant: the first message is the one behind the newest that is acknowledged; `sent` counts the
//! messages at the front that went out on the present link and weren't taken back.

use std::collections::VecDeque;

/// A message of the outbox with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedPosting {
    /// The message's place in the outbox, from 1.
    pub n: u64,
    /// The message as it was posted, as JSON.
    pub posting: Box<str>,
}

/// The messages between the newest acknowledged number and the newest that was read.
#[derive(Debug, Default)]
pub(super) struct SendWindow {
    acked: u64,
    messages: VecDeque<NumberedPosting>,
    bytes: usize,
    sent: usize,
    /// The highest number that ever went out, and the highest on the present link.
    sent_highest: u64,
    sent_highest_here: u64,
}

impl SendWindow {
    /// Returns the newest number that is acknowledged, with all before it.
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// Returns the newest number that is here, or acknowledged.
    pub(super) fn newest(&self) -> u64 {
        self.acked + self.messages.len() as u64
    }

    /// Counts the messages on the way.
    pub(super) fn on_way(&self) -> usize {
        self.sent
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes the next message; `false` if its number isn't the next one.
    #[must_use]
    pub(super) fn push(&mut self, message: NumberedPosting) -> bool {
        let is_next = message.n == self.newest() + 1;
        if is_next {
            self.bytes += message.posting.len();
            self.messages.push_back(message);
        }
        is_next
    }

    /// Takes the next message to send, and tells whether it went out before.
    pub(super) fn next_unsent(&mut self) -> Option<(&NumberedPosting, bool)> {
        let message = self.messages.get(self.sent)?;
        self.sent += 1;
        let again = message.n <= self.sent_highest;
        self.sent_highest = self.sent_highest.max(message.n);
        self.sent_highest_here = self.sent_highest_here.max(message.n);
        Some((message, again))
    }

    /// Whether a message is here that isn't on the way.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.messages.len()
    }

    /// Returns the newest number that the receiver may have seen on the present link.
    pub(super) fn seen(&self) -> u64 {
        self.sent_highest_here.max(self.acked)
    }

    /// Makes all messages unsent, though the receiver may still acknowledge some of them.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Lets go of everything up to `n`, which has to be here.
    pub(super) fn acknowledge(&mut self, n: u64) {
        debug_assert!((self.acked..=self.newest()).contains(&n), "{n}");
        while self.acked < n
            && let Some(message) = self.messages.pop_front()
        {
            self.bytes -= message.posting.len();
            self.acked = message.n;
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// Begins a link behind `n`, wherever that is; the messages that follow it stay.
    pub(super) fn restart_behind(&mut self, n: u64) {
        self.rewind();
        self.sent_highest_here = 0;
        if (self.acked..=self.newest()).contains(&n) {
            self.acknowledge(n);
        } else {
            self.messages.clear();
            self.bytes = 0;
            self.acked = n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(acked: u64, newest: u64) -> SendWindow {
        let mut window = SendWindow::default();
        window.restart_behind(acked);
        for n in acked + 1..=newest {
            let posting = "x".repeat(n as usize).into();
            assert!(window.push(NumberedPosting { n, posting }));
        }
        window
    }

    #[test]
    fn only_the_next_number_is_taken() {
        let mut window = window(4, 6);
        for n in [0, 4, 6, 8] {
            let posting = "".into();
            assert!(!window.push(NumberedPosting { n, posting }), "{n}");
        }
        assert_eq!((window.newest(), window.bytes()), (6, 11));
    }

    #[test]
    fn messages_behind_a_new_beginning_stay() {
        for (begin, left, bytes) in [(3, 0, 0), (4, 3, 18), (5, 2, 13), (7, 0, 0), (9, 0, 0)] {
            let mut window = window(4, 7);
            window.next_unsent().unwrap();
            window.restart_behind(begin);
            assert_eq!(
                (window.acked(), window.len(), window.bytes()),
                (begin, left, bytes)
            );
            assert_eq!(window.on_way(), 0, "nothing counts as sent");
        }
    }

    #[test]
    fn a_message_that_goes_out_again_is_told_apart() {
        let mut window = window(0, 3);
        let next = |window: &mut SendWindow| {
            let next = window.next_unsent();
            next.map(|(message, again)| (message.n, again))
        };
        assert_eq!(next(&mut window), Some((1, false)));
        window.rewind();
        assert_eq!(next(&mut window), Some((1, true)));
        assert_eq!(next(&mut window), Some((2, false)));
        assert_eq!(window.on_way(), 2);
        window.acknowledge(2);
        assert_eq!((window.on_way(), window.has_unsent()), (0, true));
    }
}
