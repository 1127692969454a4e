//! The records of the log, and the encoding of each kind in a segment.

use super::batch::WriteBatch;
use super::bytes::{FieldReader, Flaw, put_text, put_u32, put_varint};
use super::dedup::{Dedup, Repeatable};
use super::raw_record::{RawRecord, kind};
use crate::base::{Epoch, MessageBody, Position};

/// The place of a message in the log of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogPlace<'a> {
    pub(super) channel: &'a str,
    pub(super) at: Position,
}

/// A message together with its places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlacedMessage<'a> {
    pub(super) first: LogPlace<'a>,
    pub(super) second: Option<LogPlace<'a>>,
    /// Whether a compaction moved the message here: then it is in its channels already.
    pub(super) is_moved: bool,
    /// The first channel begins here, and counts for the sender.
    pub(super) opens: bool,
    pub(super) body: MessageBody<&'a str>,
    pub(super) idempotency_key: Option<u128>,
    pub(super) mark: Option<(&'a str, u64)>,
}

/// A sealed segment that is still needed, as a checkpoint names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeededSegment {
    pub(super) number: u32,
    pub(super) size: u64,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogRecord<'a> {
    Message(PlacedMessage<'a>),
    Purge {
        channel: &'a str,
        epoch: Epoch,
    },
    Trim {
        channel: &'a str,
        through: u64,
    },
    Forget {
        channel: &'a str,
    },
    Ack {
        channel: &'a str,
        reader: &'a str,
        offset: u64,
    },
    Member {
        room: &'a str,
        user: &'a str,
        lasting: bool,
    },
    /// A channel counts for the user who opened it; an empty name is nobody.
    Opener {
        channel: &'a str,
        user: &'a str,
    },
    Mark {
        producer: &'a str,
        number: u64,
    },
    Serials {
        below: u64,
    },
    /// The state without the messages follows, as it was when this segment began.
    Checkpoint {
        forgotten: u64,
        serials_below: u64,
        needed: Vec<NeededSegment>,
    },
    Channel {
        channel: &'a str,
        epoch: Epoch,
        floor: u64,
        newest: u64,
    },
    CheckpointEnd,
}

const HAS_SECOND: u8 = 1;
const HAS_FROM: u8 = 2;
const HAS_TO: u8 = 4;
const HAS_IDEMPOTENCY_KEY: u8 = 8;
const HAS_MARK: u8 = 16;
const OPENS: u8 = 32;

impl<'a> LogRecord<'a> {
    /// Decodes a raw record.
    pub(super) fn read(raw: RawRecord<'a>) -> Result<Self, Flaw> {
        let mut fields = FieldReader(raw.payload);
        let log_record = Self::fields(raw.kind, &mut fields)?;
        fields.end()?;
        Ok(log_record)
    }

    /// Returns the record with other epochs, as a segment with another mask has to be read.
    pub(super) fn masked(mut self, mask: u32) -> Self {
        match &mut self {
            Self::Message(message) => *message = message.masked(mask),
            Self::Purge { epoch, .. } | Self::Channel { epoch, .. } => *epoch = epoch.masked(mask),
            _ => {}
        }
        self
    }

    fn fields(kind: u8, fields: &mut FieldReader<'a>) -> Result<Self, Flaw> {
        Ok(match kind {
            kind::MESSAGE => Self::Message(PlacedMessage::fields(fields, false)?),
            kind::MOVED => Self::Message(PlacedMessage::fields(fields, true)?),
            kind::PURGE => Self::Purge {
                channel: fields.text()?,
                epoch: Epoch::from_bits(fields.u32()?),
            },
            kind::TRIM => Self::Trim {
                channel: fields.text()?,
                through: fields.varint()?,
            },
            kind::FORGET => Self::Forget {
                channel: fields.text()?,
            },
            kind::ACK => Self::Ack {
                channel: fields.text()?,
                reader: fields.text()?,
                offset: fields.varint()?,
            },
            kind::MEMBER => Self::Member {
                room: fields.text()?,
                user: fields.text()?,
                lasting: fields.u8()? != 0,
            },
            kind::OPENER => Self::Opener {
                channel: fields.text()?,
                user: fields.text()?,
            },
            kind::MARK => Self::Mark {
                producer: fields.text()?,
                number: fields.varint()?,
            },
            kind::SERIALS => Self::Serials {
                below: fields.varint()?,
            },
            kind::CHECKPOINT => Self::Checkpoint {
                forgotten: fields.varint()?,
                serials_below: fields.varint()?,
                needed: read_sealed(fields)?,
            },
            kind::CHANNEL => Self::Channel {
                channel: fields.text()?,
                epoch: Epoch::from_bits(fields.u32()?),
                floor: fields.varint()?,
                newest: fields.varint()?,
            },
            kind::CHECKPOINT_END => Self::CheckpointEnd,
            _ => return Err("a record in it is of no known kind"),
        })
    }

