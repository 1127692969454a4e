//! What the script of a call answers, and what is kept of it.

use crate::base::{Epoch, Fd, Position};
use crate::cluster::call::{Answer, Outcome};
use crate::store::ChannelState;

/// Reads the answer to a call; `None` if it is none.
pub(super) fn answer(bytes: &[u8]) -> Option<Answer> {
    match bytes {
        b"L" => Some(Answer::OtherLife),
        b"G" => Some(Answer::Gone),
        b"O" => Some(Answer::Old),
        b"B" => Some(Answer::Broken),
        _ => done(bytes),
    }
}

fn done(bytes: &[u8]) -> Option<Answer> {
    let mut answer = AnswerBytes(bytes);
    let mut head = answer.words()?;
    let is_done = head.next()? == "D";
    let n = number(head.next())?;
    let reached = head.next()?.split(',').filter(|text| !text.is_empty());
    let reached = reached.map(|text| text.parse().ok());
    let mut reached = reached.collect::<Option<Vec<u64>>>()?;
    reached.sort_unstable();
    let mut outcomes = Vec::new();
    while !answer.0.is_empty() {
        outcomes.push(outcome(&mut answer)?);
    }
    is_done.then_some(Answer::Done {
        n,
        outcomes,
        reached,
    })
}

fn outcome(answer: &mut AnswerBytes<'_>) -> Option<Outcome> {
    let mut words = answer.words()?;
    let outcome = match words.next()? {
        "s" => Outcome::Sent {
            first: position(&mut words)?,
            second: None,
            receivers: number(words.next())?,
        },
        "S" => Outcome::Sent {
            first: position(&mut words)?,
            second: position(&mut words)?,
            receivers: number(words.next())?,
        },
        "r" => Outcome::Repeat(position(&mut words)?),
        "p" => Outcome::Settled,
        "t" => Outcome::TooManyIds,
        "u" => Outcome::TooManyOwnIds,
        "d" => Outcome::Done,
        "e" => {
            let mut count = || number(words.next());
            let counts = [count()?, count()?, count()?];
            let replaced = words.next()?;
            let outcome = entered(answer, counts, replaced)?;
            // Behind the last name there is a line feed, unless it is the end.
            answer.0 = answer.0.strip_prefix(b"\n").unwrap_or(answer.0);
            outcome
        }
        _ => return None,
    };
    Some(outcome)
}

/// Reads what an attach or a login found: in the order of names, each once.
fn entered(answer: &mut AnswerBytes<'_>, counts: [u64; 3], replaced: &str) -> Option<Outcome> {
    let mut channels = Vec::new();
    for _ in 0..counts[0] {
        let mut words = answer.words()?;
        let size = number(words.next())?;
        let state = ChannelState {
            epoch: Epoch::of(words.next()?),
            newest: number(words.next())?,
            floor: number(words.next())?,
        };
        channels.push((answer.name(size)?, state));
    }
    let mut lasting = Vec::new();
    for _ in 0..counts[1] {
        let size = number(answer.words()?.next())?;
        lasting.push(answer.name(size)?);
    }
    let mut acks = Vec::new();
    for _ in 0..counts[2] {
        let mut words = answer.words()?;
        let size = number(words.next())?;
        let offset = number(words.next())?;
        acks.push((answer.name(size)?, offset));
    }
    channels.sort_by(|(one, _), (other, _)| one.cmp(other));
    channels.dedup_by(|(one, _), (other, _)| one == other);
    lasting.sort_unstable();
    acks.sort_unstable();
    acks.dedup();
    let replaced = match replaced {
        "-" => None,
        fd => Some(Fd(fd.parse().ok()?)),
    };
    Some(Outcome::Entered {
        channels,
        lasting,
        acks,
        replaced,
    })
}

/// What is still to be read.
struct AnswerBytes<'a>(&'a [u8]);

type AnswerWords<'a> = std::str::Split<'a, char>;

impl<'a> AnswerBytes<'a> {
    /// The words of the next line.
    fn words(&mut self) -> Option<AnswerWords<'a>> {
        let end = memchr::memchr(b'\n', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(std::str::from_utf8(line).ok()?.split(' '))
    }

    fn name(&mut self, size: u64) -> Option<Box<str>> {
        let size = usize::try_from(size).ok()?;
        let (name, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(std::str::from_utf8(name).ok()?.into())
    }
}

pub(super) fn number(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

/// Reads an epoch and an offset; `- 0` is no position.
pub(super) fn position<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Option<Position>> {
    let epoch = words.next()?;
    let offset = number(words.next())?;
    Some((epoch != "-").then(|| Position {
        epoch: Epoch::of(epoch),
        offset,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_line_feeds_and_what_follows_them_are_read() {
        let text = b"D 7 12,5\ne 1 1 1 9\n3 000005 4 2\na\nb2\n\n\n3 3\na\nb\ns 000005 5 2\nd";
        let position = Position {
            epoch: Epoch::from_bits(5),
            offset: 5,
        };
        let state = ChannelState {
            epoch: Epoch::from_bits(5),
            newest: 4,
            floor: 2,
        };
        let entered = Outcome::Entered {
            channels: vec![("a\nb".into(), state)],
            lasting: vec!["\n\n".into()],
            acks: vec![("a\nb".into(), 3)],
            replaced: Some(Fd(9)),
        };
        let sent = Outcome::Sent {
            first: Some(position),
            second: None,
            receivers: 2,
        };
        let done = Answer::Done {
            n: 7,
            outcomes: vec![entered, sent, Outcome::Done],
            reached: vec![5, 12],
        };
        assert_eq!(answer(text), Some(done));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in ["", "X", "D", "D x \n", "D 1 \ns 000005 1", "D 1 \nz"] {
            assert_eq!(answer(text.as_bytes()), None, "{text:?}");
        }
    }
}
