//! A decoder in a handover: one byte between two messages, else what is unfinished.

use super::{FrameStage, MessageDecoder, PartialPayload};
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::proto::websocket::FrameError;
use crate::proto::websocket::control::PAYLOAD_SIZE_MAX as CONTROL_SIZE_MAX;
use crate::proto::websocket::deflate::deflated_size_max;
use crate::proto::websocket::frame::MessageKind;
use crate::proto::websocket::header::{self, ControlKind, FrameKind, Header, MessageSoFar};

/// What the decoder is at.
const NOTHING: u8 = 0;
const HEADER: u8 = 1;
const PAYLOAD: u8 = 2;
const FAILED: u8 = 3;

/// Kinds of frames, and of the message under way; those of messages are 0 and 1, and 3 and 4 if the
/// message is compressed.
const NO_MESSAGE: u8 = 2;
const DEFLATED: u8 = 3;
const MIDDLE: u8 = 4;
const LAST: u8 = 5;

impl MessageDecoder {
    pub(in crate::proto) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        if self.is_between_messages() {
            return record.u64(NOTHING.into());
        }
        let Self {
            reading,
            collected,
            message,
            is_deflated,
            // The connection's record says that, behind this.
            may_deflate: _,
            open_character_size,
        } = self;
        match reading {
            FrameStage::Header { bytes, held } => {
                record.u64(HEADER.into());
                record.bytes(&bytes[..usize::from(*held)]);
            }
            FrameStage::PartialPayload(payload) => {
                record.u64(PAYLOAD.into());
                payload.hand_over(record);
            }
            FrameStage::Failed(error) => {
                record.u64(FAILED.into());
                return error.hand_over(record);
            }
        }
        let number = |kind| number_of(kind) + if *is_deflated { DEFLATED } else { 0 };
        record.u64(message.map_or(NO_MESSAGE, number).into());
        record.u64((*open_character_size).into());
        record.bytes(collected);
    }

    /// Takes a decoder over that was told this bound last; [`Self::settle_deflate`] follows.
    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
        message_size_max: usize,
    ) -> Result<Self, HandoverError> {
        let mut held: &[u8] = &[];
        let reading = match record.u8()? {
            NOTHING => return Ok(Self::new()),
            HEADER => {
                held = record.bytes()?;
                FrameStage::NOTHING
            }
            PAYLOAD => FrameStage::PartialPayload(PartialPayload::take_over(record)?),
            FAILED => {
                let reading = FrameStage::Failed(FrameError::take_over(record)?);
                return Ok(Self {
                    reading,
                    ..Self::new()
                });
            }
            _ => return Err(record.refuse("a decoder is in an unknown stage")),
        };
        let number = record.u8()?;
        let is_deflated = number >= DEFLATED;
        let message = match number {
            NO_MESSAGE => None,
            DEFLATED.. => Some(kind_of(number - DEFLATED, record)?),
            _ => Some(kind_of(number, record)?),
        };
        let decoder = Self {
            reading,
            message,
            is_deflated,
            may_deflate: true,
            open_character_size: record.u8()?,
            collected: record.bytes()?.to_vec(),
        };
        if !decoder.is_possible(message_size_max) {
            return Err(record.refuse("a message is none that frames can make"));
        }
        decoder.holding(held, message_size_max, record)
    }

    /// Says whether the peer may compress; `false` if it did although it may not.
    pub(in crate::proto) fn settle_deflate(&mut self, may_deflate: bool) -> bool {
        self.may_deflate = may_deflate;
        may_deflate || !self.is_deflated
    }

    /// Whether frames can have brought the decoder here.
    fn is_possible(&self, message_size_max: usize) -> bool {
        let size = self.collected.len();
        let message_size_max = match self.is_deflated {
            false => message_size_max,
            true => deflated_size_max(message_size_max),
        };
        let message_size = match self.reading {
            FrameStage::PartialPayload(payload) => {
                let Some(before) = size.checked_sub(payload.taken) else {
                    return false;
                };
                let (is_fitting, message_size, size_max) = match payload.kind {
                    FrameKind::Whole(kind) | FrameKind::First(kind) => {
                        (self.message == Some(kind), size, message_size_max)
                    }
                    FrameKind::Middle | FrameKind::Last => (
                        self.message.is_some(),
                        size,
                        message_size_max.saturating_sub(before),
                    ),
                    FrameKind::Control(_) => (true, before, CONTROL_SIZE_MAX),
                };
                if !is_fitting || payload.size > size_max {
                    return false;
                }
                message_size
            }
            FrameStage::Header { .. } | FrameStage::Failed(_) => size,
        };
        self.is_possible_message(&self.collected[..message_size])
    }

    fn is_possible_message(&self, message: &[u8]) -> bool {
        let open_size = usize::from(self.open_character_size);
        match self.message {
            None => message.is_empty() && open_size == 0,
            Some(_) if self.is_deflated => open_size == 0,
            Some(MessageKind::Binary) => open_size == 0,
            Some(MessageKind::Text) => match std::str::from_utf8(message) {
                Ok(_) => open_size == 0,
                Err(error) => {
                    error.error_len().is_none() && message.len() - error.valid_up_to() == open_size
                }
            },
        }
    }

    /// Holds the first bytes of a header, which have to be good ones.
    fn holding(
        mut self,
        first: &[u8],
        message_size_max: usize,
        record: &RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        if let FrameStage::Header { bytes, held } = &mut self.reading {
            let context = MessageSoFar {
                message: self.message,
                message_size: self.collected.len(),
                message_size_max,
                is_deflated: self.is_deflated,
                may_deflate: true,
            };
            let is_part = first.len() < header::SIZE_MAX
                && matches!(Header::parse(first, &context), Ok(None));
            if !is_part {
                return Err(record.refuse("a frame has a bad header"));
            }
            bytes[..first.len()].copy_from_slice(first);
            *held = first.len() as u8;
        }
        Ok(self)
    }
}

