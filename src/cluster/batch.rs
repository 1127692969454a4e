//! The records of a batch as the entries of one call, and its outcomes as the store tells them.

use super::call::{Entry, Line, MessageEntry, Outcome, Sameness};
use super::engine::CallBounds;
use super::payload;
use super::shared::NodeShared;
use crate::base::{ChannelKind, Epoch, Position};
use crate::store::{Appended, Channel, EnteredChannels, MessageRecord, Record, StoreError};

/// The records since the last commit.
#[derive(Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    /// For each record, the place of its entry; `None` for one that the engine isn't told.
    places: Vec<Option<usize>>,
    /// What became of each entry, once the batch was committed.
    outcomes: Vec<Result<Outcome, Untold>>,
}

/// Why there is no outcome of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Untold {
    /// It wasn't taken: the engine is out of reach.
    Away(Box<str>),
    /// It wasn't taken: the engine is full.
    Full(Box<str>),
    /// It isn't known.
    Unsettled,
}

impl Batch {
    /// Adds a record.
    pub(super) fn add(&mut self, shared: &NodeShared, record: &Record<'_>) {
        let entry = entry_of(shared, record);
        self.places.push(entry.as_ref().map(|_| self.entries.len()));
        self.entries.extend(entry);
    }

    /// Passes over a record that was refused.
    pub(super) fn pass_over(&mut self) {
        self.places.push(None);
    }

    /// Takes the entries.
    pub(super) fn take_entries(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// Notes what became of the entries.
    pub(super) fn set_outcomes(&mut self, outcomes: Vec<Result<Outcome, Untold>>) {
        self.outcomes = outcomes;
    }

    /// Puts what became of each record into its place, and makes room for the next batch; `bounds` are those by
    /// which its call went. Returns the channels that are heard now.
    pub(super) fn settle(
        &mut self,
        appended: &mut [Result<Appended, StoreError>],
        bounds: &CallBounds,
    ) -> Vec<EnteredChannels> {
        debug_assert_eq!(appended.len(), self.places.len(), "one outcome a record");
        let mut entered = Vec::new();
        let mut outcomes: Vec<_> = self.outcomes.drain(..).map(Some).collect();
        for (appended, place) in appended.iter_mut().zip(self.places.drain(..)) {
            let Some(place) = place else {
                continue;
            };
            *appended = match outcomes.get_mut(place).and_then(Option::take) {
                Some(Ok(outcome)) => appended_of(outcome, bounds, &mut entered),
                Some(Err(untold)) => Err(untold.into()),
                None => Err(StoreError::Unsettled),
            };
        }
        entered
    }
}

impl From<Untold> for StoreError {
    fn from(untold: Untold) -> Self {
        match untold {
            Untold::Away(why) => Self::Away(why),
            Untold::Full(why) => Self::LogFull(why),
            Untold::Unsettled => Self::Unsettled,
        }
    }
}

/// Makes the entry of a record; `None` for one that concerns a store of one node alone.
fn entry_of(shared: &NodeShared, record: &Record<'_>) -> Option<Entry> {
    Some(match record {
        Record::Message(message) => Entry::Message(message_of(shared, message)),
        Record::Purge { channel, epoch } => Entry::Purge {
            channel: (*channel).into(),
            epoch: *epoch,
        },
        Record::Trim { channel, through } => Entry::Trim {
            channel: (*channel).into(),
            through: *through,
        },
        Record::Ack {
            channel,
            reader,
            offset,
        } => Entry::Ack {
            channel: (*channel).into(),
            uid: (*reader).into(),
            epoch: None,
            offset: *offset,
        },
        Record::Member {
            room,
            user,
            lasting,
        } => Entry::Member {
            room: (*room).into(),
            uid: (*user).into(),
            lasting: *lasting,
        },
        Record::Mark { producer, number } => Entry::Mark {
            producer: (*producer).into(),
            number: *number,
        },
        Record::Login(login) => {
            let channels = login.channels.iter();
            Entry::Login {
                fd: login.fd,
                uid: login.uid.into(),
                now_ms: login.now_ms,
                connections_max: login.connections_max,
                lines: channels
                    .map(|channel| line_of(shared, channel.as_channel()))
                    .collect(),
                bits: shared.random(),
                asks_acks: login.asks_acks,
            }
        }
        Record::Attach { channel, reader } => Entry::Attach {
            line: line_of(shared, *channel),
            reader: reader.map(Into::into),
        },
        Record::Detach { channel } => Entry::Detach {
            channel: (*channel).into(),
        },
        Record::Forget { .. } | Record::Claim { .. } | Record::Serials { .. } => return None,
    })
}

fn message_of(shared: &NodeShared, message: &MessageRecord<'_>) -> MessageEntry {
    MessageEntry {
        first: line_of(shared, message.channel),
        second: message.second.map(|second| line_of(shared, second)),
        payload: payload::encode(&message.body, message.except).into(),
        sameness: message.idempotency_key.map(|key| Sameness {
            key,
            owner: message.id_owner,
        }),
        mark: message
            .mark
            .map(|(producer, number)| (producer.into(), number)),
    }
}

/// Names a channel, with an epoch by dice: the one that the node knows may be over.
fn line_of(shared: &NodeShared, channel: Channel<'_>) -> Line {
    Line {
        channel: channel.name.into(),
        kind: channel.kind,
        new_epoch: Epoch::from_bits(shared.random() as u32),
    }
}

/// Says what became of a record; channels that are heard now go to the end of `entered`.
fn appended_of(
    outcome: Outcome,
    bounds: &CallBounds,
    entered: &mut Vec<EnteredChannels>,
) -> Result<Appended, StoreError> {
    Ok(match outcome {
        Outcome::Sent {
            first, receivers, ..
        } => Appended::Sent {
            first,
            receivers: receivers as usize,
        },
        Outcome::Repeat(position) => Appended::Repeat(position.unwrap_or(Position {
            epoch: Epoch::NONE,
            offset: 0,
        })),
        Outcome::Settled => Appended::Settled,
        Outcome::TooManyIds => {
            return Err(StoreError::TooMany {
                what: "ids remembered in the cluster (cluster.ids_max)",
                max: bounds.ids_max as usize,
            });
        }
        Outcome::TooManyOwnIds => {
            return Err(StoreError::OverShare {
                what: "ids of this sender among the last that can be remembered \
                       (cluster.ids_per_sender_max)",
                max: bounds.ids_per_sender_max as usize,
            });
        }
        Outcome::Entered {
            channels,
            lasting,
            acks,
            replaced,
        } => {
            entered.push(EnteredChannels {
                channels,
                lasting,
                acks,
                replaced,
            });
            Appended::Entered(entered.len() as u32 - 1)
        }
        Outcome::Done => Appended::Noted,
    })
}

/// The channels of a record that are to be kept, with their kinds.
pub(super) fn kept_channels<'a>(
    record: &'a Record<'_>,
) -> impl Iterator<Item = (&'a str, ChannelKind)> {
    let (one, two, login) = match record {
        Record::Message(message) => (Some(message.channel), message.second, &[][..]),
        Record::Attach { channel, .. } => (Some(*channel), None, &[][..]),
        Record::Login(login) => (None, None, login.channels),
        _ => (None, None, &[][..]),
    };
    let named = one.into_iter().chain(two);
    named
        .map(|channel| (channel.name, channel.kind))
        .chain(login.iter().map(|channel| (&*channel.name, channel.kind)))
}
