//! What goes over the pipe between the gateway and its push process.
//!
//! The push process asks for pages of the outbox and says what upstreams have settled; the gateway
//! gives pages. Both are the same program, so the format has no version: a byte for the kind, then
//! fixed fields, numbers in little endian, texts behind their length.
//!
//! A message for a push process that died meanwhile is given to the next one. So each says for
//! which *life* it is meant, a number that the push process makes up when it begins.

use bytes::Bytes;

use super::target::Target;
use crate::link::NumberedPosting;
use crate::link::{LinkSettings, LinkState};

/// From the gateway.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ToPush {
    /// What there is to do; answers [`FromPush::Hello`].
    Begin(Begin),
    /// Messages that were wanted.
    Page(Page),
}

/// Whose outbox it is, and where its messages go.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Begin {
    pub(super) life: u64,
    pub(super) producer: String,
    pub(super) name: String,
    pub(super) settings: LinkSettings,
    /// Time that a stop may take, in milliseconds.
    pub(super) drain_ms_max: u64,
    pub(super) targets: Vec<Target>,
    /// The outbox's oldest and newest number.
    pub(super) kept: (u64, u64),
}

/// A part of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) life: u64,
    pub(super) upstream: usize,
    /// What was asked for.
    pub(super) after: u64,
    /// The outbox's oldest and newest number.
    pub(super) kept: (u64, u64),
    pub(super) messages: Vec<NumberedPosting>,
}

/// From the push process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromPush {
    /// It begins, and nothing of an earlier one counts.
    Hello {
        life: u64,
    },
    /// Messages behind `after` are wanted for an upstream, as soon as there are any.
    Want {
        upstream: usize,
        after: u64,
        count: usize,
    },
    /// An upstream has everything up to `n`.
    Settled {
        upstream: usize,
        n: u64,
    },
    /// An upstream refused `n` for good.
    Refused {
        upstream: usize,
        n: u64,
        code: String,
    },
    Report(Report),
}

/// How a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Report {
    pub(super) upstream: usize,
    pub(super) state: LinkState,
    /// Times that it was opened, and that it was lost.
    pub(super) opened: u64,
    pub(super) lost: u64,
    /// Messages that went out more than once.
    pub(super) resent: u64,
    /// Times that the upstream had lost its mark.
    pub(super) jumped: u64,
}

impl ToPush {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        match self {
            Self::Begin(begin) => {
                let settings = &begin.settings;
                out.byte(1)
                    .number(begin.life)
                    .text(&begin.producer)
                    .text(&begin.name)
                    .number(settings.ping_ms)
                    .number(settings.silence_ms_max)
                    .number(settings.retry_ms_min)
                    .number(settings.retry_ms_max)
                    .number(settings.on_way_max as u64)
                    .number(settings.held_bytes_max as u64)
                    .number(begin.drain_ms_max)
                    .number(begin.kept.0)
                    .number(begin.kept.1)
                    .number(begin.targets.len() as u64);
                for target in &begin.targets {
                    out.text(target.url()).text(target.key());
                }
            }
            Self::Page(page) => {
                out.byte(2)
                    .number(page.life)
                    .number(page.upstream as u64)
                    .number(page.after)
                    .number(page.kept.0)
                    .number(page.kept.1)
                    .number(page.messages.len() as u64);
                for message in &page.messages {
                    out.number(message.n).text(&message.posting);
                }
            }
        }
        out.0.into()
    }

    /// `None`: that is none of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let this = match from.byte()? {
            1 => {
                let (life, producer, name) = (from.number()?, from.text()?, from.text()?);
                let settings = LinkSettings {
                    ping_ms: from.number()?,
                    silence_ms_max: from.number()?,
                    retry_ms_min: from.number()?,
                    retry_ms_max: from.number()?,
                    on_way_max: from.size()?,
                    held_bytes_max: from.size()?,
                };
                let drain_ms_max = from.number()?;
                let kept = (from.number()?, from.number()?);
                let targets = from.each(|from| {
                    let (url, key) = (from.text()?, from.text()?);
                    Target::new(url, key).ok()
                })?;
                Self::Begin(Begin {
                    life,
                    producer: producer.to_owned(),
                    name: name.to_owned(),
                    settings,
                    drain_ms_max,
                    targets,
                    kept,
                })
            }
            2 => Self::Page(Page {
                life: from.number()?,
                upstream: from.size()?,
                after: from.number()?,
                kept: (from.number()?, from.number()?),
                messages: from.each(|from| {
                    Some(NumberedPosting {
                        n: from.number()?,
                        posting: from.text()?.into(),
                    })
                })?,
            }),
            _ => return None,
        };
        from.0.is_empty().then_some(this)
    }
}

