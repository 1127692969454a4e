//! Pipelining: answers leave in the order of their requests (RFC 9112 §9.3.2).
//!
//! A request that was read gets a serial number; its answer may come at any time and from anywhere,
//! and leaves when all before it have left.
//!
//! Invariant: nothing leaves after an answer that closes the connection.

use std::collections::VecDeque;

use bytes::Bytes;

use super::response::AnswerTo;

/// The requests of one connection whose answers haven't left, oldest first.
///
/// The oldest one is kept in place: a connection that doesn't pipeline needs no heap, and one that
/// did gives it back once no second request waits.
#[derive(Debug, Default)]
pub struct Answers {
    oldest: Option<Slot>,
    later: VecDeque<Slot>,
    /// The serial number of `oldest`, or of the next request where there is none.
    serial: u32,
    closed: bool,
}

#[derive(Debug)]
struct Slot {
    to: AnswerTo,
    answer: Option<(Bytes, bool)>,
}

impl Answers {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a request that was read; gives the serial number under which its answer is filled in.
    ///
    /// Serial numbers count up and wrap around: unique as long as fewer than 2^32 wait.
    pub fn begin(&mut self, to: AnswerTo) -> u32 {
        let serial = self.serial.wrapping_add(self.waiting() as u32);
        let slot = Slot { to, answer: None };
        if self.oldest.is_none() {
            self.oldest = Some(slot);
        } else {
            self.later.push_back(slot);
        }
        serial
    }

    /// What the encoder must know of a request; `None` where it doesn't wait for an answer any more.
    #[must_use]
    pub fn answer_to(&self, serial: u32) -> Option<AnswerTo> {
        let slot = match serial.wrapping_sub(self.serial) {
            0 => self.oldest.as_ref(),
            later => self.later.get(later as usize - 1),
        };
        slot.filter(|slot| slot.answer.is_none())
            .map(|slot| slot.to)
    }

    /// Fills in an encoded answer; `close_after` ends the connection once it has left.
    ///
    /// False where the request doesn't wait any more: answered already, or cut off by an answer
    /// that closed. Then nothing is changed.
    pub fn fill(&mut self, serial: u32, encoded: Bytes, close_after: bool) -> bool {
        let slot = match serial.wrapping_sub(self.serial) {
            0 => self.oldest.as_mut(),
            later => self.later.get_mut(later as usize - 1),
        };
        match slot {
            Some(slot) if slot.answer.is_none() => {
                slot.answer = Some((encoded, close_after));
                true
            }
            _ => false,
        }
    }

    /// The next answer that may leave, and whether the connection closes after it.
    ///
    /// After one that closes, nobody waits any more and later requests get nothing.
    pub fn next_answer(&mut self) -> Option<(Bytes, bool)> {
        if self.closed {
            return None;
        }
        let (encoded, close_after) = self.oldest.as_mut()?.answer.take()?;
        self.serial = self.serial.wrapping_add(1);
        self.oldest = self.later.pop_front();
        if close_after {
            self.serial = self.serial.wrapping_add(self.waiting() as u32);
            self.oldest = None;
            self.later.clear();
            self.closed = true;
        }
        if self.later.is_empty() {
            self.later = VecDeque::new();
        }
        Some((encoded, close_after))
    }

    /// How many requests wait for their answers to leave.
    #[must_use]
    pub fn waiting(&self) -> usize {
        usize::from(self.oldest.is_some()) + self.later.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: AnswerTo = AnswerTo {
        keep_alive: true,
        ..AnswerTo::REFUSED
    };

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn an_answer_waits_for_all_before_it() {
        let mut answers = Answers::new();
        let [a, b, c] = [answers.begin(GET), answers.begin(GET), answers.begin(GET)];
        assert!(answers.fill(c, bytes("c"), false));
        assert!(answers.fill(b, bytes("b"), false));
        assert_eq!((answers.next_answer(), answers.waiting()), (None, 3));
        assert!(answers.fill(a, bytes("a"), false));
        let left: Vec<_> = std::iter::from_fn(|| answers.next_answer()).collect();
        assert_eq!(
            left,
            [
                (bytes("a"), false),
                (bytes("b"), false),
                (bytes("c"), false)
            ]
        );
        assert_eq!(answers.waiting(), 0);
    }

    #[test]
    fn an_answer_is_taken_once() {
        let mut answers = Answers::new();
        let (a, b) = (answers.begin(GET), answers.begin(GET));
        assert!(answers.fill(a, bytes("a"), false));
        assert!(!answers.fill(a, bytes("again"), true));
        assert_eq!(answers.answer_to(a), None);
        assert_eq!(answers.next_answer(), Some((bytes("a"), false)));
        assert!(!answers.fill(a, bytes("late"), false));
        assert!(!answers.fill(b + 1, bytes("early"), false));
        assert_eq!(answers.answer_to(b), Some(GET));
        assert_eq!(answers.waiting(), 1);
    }

    #[test]
    fn nothing_leaves_after_an_answer_that_closes() {
        let mut answers = Answers::new();
        let [a, b, c] = [answers.begin(GET), answers.begin(GET), answers.begin(GET)];
        assert!(answers.fill(c, bytes("c"), false) && answers.fill(a, bytes("a"), true));
        assert_eq!(answers.next_answer(), Some((bytes("a"), true)));
        assert_eq!((answers.next_answer(), answers.waiting()), (None, 0));
        assert!(!answers.fill(b, bytes("b"), false));
        let d = answers.begin(GET);
        assert!(![a, b, c].contains(&d));
        answers.fill(d, bytes("d"), false);
        assert_eq!(answers.next_answer(), None);
    }

    #[test]
    fn a_connection_that_does_not_pipeline_needs_no_heap() {
        let mut answers = Answers::new();
        for _ in 0..3 {
            let serial = answers.begin(GET);
            answers.fill(serial, bytes("a"), false);
            answers.next_answer().unwrap();
            assert_eq!(answers.later.capacity(), 0);
        }
        let serials = [answers.begin(GET), answers.begin(GET)];
        for serial in serials {
            answers.fill(serial, bytes("a"), false);
            answers.next_answer().unwrap();
        }
        assert_eq!(answers.later.capacity(), 0);
    }

    #[test]
    fn serial_numbers_wrap_around() {
        let mut answers = Answers {
            serial: u32::MAX,
            ..Answers::default()
        };
        let (a, b) = (answers.begin(GET), answers.begin(GET));
        assert_eq!((a, b), (u32::MAX, 0));
        assert!(answers.fill(b, bytes("b"), false) && answers.fill(a, bytes("a"), false));
        assert_eq!(answers.next_answer(), Some((bytes("a"), false)));
        assert_eq!(answers.next_answer(), Some((bytes("b"), false)));
    }
}
