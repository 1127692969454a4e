//! A WebSocket in a handover.

use bytes::BytesMut;

use super::{ClosePhase, CloseReason, WebSocketSide};
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::proto::websocket::{FrameError, MessageDecoder};

/// The phases.
const OPEN: u8 = 0;
const CLOSE_SENT: u8 = 1;
const LEAVING: u8 = 2;

impl WebSocketSide {
    pub(in crate::proto) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self {
            decoder,
            phase,
            carry,
            pinged,
            early_ms,
            message_size_max,
            has_own_size,
        } = self;
        record.size(*message_size_max);
        record.flag(*has_own_size);
        decoder.hand_over(record);
        match phase {
            ClosePhase::Open => record.u64(OPEN.into()),
            ClosePhase::CloseSent { code, deadline } => {
                record.u64(CLOSE_SENT.into());
                record.u64((*code).into());
                record.tick(*deadline);
            }
            ClosePhase::Leaving(reason) => {
                record.u64(LEAVING.into());
                reason.hand_over(record);
            }
        }
        record.bytes(carry.as_deref().map_or(&[], |carry| carry));
        record.tick(*pinged);
        record.u64((*early_ms).into());
        // Since version 2 of the section.
        record.flag(decoder.may_deflate());
    }

    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        let (message_size_max, has_own_size) = (record.size()?, record.flag()?);
        let mut decoder = MessageDecoder::take_over(record, message_size_max)?;
        let phase = match record.u8()? {
            OPEN => ClosePhase::Open,
            CLOSE_SENT => ClosePhase::CloseSent {
                code: record.u16()?,
                deadline: record.tick()?,
            },
            LEAVING => ClosePhase::Leaving(Box::new(CloseReason::take_over(record)?)),
            _ => return Err(record.refuse("a WebSocket is in an unknown phase")),
        };
        let carry = record.bytes()?;
        let (pinged, early_ms) = (record.tick()?, record.u32()?);
        let may_deflate = record.or(false, RecordReader::flag)?;
        if may_deflate && !cfg!(feature = "deflate") {
            return Err(record.refuse("compression was agreed on, which this program can't do"));
        }
        if !decoder.settle_deflate(may_deflate) {
            return Err(record.refuse("a message is compressed, which was never agreed on"));
        }
        Ok(Self {
            decoder,
            phase,
            carry: (!carry.is_empty()).then(|| Box::new(BytesMut::from(carry))),
            pinged,
            early_ms,
            message_size_max,
            has_own_size,
        })
    }
}

impl CloseReason {
    /// Writes the reason down.
    pub fn hand_over(&self, record: &mut RecordWriter<'_>) {
        match self {
            Self::Peer { code, reason } => {
                record.u64(0);
                record.optional(*code, |record, code| record.u64(code.into()));
                record.text(reason);
            }
            Self::Server(code) => {
                record.u64(1);
                record.u64((*code).into());
            }
            Self::Violation(error) => {
                record.u64(2);
                error.hand_over(record);
            }
            Self::PingTimeout => record.u64(3),
            Self::SlowReader => record.u64(4),
            Self::Lost => record.u64(5),
        }
    }

    /// Reads a reason.
    ///
    /// # Errors
    ///
    /// There is no such reason.
    pub fn take_over(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        Ok(match record.u8()? {
            0 => Self::Peer {
                code: record.optional(RecordReader::u16)?,
                reason: record.text()?.into(),
            },
            1 => Self::Server(record.u16()?),
            2 => Self::Violation(FrameError::take_over(record)?),
            3 => Self::PingTimeout,
            4 => Self::SlowReader,
            5 => Self::Lost,
            _ => return Err(record.refuse("a WebSocket ended for an unknown reason")),
        })
    }
}