impl FromPush {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Hello { life } => out.byte(1).number(*life),
            Self::Want {
                upstream,
                after,
                count,
            } => out
                .byte(2)
                .number(*upstream as u64)
                .number(*after)
                .number(*count as u64),
            Self::Settled { upstream, n } => out.byte(3).number(*upstream as u64).number(*n),
            Self::Refused { upstream, n, code } => {
                out.byte(4).number(*upstream as u64).number(*n).text(code)
            }
            Self::Report(report) => out
                .byte(5)
                .number(report.upstream as u64)
                .byte(report.state as u8)
                .number(report.opened)
                .number(report.lost)
                .number(report.resent)
                .number(report.jumped),
        };
        out.0
    }

    /// `None`: that is none of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let this = match from.byte()? {
            1 => Self::Hello {
                life: from.number()?,
            },
            2 => Self::Want {
                upstream: from.size()?,
                after: from.number()?,
                count: from.size()?,
            },
            3 => Self::Settled {
                upstream: from.size()?,
                n: from.number()?,
            },
            4 => Self::Refused {
                upstream: from.size()?,
                n: from.number()?,
                code: from.text()?.to_owned(),
            },
            5 => Self::Report(Report {
                upstream: from.size()?,
                state: state(from.byte()?)?,
                opened: from.number()?,
                lost: from.number()?,
                resent: from.number()?,
                jumped: from.number()?,
            }),
            _ => return None,
        };
        from.0.is_empty().then_some(this)
    }
}

fn state(byte: u8) -> Option<LinkState> {
    use LinkState::{Connecting, Dead, Open, Opening};
    [Dead, Connecting, Opening, Open]
        .into_iter()
        .find(|state| *state as u8 == byte)
}

#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    fn size(&mut self) -> Option<usize> {
        self.number()?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let size = self.size()?;
        let (text, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// As many as the number says that stands first.
    fn each<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.size()?;
        (0..count).map(|_| one(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin() -> ToPush {
        let target = |url| Target::new(url, "k").unwrap();
        ToPush::Begin(Begin {
            life: 7,
            producer: "p".into(),
            name: "gw-ü".into(),
            settings: LinkSettings::default(),
            drain_ms_max: 8_000,
            targets: vec![target("ws://127.0.0.1:1/link"), target("ws://b/link")],
            kept: (3, u64::MAX),
        })
    }

    fn page() -> ToPush {
        let messages = (4..6).map(|n| NumberedPosting {
            n,
            posting: "{\"data\":\"ä\"}".into(),
        });
        ToPush::Page(Page {
            life: 7,
            upstream: 1,
            after: 3,
            kept: (3, 5),
            messages: messages.collect(),
        })
    }

    fn answers() -> [FromPush; 5] {
        [
            FromPush::Hello { life: u64::MAX },
            FromPush::Want {
                upstream: 1,
                after: 2,
                count: 3,
            },
            FromPush::Settled { upstream: 0, n: 9 },
            FromPush::Refused {
                upstream: 0,
                n: 9,
                code: "bad_request".into(),
            },
            FromPush::Report(Report {
                upstream: 1,
                state: LinkState::Opening,
                opened: 1,
                lost: 2,
                resent: 3,
                jumped: 4,
            }),
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        for message in [begin(), page()] {
            assert_eq!(ToPush::decode(&message.encode()), Some(message));
        }
        for message in answers() {
            assert_eq!(FromPush::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn a_message_that_is_cut_or_too_long_is_none() {
        for message in [begin(), page()] {
            let mut bytes = message.encode().to_vec();
            for size in 0..bytes.len() {
                assert_eq!(ToPush::decode(&bytes[..size]), None, "{size}");
            }
            bytes.push(0);
            assert_eq!(ToPush::decode(&bytes), None);
        }
        for message in answers() {
            let mut bytes = message.encode();
            for size in 0..bytes.len() {
                assert_eq!(FromPush::decode(&bytes[..size]), None, "{size}");
            }
            bytes.push(0);
            assert_eq!(FromPush::decode(&bytes), None);
        }
        assert_eq!(FromPush::decode(&[9]), None);
        assert_eq!(ToPush::decode(&[9]), None);
    }
}
