//! What nodes send each other over the bus: a head in ASCII, a line feed, then bytes. A script can write
//! one, and a node reads one in place.

use std::io::Write as _;

use crate::base::{Epoch, Position};

/// A frame, which borrows from the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message of a channel.
    Message {
        /// The call by which it was appended: until that is safe, the frame is held; 0 for one that isn't.
        n: u64,
        /// Its position, where the channel keeps it.
        position: Option<Position>,
        /// The channel.
        channel: &'a str,
        /// The message, as `payload` reads it.
        payload: &'a [u8],
    },
    /// A channel was emptied.
    Purged {
        /// The call by which it was.
        n: u64,
        /// The new epoch.
        epoch: Epoch,
        /// The channel.
        channel: &'a str,
    },
    /// Everything up to this call is safe.
    Safe(u64),
    /// A user came into a room, on whatever node.
    Joined(Moved<'a>),
    /// A user left a room, on all nodes.
    Left(Moved<'a>),
    /// A lasting membership began or ended.
    Member {
        /// The room.
        room: &'a str,
        /// The user.
        uid: &'a str,
        /// Whether it lasts from now on.
        lasting: bool,
    },
    /// A question or an order of another node.
    Request {
        /// The generation that asks.
        generation: u64,
        /// The number under which it waits for the answer.
        number: u64,
        /// JSON.
        text: &'a str,
    },
    /// The answer to such a request.
    Answer {
        /// The number of the request.
        number: u64,
        /// JSON.
        text: &'a str,
    },
    /// A node asks itself whether it hears.
    Test(u64),
    /// Generations have come or gone.
    Generations,
}

/// A user who came into a room, or left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved<'a> {
    /// The room.
    pub room: &'a str,
    /// The user.
    pub uid: &'a str,
    /// Users in the room afterwards.
    pub users: u64,
}

impl<'a> Frame<'a> {
    /// Reads a frame; `None` if these bytes are none.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', bytes)?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let rest = &bytes[end + 1..];
        let mut words = head.split(' ');
        let kind = words.next()?;
        let frame = match kind {
            "m" => message(&mut words, rest)?,
            "p" => Self::Purged {
                n: number(&mut words)?,
                epoch: epoch(words.next()?)?,
                channel: whole(&mut words, rest)?,
            },
            "s" => Self::Safe(alone(&mut words, rest)?),
            "j" => Self::Joined(moved(&mut words, rest)?),
            "l" => Self::Left(moved(&mut words, rest)?),
            "b" => {
                let lasting = flag(words.next()?)?;
                let (room, uid) = texts(&mut words, rest)?;
                Self::Member { room, uid, lasting }
            }
            "q" => Self::Request {
                generation: number(&mut words)?,
                number: number(&mut words)?,
                text: text(rest)?,
            },
            "a" => Self::Answer {
                number: number(&mut words)?,
                text: text(rest)?,
            },
            "t" => Self::Test(alone(&mut words, rest)?),
            "g" if rest.is_empty() => Self::Generations,
            _ => return None,
        };
        words.next().is_none().then_some(frame)
    }

    /// Writes the frame behind what is there.
    pub fn write(&self, to: &mut Vec<u8>) {
        let head = match *self {
            Self::Message {
                n,
                position,
                channel,
                ..
            } => match position {
                Some(Position { epoch, offset }) => {
                    write!(to, "m {n} {epoch} {offset} {}", channel.len())
                }
                None => write!(to, "m {n} - 0 {}", channel.len()),
            },
            Self::Purged { n, epoch, channel } => write!(to, "p {n} {epoch} {}", channel.len()),
            Self::Safe(n) => write!(to, "s {n}"),
            Self::Joined(moved) => write!(to, "j {} {}", moved.room.len(), moved.users),
            Self::Left(moved) => write!(to, "l {} {}", moved.room.len(), moved.users),
            Self::Member { room, lasting, .. } => {
                write!(to, "b {} {}", u8::from(lasting), room.len())
            }
            Self::Request {
                generation, number, ..
            } => write!(to, "q {generation} {number}"),
            Self::Answer { number, .. } => write!(to, "a {number}"),
            Self::Test(number) => write!(to, "t {number}"),
            Self::Generations => write!(to, "g"),
        };
        head.expect("a Vec takes every byte");
        to.push(b'\n');
        for part in self.rest() {
            to.extend_from_slice(part);
        }
    }

    /// Returns the bytes of the frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48 + self.rest().map(<[u8]>::len).iter().sum::<usize>());
        self.write(&mut bytes);
        bytes
    }

    /// What stands behind the head.
    fn rest(&self) -> [&'a [u8]; 2] {
        match *self {
            Self::Message {
                channel, payload, ..
            } => [channel.as_bytes(), payload],
            Self::Purged { channel, .. } => [channel.as_bytes(), &[]],
            Self::Joined(Moved { room, uid, .. })
            | Self::Left(Moved { room, uid, .. })
            | Self::Member { room, uid, .. } => [room.as_bytes(), uid.as_bytes()],
            Self::Request { text, .. } | Self::Answer { text, .. } => [text.as_bytes(), &[]],
            Self::Safe(_) | Self::Test(_) | Self::Generations => [&[], &[]],
        }
    }
}