    /// Adds the encoded record to a batch.
    pub(super) fn write(&self, batch: &mut WriteBatch) {
        let kind = self.kind();
        batch.push(kind, |bytes| match self {
            Self::Message(message) => message.write(bytes),
            Self::Purge { channel, epoch } => {
                put_text(bytes, channel);
                put_u32(bytes, epoch.bits());
            }
            Self::Trim { channel, through } => {
                put_text(bytes, channel);
                put_varint(bytes, *through);
            }
            Self::Forget { channel } => put_text(bytes, channel),
            Self::Ack {
                channel,
                reader,
                offset,
            } => {
                put_text(bytes, channel);
                put_text(bytes, reader);
                put_varint(bytes, *offset);
            }
            Self::Member {
                room,
                user,
                lasting,
            } => {
                put_text(bytes, room);
                put_text(bytes, user);
                bytes.push((*lasting).into());
            }
            Self::Opener { channel, user } => {
                put_text(bytes, channel);
                put_text(bytes, user);
            }
            Self::Mark { producer, number } => {
                put_text(bytes, producer);
                put_varint(bytes, *number);
            }
            Self::Serials { below } => put_varint(bytes, *below),
            Self::Checkpoint {
                forgotten,
                serials_below,
                needed,
            } => {
                put_varint(bytes, *forgotten);
                put_varint(bytes, *serials_below);
                put_varint(bytes, needed.len() as u64);
                for file in needed {
                    put_u32(bytes, file.number);
                    put_varint(bytes, file.size);
                }
            }
            Self::Channel {
                channel,
                epoch,
                floor,
                newest,
            } => {
                put_text(bytes, channel);
                put_u32(bytes, epoch.bits());
                put_varint(bytes, *floor);
                put_varint(bytes, *newest);
            }
            Self::CheckpointEnd => {}
        });
    }

    /// The message that a repeat is compared with, if it has a key.
    pub(super) fn repeatable(&self, dedup: &Dedup) -> Option<Repeatable> {
        match self {
            Self::Message(message) if !message.is_moved => Some(Repeatable {
                idempotency_key: message.idempotency_key?,
                position: message.first.at,
                sender: dedup.tag(message.body.from),
            }),
            _ => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Message(message) if message.is_moved => kind::MOVED,
            Self::Message(_) => kind::MESSAGE,
            Self::Purge { .. } => kind::PURGE,
            Self::Trim { .. } => kind::TRIM,
            Self::Forget { .. } => kind::FORGET,
            Self::Ack { .. } => kind::ACK,
            Self::Member { .. } => kind::MEMBER,
            Self::Opener { .. } => kind::OPENER,
            Self::Mark { .. } => kind::MARK,
            Self::Serials { .. } => kind::SERIALS,
            Self::Checkpoint { .. } => kind::CHECKPOINT,
            Self::Channel { .. } => kind::CHANNEL,
            Self::CheckpointEnd => kind::CHECKPOINT_END,
        }
    }
}

fn read_sealed(fields: &mut FieldReader<'_>) -> Result<Vec<NeededSegment>, Flaw> {
    (0..fields.varint()?)
        .map(|_| {
            Ok(NeededSegment {
                number: fields.u32()?,
                size: fields.varint()?,
            })
        })
        .collect()
}

impl<'a> PlacedMessage<'a> {
    /// Lists the places of the message, one or two.
    pub(super) fn places(&self) -> impl Iterator<Item = LogPlace<'a>> {
        [Some(self.first), self.second].into_iter().flatten()
    }

    fn fields(fields: &mut FieldReader<'a>, is_moved: bool) -> Result<Self, Flaw> {
        let flags = fields.u8()?;
        let has = |flag| flags & flag != 0;
        // In the order of the file.
        let ts = fields.varint()?;
        let first = LogPlace::fields(fields)?;
        let second = has(HAS_SECOND)
            .then(|| LogPlace::fields(fields))
            .transpose()?;
        let id = fields.text()?;
        let from = has(HAS_FROM).then(|| fields.text()).transpose()?;
        let to = has(HAS_TO).then(|| fields.text()).transpose()?;
        let idempotency_key = has(HAS_IDEMPOTENCY_KEY)
            .then(|| fields.u128())
            .transpose()?;
        let mark = has(HAS_MARK)
            .then(|| Ok::<_, Flaw>((fields.text()?, fields.varint()?)))
            .transpose()?;
        let data = fields.text()?;
        Ok(Self {
            first,
            second,
            is_moved,
            opens: has(OPENS),
            body: MessageBody {
                id,
                from,
                to,
                ts,
                data,
            },
            idempotency_key,
            mark,
        })
    }

    /// Returns the message with other epochs, as a segment with another mask has to be read.
    pub(super) fn masked(self, mask: u32) -> Self {
        Self {
            first: self.first.masked(mask),
            second: self.second.map(|place| place.masked(mask)),
            ..self
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let body = &self.body;
        let flag = |is_there, flag| if is_there { flag } else { 0 };
        bytes.push(
            flag(self.second.is_some(), HAS_SECOND)
                | flag(body.from.is_some(), HAS_FROM)
                | flag(body.to.is_some(), HAS_TO)
                | flag(self.idempotency_key.is_some(), HAS_IDEMPOTENCY_KEY)
                | flag(self.mark.is_some(), HAS_MARK)
                | flag(self.opens, OPENS),
        );
        put_varint(bytes, body.ts);
        for place in self.places() {
            put_text(bytes, place.channel);
            put_u32(bytes, place.at.epoch.bits());
            put_varint(bytes, place.at.offset);
        }
        put_text(bytes, body.id);
        for text in [body.from, body.to].into_iter().flatten() {
            put_text(bytes, text);
        }
        if let Some(idempotency_key) = self.idempotency_key {
            bytes.extend_from_slice(&idempotency_key.to_le_bytes());
        }
        if let Some((producer, number)) = self.mark {
            put_text(bytes, producer);
            put_varint(bytes, number);
        }
        put_text(bytes, body.data);
    }
}

impl<'a> LogPlace<'a> {
    fn masked(mut self, mask: u32) -> Self {
        self.at.epoch = self.at.epoch.masked(mask);
        self
    }

    fn fields(fields: &mut FieldReader<'a>) -> Result<Self, Flaw> {
        Ok(Self {
            channel: fields.text()?,
            at: Position {
                epoch: Epoch::from_bits(fields.u32()?),
                offset: fields.varint()?,
            },
        })
    }
}
