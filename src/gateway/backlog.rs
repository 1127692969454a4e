//! What the push process holds for one upstream: a stretch of the outbox, without holes.
//!
//! Invariant: the first message is the one behind what is settled; `sent` counts those of the front
//! that went out on the present link and weren't taken back.

use std::collections::VecDeque;

/// A message of the outbox with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbered {
    /// Its place in the outbox.
    pub(super) n: u64,
    /// What was posted, as JSON.
    pub(super) posting: Box<str>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    settled: u64,
    messages: VecDeque<Numbered>,
    bytes: usize,
    sent: usize,
    /// The highest number that ever went out, and the highest on the present link.
    sent_highest: u64,
    sent_highest_here: u64,
}

impl Backlog {
    /// Everything up to this number is settled.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// The newest number that is here, or settled.
    pub(super) fn newest(&self) -> u64 {
        self.settled + self.messages.len() as u64
    }

    /// The newest number that is on the way, or settled.
    pub(super) fn sent(&self) -> u64 {
        self.settled + self.sent as u64
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

    /// Takes the next message; `false`: its number isn't the next one.
    #[must_use]
    pub(super) fn push(&mut self, message: Numbered) -> bool {
        let is_next = message.n == self.newest() + 1;
        if is_next {
            self.bytes += message.posting.len();
            self.messages.push_back(message);
        }
        is_next
    }

    /// The next message to send, and whether it went out before.
    pub(super) fn next_unsent(&mut self) -> Option<(&Numbered, bool)> {
        let message = self.messages.get(self.sent)?;
        self.sent += 1;
        let again = message.n <= self.sent_highest;
        self.sent_highest = self.sent_highest.max(message.n);
        self.sent_highest_here = self.sent_highest_here.max(message.n);
        Some((message, again))
    }

    /// Whether something is here that isn't on the way.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.messages.len()
    }

    /// The newest number that the upstream may have seen on the present link.
    pub(super) fn seen(&self) -> u64 {
        self.sent_highest_here.max(self.settled)
    }

    /// Nothing of what went out counts any more, though the upstream may still settle some of it.
    pub(super) fn unsend(&mut self) {
        self.sent = 0;
    }

    /// Lets go of everything up to `n`, which is here.
    pub(super) fn settle(&mut self, n: u64) {
        debug_assert!((self.settled..=self.newest()).contains(&n), "{n}");
        while self.settled < n
            && let Some(message) = self.messages.pop_front()
        {
            self.bytes -= message.posting.len();
            self.settled = message.n;
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// Begins behind `n`, wherever that is; what is here stays if it follows.
    pub(super) fn begin_behind(&mut self, n: u64) {
        self.unsend();
        self.sent_highest_here = 0;
        if (self.settled..=self.newest()).contains(&n) {
            self.settle(n);
        } else {
            self.messages.clear();
            self.bytes = 0;
            self.settled = n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(settled: u64, newest: u64) -> Backlog {
        let mut backlog = Backlog::default();
        backlog.begin_behind(settled);
        for n in settled + 1..=newest {
            let posting = "x".repeat(n as usize).into();
            assert!(backlog.push(Numbered { n, posting }));
        }
        backlog
    }

    #[test]
    fn only_the_next_number_is_taken() {
        let mut backlog = backlog(4, 6);
        for n in [0, 4, 6, 8] {
            let posting = "".into();
            assert!(!backlog.push(Numbered { n, posting }), "{n}");
        }
        assert_eq!((backlog.newest(), backlog.bytes()), (6, 11));
    }

    #[test]
    fn what_follows_a_new_beginning_stays() {
        for (begin, left, bytes) in [(3, 0, 0), (4, 3, 18), (5, 2, 13), (7, 0, 0), (9, 0, 0)] {
            let mut backlog = backlog(4, 7);
            backlog.next_unsent().unwrap();
            backlog.begin_behind(begin);
            assert_eq!(
                (backlog.settled(), backlog.len(), backlog.bytes()),
                (begin, left, bytes)
            );
            assert_eq!(backlog.sent(), begin, "nothing counts as sent");
        }
    }

    #[test]
    fn a_message_that_goes_out_again_is_told_apart() {
        let mut backlog = backlog(0, 3);
        assert_eq!(
            backlog.next_unsent().map(|(m, again)| (m.n, again)),
            Some((1, false))
        );
        backlog.unsend();
        assert_eq!(
            backlog.next_unsent().map(|(m, again)| (m.n, again)),
            Some((1, true))
        );
        assert_eq!(
            backlog.next_unsent().map(|(m, again)| (m.n, again)),
            Some((2, false))
        );
        backlog.settle(2);
        assert_eq!((backlog.sent(), backlog.has_unsent()), (2, true));
    }
}