type Words<'a> = std::str::Split<'a, char>;

fn message<'a>(words: &mut Words<'_>, rest: &'a [u8]) -> Option<Frame<'a>> {
    let n = number(words)?;
    let epoch_text = words.next()?;
    let offset = number(words)?;
    let position = match epoch_text {
        "-" => None,
        text => Some(Position {
            epoch: epoch(text)?,
            offset,
        }),
    };
    let (channel, payload) = rest.split_at_checked(length(words)?)?;
    Some(Frame::Message {
        n,
        position,
        channel: text(channel)?,
        payload,
    })
}

fn moved<'a>(words: &mut Words<'_>, rest: &'a [u8]) -> Option<Moved<'a>> {
    let (room, uid) = texts(words, rest)?;
    let users = number(words)?;
    Some(Moved { room, uid, users })
}

/// Two texts, of which the head says the length of the first.
fn texts<'a>(words: &mut Words<'_>, rest: &'a [u8]) -> Option<(&'a str, &'a str)> {
    let (first, second) = rest.split_at_checked(length(words)?)?;
    Some((text(first)?, text(second)?))
}

/// One text, of the length that the head says.
fn whole<'a>(words: &mut Words<'_>, rest: &'a [u8]) -> Option<&'a str> {
    (length(words)? == rest.len()).then(|| text(rest))?
}

/// A number with nothing behind the head.
fn alone(words: &mut Words<'_>, rest: &[u8]) -> Option<u64> {
    let number = number(words)?;
    rest.is_empty().then_some(number)
}

fn number(words: &mut Words<'_>) -> Option<u64> {
    words.next()?.parse().ok()
}

fn length(words: &mut Words<'_>) -> Option<usize> {
    words.next()?.parse().ok()
}

fn epoch(text: &str) -> Option<Epoch> {
    let epoch = Epoch::of(text);
    (epoch != Epoch::NONE).then_some(epoch)
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(name: &str, other: &str, number: u64, payload: &[u8], visit: impl Fn(Frame<'_>)) {
        let epoch = Epoch::from_bits(number as u32);
        let offset = number >> 7;
        let moved = Moved {
            room: name,
            uid: other,
            users: number,
        };
        for position in [None, Some(Position { epoch, offset })] {
            visit(Frame::Message {
                n: number,
                position,
                channel: name,
                payload,
            });
        }
        visit(Frame::Purged {
            n: number,
            epoch,
            channel: name,
        });
        visit(Frame::Safe(number));
        visit(Frame::Joined(moved));
        visit(Frame::Left(moved));
        for lasting in [false, true] {
            visit(Frame::Member {
                room: name,
                uid: other,
                lasting,
            });
        }
        visit(Frame::Request {
            generation: number,
            number: offset,
            text: other,
        });
        visit(Frame::Answer {
            number,
            text: other,
        });
        visit(Frame::Test(number));
        visit(Frame::Generations);
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written_and_a_piece_of_it_is_never_another_head(
            name in "\\PC{1,9}",
            other in "\\PC{0,9}",
            number in any::<u64>(),
            payload in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            frames(&name, &other, number, &payload, |frame| {
                let bytes = frame.bytes();
                assert_eq!(Frame::parse(&bytes), Some(frame));
                let head = bytes.iter().position(|byte| *byte == b'\n').unwrap();
                for cut in 0..bytes.len() {
                    let piece = Frame::parse(&bytes[..cut]);
                    assert!(cut > head || piece.is_none(), "{frame:?} cut at {cut}");
                    if let Some(piece) = piece {
                        // What is cut off is the end of the text that has no length of its own.
                        assert_eq!(piece.bytes().len(), cut, "{frame:?} cut at {cut}");
                        assert!(bytes.starts_with(&piece.bytes()), "{frame:?} cut at {cut}");
                    }
                }
            });
        }

        #[test]
        fn no_bytes_are_a_reason_to_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            _ = Frame::parse(&bytes);
            for kind in b"mpsjlbqatg" {
                let with_kind = [&[*kind, b' '][..], &bytes].concat();
                _ = Frame::parse(&with_kind);
            }
        }
    }
}
