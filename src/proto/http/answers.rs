//! Pipelining: answers leave in the order of their requests (RFC 9112 §9.3.2).
//!
//! A request that was read gets a serial number; its answer may come at any time and from any
//! thread, and leaves when all answers before it have left. It is encoded only then: until then
//! nobody knows whether the connection closes after it.

mod handover;

use std::collections::VecDeque;
use std::sync::Arc;

use super::response::{AnswerFields, AnswerTo, Response};

/// The requests of one connection whose answers haven't left, oldest first.
///
/// The oldest request is kept in place: a connection that doesn't pipeline needs no heap, and one
/// that did gives the heap back once no second request waits.
#[derive(Debug, Default)]
pub struct Answers {
    oldest: Option<AnswerSlot>,
    later: VecDeque<AnswerSlot>,
    /// The serial number of `oldest`, or of the next request where there is none.
    serial: u32,
    /// Bytes of the bodies of answers that were filled in and haven't left.
    bytes: usize,
}

#[derive(Debug)]
struct AnswerSlot {
    to: AnswerTo,
    /// Fields that the answer gets, whoever makes it.
    fields: Option<Arc<AnswerFields>>,
    answer: Option<Response>,
}

impl Answers {
    /// Makes a list in which no request waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request that was read; returns the serial number under which its answer is filled in.
    ///
    /// Serial numbers count up and wrap around: unique as long as fewer than 2^32 wait.
    pub fn begin(&mut self, to: AnswerTo) -> u32 {
        self.begin_with(to, None)
    }

    /// Adds a request whose answer gets these fields beside its own, as [`Answers::begin`] does.
    pub fn begin_with(&mut self, to: AnswerTo, fields: Option<Arc<AnswerFields>>) -> u32 {
        let serial = self.serial.wrapping_add(self.waiting() as u32);
        let slot = AnswerSlot {
            to,
            fields,
            answer: None,
        };
        if self.oldest.is_none() {
            self.oldest = Some(slot);
        } else {
            self.later.push_back(slot);
        }
        serial
    }

    /// Fills in an answer; returns `false`, and changes nothing, if the request was answered already.
    pub fn fill(&mut self, serial: u32, response: Response) -> bool {
        let slot = match serial.wrapping_sub(self.serial) {
            0 => self.oldest.as_mut(),
            later => self.later.get_mut(later as usize - 1),
        };
        match slot {
            Some(slot) if slot.answer.is_none() => {
                self.bytes += response.content().len();
                slot.answer = Some(response);
                true
            }
            _ => false,
        }
    }

    /// Takes the next answer that may leave, with the facts about its request for the encoder.
    pub fn next_answer(&mut self) -> Option<(AnswerTo, Response)> {
        let slot = self.oldest.as_mut()?;
        let mut response = slot.answer.take()?;
        let to = slot.to;
        if let Some(fields) = slot.fields.take() {
            response = response.with_fields(&fields);
        }
        self.bytes -= response.content().len();
        self.serial = self.serial.wrapping_add(1);
        self.oldest = self.later.pop_front();
        if self.later.is_empty() {
            self.later = VecDeque::new();
        }
        Some((to, response))
    }

    /// Whether [`Answers::next_answer`] would return an answer.
    #[must_use]
    pub fn has_next(&self) -> bool {
        let oldest = self.oldest.as_ref();
        oldest.is_some_and(|slot| slot.answer.is_some())
    }

    /// Counts the bytes of the bodies of answers that were filled in and haven't left.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts the requests whose answers aren't filled in.
    #[must_use]
    pub fn open(&self) -> usize {
        let slots = self.oldest.iter().chain(&self.later);
        slots.filter(|slot| slot.answer.is_none()).count()
    }

    /// Counts the requests whose answers haven't left.
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

    fn left(answers: &mut Answers) -> Vec<u16> {
        std::iter::from_fn(|| answers.next_answer())
            .map(|(_, response)| response.status())
            .collect()
    }

    #[test]
    fn an_answer_waits_for_all_before_it() {
        let mut answers = Answers::new();
        let [a, b, c] = [answers.begin(GET), answers.begin(GET), answers.begin(GET)];
        assert!(answers.fill(c, Response::new(203)));
        assert!(answers.fill(b, Response::new(202)));
        assert!(answers.next_answer().is_none() && !answers.has_next());
        assert_eq!(answers.waiting(), 3);
        assert!(answers.fill(a, Response::new(201)));
        assert!(answers.has_next());
        assert_eq!(left(&mut answers), [201, 202, 203]);
        assert_eq!(answers.waiting(), 0);
    }

    #[test]
    fn bodies_count_from_when_they_are_filled_in_until_they_leave() {
        let mut answers = Answers::new();
        let [a, b] = [answers.begin(GET), answers.begin(GET)];
        assert!(answers.fill(b, Response::text("second")));
        assert!(!answers.fill(b, Response::text("again")));
        assert_eq!(answers.bytes(), 6);
        assert!(answers.fill(a, Response::text("one")));
        assert_eq!(answers.bytes(), 9);
        assert_eq!(left(&mut answers), [200, 200]);
        assert_eq!(answers.bytes(), 0);
    }

    #[test]
    fn fields_of_a_request_stand_in_its_own_answer_alone() {
        let mut answers = Answers::new();
        let fields = Arc::new(AnswerFields::new([("Vary", "Origin")]));
        let [a, b] = [answers.begin_with(GET, Some(fields)), answers.begin(GET)];
        assert!(answers.fill(b, Response::new(202)));
        assert!(answers.fill(a, Response::new(201)));
        let left = std::iter::from_fn(|| answers.next_answer());
        let left: Vec<_> = left
            .map(|(_, response)| (response.status(), response.fields().count()))
            .collect();
        assert_eq!(left, [(201, 1), (202, 0)]);
    }

    #[test]
    fn an_answer_is_taken_once() {
        let mut answers = Answers::new();
        let (a, b) = (answers.begin(GET), answers.begin(GET));
        assert!(answers.fill(a, Response::new(201)));
        assert!(!answers.fill(a, Response::new(500)));
        assert_eq!(left(&mut answers), [201]);
        assert!(!answers.fill(a, Response::new(500)), "it has left");
        assert!(answers.fill(b, Response::new(202)));
        assert!(
            !answers.fill(b.wrapping_add(1), Response::new(500)),
            "not asked yet"
        );
        assert_eq!(left(&mut answers), [202]);
    }

    #[test]
    fn a_connection_that_does_not_pipeline_owns_no_heap() {
        let mut answers = Answers::new();
        for _ in 0..3 {
            let serial = answers.begin(GET);
            assert!(answers.fill(serial, Response::new(200)));
            assert_eq!(left(&mut answers), [200]);
        }
        assert_eq!(answers.later.capacity(), 0);
    }
}
