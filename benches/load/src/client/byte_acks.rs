//! Acknowledgements of a server that speaks neither WebSocket nor HTTP: each has a certain text once.

use memchr::memmem;

use crate::client::ack::{Answer, Outcome};

/// What a refusal is called: its text says no more that could be relied on.
const REFUSED: &str = "refused";

/// The texts that answers are counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AckTexts {
    /// Text that each acknowledgement has once.
    pub(crate) taken: Vec<u8>,
    /// Text that each refusal has once; `None` for a server that has no refusals.
    pub(crate) refused: Option<Vec<u8>>,
}

/// Finds the answers in a stream of bytes, however it is cut.
#[derive(Debug)]
pub(crate) struct AckCounter {
    texts: AckTexts,
    /// The end of what came, which may be the beginning of a text.
    held: Vec<u8>,
}

impl AckCounter {
    /// Begins with nothing read.
    pub(crate) fn new(texts: AckTexts) -> Self {
        Self {
            texts,
            held: Vec::new(),
        }
    }

    /// Calls `answered` for each answer that these bytes complete, in order.
    pub(crate) fn receive(&mut self, bytes: &[u8], answered: &mut impl FnMut(Answer)) {
        self.held.extend_from_slice(bytes);
        let mut place = 0;
        while let Some((end, outcome)) = self.next_answer(place) {
            answered(Answer { seq: None, outcome });
            place = end;
        }
        let refused = self.texts.refused.as_ref().map_or(0, Vec::len);
        let unfinished = self.texts.taken.len().max(refused) - 1;
        let keep_from = place.max(self.held.len().saturating_sub(unfinished));
        self.held.drain(..keep_from);
    }

    /// The end of the next answer behind `place`, and what it says.
    fn next_answer(&self, place: usize) -> Option<(usize, Outcome)> {
        let rest = &self.held[place..];
        let end_of = |text: &[u8]| Some(place + memmem::find(rest, text)? + text.len());
        let taken = end_of(&self.texts.taken);
        let refused = self.texts.refused.as_deref().and_then(end_of);
        match (taken, refused) {
            (Some(end), Some(refused)) if refused < end => Some((refused, refusal())),
            (None, Some(refused)) => Some((refused, refusal())),
            (taken, _) => Some((taken?, Outcome::accepted())),
        }
    }
}

fn refusal() -> Outcome {
    Outcome::Refused(REFUSED.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(parts: &[&[u8]]) -> Vec<Outcome> {
        let mut counter = AckCounter::new(AckTexts {
            taken: b"+OK".into(),
            refused: Some(b"-ERR".into()),
        });
        let mut outcomes = Vec::new();
        for part in parts {
            counter.receive(part, &mut |answer: Answer| outcomes.push(answer.outcome));
        }
        outcomes
    }

    #[test]
    fn answers_are_counted_once_and_in_order_however_they_are_cut() {
        let bytes = b"+OK\r\n-ERR no room\r\n+OK\r\n+O";
        let expected = [Outcome::accepted(), refusal(), Outcome::accepted()];
        for cut in 0..=bytes.len() {
            let (head, rest) = bytes.split_at(cut);
            assert_eq!(outcomes(&[head, rest]), expected, "cut at {cut}");
        }
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(outcomes(&each), expected);
    }
}
