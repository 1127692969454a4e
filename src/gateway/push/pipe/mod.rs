//! The messages between the gateway and its push process.
//!
//! The push process asks for pages of the outbox and says what upstreams have acknowledged; the
//! gateway gives pages. A message is a byte for the kind, then the fields in a fixed order, as `codec`
//! writes them. Both are the same program, unless another one has taken the place of the gateway's: the
//! first message names the version, and to a process of another version nothing is given.
//!
//! The pipe outlives the process: a message that one has not read is given to the next one. So each
//! message names the *incarnation* for which it is meant, a random number that the push process
//! makes when it starts. An upstream has a number that no other one gets while the gateway runs, so that
//! what was said under an earlier assignment is true under the next one, or of nobody there.

mod codec;

use bytes::Bytes;

use crate::gateway::target::Target;
use crate::link::wire::RefusalWords;
use crate::link::{LinkSettings, LinkState, NumberedPosting};
use crate::tls::TlsTrust;
use codec::{PipeDecoder, PipeEncoder};

/// The version of these messages; that of [`FromPush::Hello`] is read whatever follows it.
pub(in crate::gateway) const PUSH_VERSION: u64 = 2;

/// A message from the gateway.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::gateway) enum ToPush {
    /// The push process gets its assignment: the answer to [`FromPush::Hello`], or another one.
    Begin(Assignment),
    /// An upstream gets messages of the outbox; the answer to [`FromPush::Want`].
    Page(OutboxPage),
}

/// The outbox to be emptied, and the upstreams that get its messages.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::gateway) struct Assignment {
    pub(in crate::gateway) incarnation: u64,
    /// The number of the assignment, for [`FromPush::Begun`].
    pub(in crate::gateway) number: u64,
    /// The level of the log, in the words of the program; empty leaves it.
    pub(in crate::gateway) log_level: String,
    pub(in crate::gateway) producer: String,
    pub(in crate::gateway) name: String,
    pub(in crate::gateway) settings: LinkSettings,
    /// Longest time that a stop may take, in milliseconds.
    pub(in crate::gateway) drain_ms_max: u64,
    /// The upstreams with their numbers.
    pub(in crate::gateway) targets: Vec<(usize, Target)>,
    /// The outbox's oldest and newest number.
    pub(in crate::gateway) kept: (u64, u64),
}

/// Messages of the outbox for one upstream, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct OutboxPage {
    pub(in crate::gateway) incarnation: u64,
    pub(in crate::gateway) upstream: usize,
    /// The number before the first of them, as the upstream asked for it.
    pub(in crate::gateway) after: u64,
    /// The outbox's oldest and newest number.
    pub(in crate::gateway) kept: (u64, u64),
    pub(in crate::gateway) messages: Vec<NumberedPosting>,
}

/// A message from the push process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) enum FromPush {
    /// The process starts, and nothing that an earlier one said counts any more.
    Hello { incarnation: u64, version: u64 },
    /// Messages behind `after` are wanted for an upstream, as soon as there are any.
    Want {
        upstream: usize,
        after: u64,
        count: usize,
    },
    /// An upstream has acknowledged everything up to `n`.
    Acked { upstream: usize, n: u64 },
    /// An upstream refused `n` for good.
    Refused {
        upstream: usize,
        n: u64,
        why: RefusalWords,
    },
    /// The state of a link has changed.
    Report(LinkReport),
    /// The assignment of this number is in force.
    Begun { number: u64 },
}

/// The state of a link, and what it has counted in this incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::gateway) struct LinkReport {
    pub(in crate::gateway) upstream: usize,
    pub(in crate::gateway) state: LinkState,
    /// The number of times that the link was opened.
    pub(in crate::gateway) opened: u64,
    /// The number of times that the link was lost, or couldn't be made.
    pub(in crate::gateway) lost: u64,
    /// Messages that went out more than once.
    pub(in crate::gateway) resent: u64,
    /// The number of times that the upstream had lost its mark.
    pub(in crate::gateway) jumped: u64,
}

