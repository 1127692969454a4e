//! What stands in a frame.

use super::bytes::{Fields, Flaw, put_text, put_u32, put_varint};
use super::frame::{Batch, Frame, kind};
use super::record::Position;

/// A message's place in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) channel: &'a str,
    pub(super) epoch: u32,
    pub(super) offset: u64,
}

/// A message where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed<'a> {
    pub(super) first: Place<'a>,
    pub(super) second: Option<Place<'a>>,
    /// Its file was nearly dead: it stood there before, and nothing new is to be counted.
    pub(super) is_moved: bool,
    pub(super) id: &'a str,
    pub(super) from: Option<&'a str>,
    pub(super) to: Option<&'a str>,
    pub(super) ts: u64,
    pub(super) data: &'a str,
    pub(super) sameness: Option<u128>,
    pub(super) mark: Option<(&'a str, u64)>,
}

/// What a file says of a sealed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) number: u32,
    pub(super) size: u64,
}

/// One thing that a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Message(Placed<'a>),
    Purge {
        channel: &'a str,
        epoch: u32,
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
    Mark {
        producer: &'a str,
        number: u64,
    },
    Serials {
        below: u64,
    },
    /// Everything but messages follows anew, as it was when this file was begun.
    Checkpoint {
        forgotten: u64,
        serials_below: u64,
        sealed: Vec<Sealed>,
    },
    Channel {
        channel: &'a str,
        epoch: u32,
        floor: u64,
        newest: u64,
    },
    CheckpointEnd,
}

const HAS_SECOND: u8 = 1;
const HAS_FROM: u8 = 2;
const HAS_TO: u8 = 4;
const HAS_SAMENESS: u8 = 8;
const HAS_MARK: u8 = 16;

impl<'a> Entry<'a> {
    pub(super) fn read(frame: Frame<'a>) -> Result<Self, Flaw> {
        let mut fields = Fields(frame.payload);
        let entry = Self::fields(frame.kind, &mut fields)?;
        fields.end()?;
        Ok(entry)
    }

    fn fields(kind: u8, fields: &mut Fields<'a>) -> Result<Self, Flaw> {
        Ok(match kind {
            kind::MESSAGE => Self::Message(Placed::fields(fields, false)?),
            kind::MOVED => Self::Message(Placed::fields(fields, true)?),
            kind::PURGE => Self::Purge {
                channel: fields.text()?,
                epoch: fields.u32()?,
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
                sealed: read_sealed(fields)?,
            },
            kind::CHANNEL => Self::Channel {
                channel: fields.text()?,
                epoch: fields.u32()?,
                floor: fields.varint()?,
                newest: fields.varint()?,
            },
            kind::CHECKPOINT_END => Self::CheckpointEnd,
            _ => return Err("a record in it is of no known kind"),
        })
    }

    pub(super) fn write(&self, batch: &mut Batch) {
        let kind = self.kind();
        batch.push(kind, |bytes| match self {
            Self::Message(message) => message.write(bytes),
            Self::Purge { channel, epoch } => {
                put_text(bytes, channel);
                put_u32(bytes, *epoch);
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
            Self::Mark { producer, number } => {
                put_text(bytes, producer);
                put_varint(bytes, *number);
            }
            Self::Serials { below } => put_varint(bytes, *below),
            Self::Checkpoint {
                forgotten,
                serials_below,
                sealed,
            } => {
                put_varint(bytes, *forgotten);
                put_varint(bytes, *serials_below);
                put_varint(bytes, sealed.len() as u64);
                for file in sealed {
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
                put_u32(bytes, *epoch);
                put_varint(bytes, *floor);
                put_varint(bytes, *newest);
            }
            Self::CheckpointEnd => {}
        });
    }

    /// What a repeat has in common with it, and where it stands.
    pub(super) fn repeatable(&self) -> Option<(u128, Position)> {
        match self {
            Self::Message(message) if !message.is_moved => {
                let Place { epoch, offset, .. } = message.first;
                Some((message.sameness?, Position { epoch, offset }))
            }
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
            Self::Mark { .. } => kind::MARK,
            Self::Serials { .. } => kind::SERIALS,
            Self::Checkpoint { .. } => kind::CHECKPOINT,
            Self::Channel { .. } => kind::CHANNEL,
            Self::CheckpointEnd => kind::CHECKPOINT_END,
        }
    }
}

fn read_sealed(fields: &mut Fields<'_>) -> Result<Vec<Sealed>, Flaw> {
    (0..fields.varint()?)
        .map(|_| {
            Ok(Sealed {
                number: fields.u32()?,
                size: fields.varint()?,
            })
        })
        .collect()
}

impl<'a> Placed<'a> {
    /// The places that it has.
    pub(super) fn places(&self) -> impl Iterator<Item = Place<'a>> {
        [Some(self.first), self.second].into_iter().flatten()
    }

    fn fields(fields: &mut Fields<'a>, is_moved: bool) -> Result<Self, Flaw> {
        let flags = fields.u8()?;
        let has = |flag| flags & flag != 0;
        Ok(Self {
            ts: fields.varint()?,
            first: Place::fields(fields)?,
            second: has(HAS_SECOND).then(|| Place::fields(fields)).transpose()?,
            is_moved,
            id: fields.text()?,
            from: has(HAS_FROM).then(|| fields.text()).transpose()?,
            to: has(HAS_TO).then(|| fields.text()).transpose()?,
            sameness: has(HAS_SAMENESS).then(|| fields.u128()).transpose()?,
            mark: has(HAS_MARK)
                .then(|| Ok::<_, Flaw>((fields.text()?, fields.varint()?)))
                .transpose()?,
            data: fields.text()?,
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let flag = |is_there, flag| if is_there { flag } else { 0 };
        bytes.push(
            flag(self.second.is_some(), HAS_SECOND)
                | flag(self.from.is_some(), HAS_FROM)
                | flag(self.to.is_some(), HAS_TO)
                | flag(self.sameness.is_some(), HAS_SAMENESS)
                | flag(self.mark.is_some(), HAS_MARK),
        );
        put_varint(bytes, self.ts);
        for place in self.places() {
            put_text(bytes, place.channel);
            put_u32(bytes, place.epoch);
            put_varint(bytes, place.offset);
        }
        put_text(bytes, self.id);
        for text in [self.from, self.to].into_iter().flatten() {
            put_text(bytes, text);
        }
        if let Some(sameness) = self.sameness {
            bytes.extend_from_slice(&sameness.to_le_bytes());
        }
        if let Some((producer, number)) = self.mark {
            put_text(bytes, producer);
            put_varint(bytes, number);
        }
        put_text(bytes, self.data);
    }
}

impl<'a> Place<'a> {
    fn fields(fields: &mut Fields<'a>) -> Result<Self, Flaw> {
        Ok(Self {
            channel: fields.text()?,
            epoch: fields.u32()?,
            offset: fields.varint()?,
        })
    }
}