impl PartialPayload {
    fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self {
            kind,
            mask,
            size,
            taken,
        } = self;
        let kind = match kind {
            FrameKind::Whole(kind) => number_of(*kind),
            FrameKind::First(kind) => 2 + number_of(*kind),
            FrameKind::Middle => MIDDLE,
            FrameKind::Last => LAST,
            FrameKind::Control(ControlKind::Close) => 6,
            FrameKind::Control(ControlKind::Ping) => 7,
            FrameKind::Control(ControlKind::Pong) => 8,
        };
        record.u64(kind.into());
        record.u64(u32::from_le_bytes(*mask).into());
        record.size(*size);
        record.size(*taken);
    }

    fn take_over(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let kind = match record.u8()? {
            number @ 0..=1 => FrameKind::Whole(kind_of(number, record)?),
            number @ 2..=3 => FrameKind::First(kind_of(number - 2, record)?),
            MIDDLE => FrameKind::Middle,
            LAST => FrameKind::Last,
            6 => FrameKind::Control(ControlKind::Close),
            7 => FrameKind::Control(ControlKind::Ping),
            8 => FrameKind::Control(ControlKind::Pong),
            _ => return Err(record.refuse("a frame is of an unknown kind")),
        };
        let payload = Self {
            kind,
            mask: record.u32()?.to_le_bytes(),
            size: record.size()?,
            taken: record.size()?,
        };
        match payload.taken < payload.size {
            true => Ok(payload),
            false => Err(record.refuse("a whole frame was left in the decoder")),
        }
    }
}

fn number_of(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Text => 0,
        MessageKind::Binary => 1,
    }
}

fn kind_of(number: u8, record: &RecordReader<'_>) -> Result<MessageKind, HandoverError> {
    match number {
        0 => Ok(MessageKind::Text),
        1 => Ok(MessageKind::Binary),
        _ => Err(record.refuse("a message is of an unknown kind")),
    }
}