impl ToPush {
    /// Encodes the message for the pipe to the push process.
    pub(in crate::gateway) fn encode(&self) -> Bytes {
        let mut out = PipeEncoder::default();
        match self {
            Self::Begin(begin) => {
                let settings = &begin.settings;
                out.byte(1)
                    .number(begin.incarnation)
                    .number(begin.number)
                    .text(&begin.log_level)
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
                for (number, target) in &begin.targets {
                    (out.number(*number as u64).text(target.url())).text(target.key());
                    let trust = target.trust();
                    out.maybe(trust.and_then(TlsTrust::authorities))
                        .maybe(trust.and_then(TlsTrust::server_name));
                }
            }
            Self::Page(page) => {
                out.byte(2)
                    .number(page.incarnation)
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
        out.finish().into()
    }

    /// Reads a message; `None` if it isn't one of ours.
    pub(in crate::gateway) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = PipeDecoder::new(bytes);
        let this = match from.byte()? {
            1 => {
                let (incarnation, number) = (from.number()?, from.number()?);
                let (log_level, producer, name) = (from.text()?, from.text()?, from.text()?);
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
                    let (number, url, key) = (from.size()?, from.text()?, from.text()?);
                    let trust = TlsTrust::new(from.maybe()?, from.maybe()?);
                    Some((number, Target::new(url, key).ok()?.trusting(&trust)))
                })?;
                Self::Begin(Assignment {
                    incarnation,
                    number,
                    log_level: log_level.to_owned(),
                    producer: producer.to_owned(),
                    name: name.to_owned(),
                    settings,
                    drain_ms_max,
                    targets,
                    kept,
                })
            }
            2 => Self::Page(OutboxPage {
                incarnation: from.number()?,
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
        from.is_empty().then_some(this)
    }
}

impl FromPush {
    /// Encodes the message for the pipe to the gateway.
    pub(in crate::gateway) fn encode(&self) -> Vec<u8> {
        let mut out = PipeEncoder::default();
        match self {
            Self::Hello {
                incarnation,
                version,
            } => out.byte(1).number(*incarnation).number(*version),
            Self::Want {
                upstream,
                after,
                count,
            } => out
                .byte(2)
                .number(*upstream as u64)
                .number(*after)
                .number(*count as u64),
            Self::Acked { upstream, n } => out.byte(3).number(*upstream as u64).number(*n),
            Self::Refused { upstream, n, why } => out
                .byte(4)
                .number(*upstream as u64)
                .number(*n)
                .text(&why.code)
                .text(&why.message),
            Self::Report(report) => out
                .byte(5)
                .number(report.upstream as u64)
                .byte(report.state as u8)
                .number(report.opened)
                .number(report.lost)
                .number(report.resent)
                .number(report.jumped),
            Self::Begun { number } => out.byte(6).number(*number),
        };
        out.finish()
    }

    /// Reads a message; `None` if it isn't one of ours.
    pub(in crate::gateway) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = PipeDecoder::new(bytes);
        let this = match from.byte()? {
            1 => {
                let (incarnation, version) = (from.number()?, from.number()?);
                let is_ours = version == PUSH_VERSION;
                return (from.is_empty() || !is_ours).then_some(Self::Hello {
                    incarnation,
                    version,
                });
            }
            2 => Self::Want {
                upstream: from.size()?,
                after: from.number()?,
                count: from.size()?,
            },
            3 => Self::Acked {
                upstream: from.size()?,
                n: from.number()?,
            },
            4 => Self::Refused {
                upstream: from.size()?,
                n: from.number()?,
                why: RefusalWords {
                    code: from.text()?.to_owned(),
                    message: from.text()?.to_owned(),
                },
            },
            5 => Self::Report(LinkReport {
                upstream: from.size()?,
                state: state(from.byte()?)?,
                opened: from.number()?,
                lost: from.number()?,
                resent: from.number()?,
                jumped: from.number()?,
            }),
            6 => Self::Begun {
                number: from.number()?,
            },
            _ => return None,
        };
        from.is_empty().then_some(this)
    }
}

fn state(byte: u8) -> Option<LinkState> {
    use LinkState::{Connecting, Dead, Open, Opening};
    [Dead, Connecting, Opening, Open]
        .into_iter()
        .find(|state| *state as u8 == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin() -> ToPush {
        let target = |url| Target::new(url, "k").unwrap();
        ToPush::Begin(Assignment {
            incarnation: 7,
            number: 2,
            log_level: "info".into(),
            producer: "p".into(),
            name: "gw-ü".into(),
            settings: LinkSettings::default(),
            drain_ms_max: 8_000,
            targets: vec![
                (3, target("ws://127.0.0.1:1/link")),
                (0, target("ws://b/link")),
                #[cfg(feature = "tls")]
                (7, target("wss://c/link")),
                #[cfg(feature = "tls")]
                (
                    8,
                    target("wss://d/link").trusting(&TlsTrust::new(Some("PEM"), Some("d.example"))),
                ),
            ],
            kept: (3, u64::MAX),
        })
    }

    fn page() -> ToPush {
        let messages = (4..6).map(|n| NumberedPosting {
            n,
            posting: "{\"data\":\"ä\"}".into(),
        });
        ToPush::Page(OutboxPage {
            incarnation: 7,
            upstream: 1,
            after: 3,
            kept: (3, 5),
            messages: messages.collect(),
        })
    }

    fn answers() -> [FromPush; 6] {
        [
            FromPush::Hello {
                incarnation: u64::MAX,
                version: PUSH_VERSION,
            },
            FromPush::Want {
                upstream: 1,
                after: 2,
                count: 3,
            },
            FromPush::Acked { upstream: 0, n: 9 },
            FromPush::Refused {
                upstream: 0,
                n: 9,
                why: RefusalWords {
                    code: "bad_request".into(),
                    message: "to: nobody".into(),
                },
            },
            FromPush::Report(LinkReport {
                upstream: 1,
                state: LinkState::Opening,
                opened: 1,
                lost: 2,
                resent: 3,
                jumped: 4,
            }),
            FromPush::Begun { number: 2 },
        ]
    }

    #[test]
    fn the_first_message_of_another_version_is_read_whatever_follows() {
        let hello = |version| FromPush::Hello {
            incarnation: 7,
            version,
        };
        for (version, is_read) in [(PUSH_VERSION, false), (PUSH_VERSION + 1, true)] {
            let bytes = [&hello(version).encode()[..], b"more"].concat();
            assert_eq!(FromPush::decode(&bytes), is_read.then(|| hello(version)));
        }
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
