//! A connection that speaks HTTP, in a handover.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Ending, Handshake, HttpSide, HttpStage, LAST, UpgradeTo};
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::proto::http::{AnswerFields, Answers, BodyDecoder, Head};

/// The stages.
const HEAD: u8 = 0;
const BODY: u8 = 1;
const UPGRADING: u8 = 2;
const UPGRADED: u8 = 3;
const LAST_ANSWER: u8 = 4;
const UPGRADED_DEFLATING: u8 = 5;
const UPGRADING_EVENTS: u8 = 6;
const UPGRADED_EVENTS: u8 = 7;

impl HttpSide {
    pub(in crate::proto) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self {
            reading,
            rest,
            searched,
            answers,
            since,
            served_any,
            awaits_room,
            ending,
        } = self;
        reading.hand_over(record);
        record.bytes(rest);
        // Behind a refusal the count is that of bytes which have gone.
        record.size((*searched).min(rest.len()));
        answers.hand_over(record);
        record.tick(*since);
        record.flag(*served_any);
        record.flag(*awaits_room);
        record.u64(match ending {
            Ending::Open => 0,
            Ending::HalfClosed => 1,
            Ending::Done => 2,
        });
        let fields: Vec<_> = answers.fields().chain([reading.fields()]).collect();
        let fields = match fields.iter().any(Option::is_some) {
            true => fields,
            false => Vec::new(),
        };
        record.list(fields, |record, fields| {
            record.optional(fields, |record, fields| fields.hand_over(record));
        });
    }

    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        let reading = HttpStage::take_over(record)?;
        let rest = match record.bytes()? {
            // An idle connection owns no buffer.
            [] => BytesMut::new(),
            rest => BytesMut::from(rest),
        };
        let searched = record.size()?;
        if searched > rest.len() {
            return Err(record.refuse("more of a head was searched than has come"));
        }
        let mut side = Self {
            reading,
            rest,
            searched,
            answers: Answers::take_over(record)?,
            since: record.tick()?,
            served_any: record.flag()?,
            awaits_room: record.flag()?,
            ending: match record.u8()? {
                0 => Ending::Open,
                1 => Ending::HalfClosed,
                2 => Ending::Done,
                _ => return Err(record.refuse("an exchange ends in an unknown way")),
            },
        };
        let read = |record: &mut RecordReader<'_>| record.optional(AnswerFields::take_over);
        let mut fields = record.or(Vec::new(), |record| record.list(read))?;
        let of_reading = fields.pop().flatten();
        side.answers.set_fields(fields);
        if let HttpStage::Body { fields, .. } = &mut side.reading {
            *fields = of_reading.map(Arc::new);
        }
        Ok(side)
    }
}

impl HttpStage {
    /// The fields that the answer to the request in hand gets.
    fn fields(&self) -> Option<&AnswerFields> {
        match self {
            Self::Body { fields, .. } => fields.as_deref(),
            _ => None,
        }
    }

    fn hand_over(&self, record: &mut RecordWriter<'_>) {
        match self {
            Self::Head => record.u64(HEAD.into()),
            Self::Body {
                head,
                body,
                owes_continue,
                fields: _,
            } => {
                record.u64(BODY.into());
                head.hand_over(record);
                body.hand_over(record);
                record.flag(*owes_continue);
            }
            Self::Upgrading(handshake) => {
                let stage = match handshake.to {
                    UpgradeTo::WebSocket { .. } => UPGRADING,
                    UpgradeTo::Events { .. } => UPGRADING_EVENTS,
                };
                record.u64(stage.into());
                handshake.hand_over(record);
            }
            Self::Upgraded(handshake) => {
                let stage = match handshake.to {
                    UpgradeTo::WebSocket { deflates: true } => UPGRADED_DEFLATING,
                    UpgradeTo::WebSocket { deflates: false } => UPGRADED,
                    UpgradeTo::Events { .. } => UPGRADED_EVENTS,
                };
                record.u64(stage.into());
                handshake.hand_over(record);
            }
            // A refusal is taken, for the log, in the turn in which it is made.
            Self::Last { refused: _ } => record.u64(LAST_ANSWER.into()),
        }
    }

    fn take_over(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        Ok(match record.u8()? {
            HEAD => Self::Head,
            BODY => Self::Body {
                head: Head::take_over(record)?,
                body: BodyDecoder::take_over(record)?,
                owes_continue: record.flag()?,
                fields: None,
            },
            UPGRADING => Self::Upgrading(Handshake::take_over(record)?),
            UPGRADED => Self::Upgraded(Handshake::take_over(record)?),
            UPGRADED_DEFLATING => Self::Upgraded(Handshake {
                to: UpgradeTo::WebSocket { deflates: true },
                ..Handshake::take_over(record)?
            }),
            UPGRADING_EVENTS => Self::Upgrading(Handshake::take_over_events(record)?),
            UPGRADED_EVENTS => Self::Upgraded(Handshake::take_over_events(record)?),
            LAST_ANSWER => LAST,
            _ => return Err(record.refuse("a request is in an unknown stage")),
        })
    }
}

impl Handshake {
    fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self {
            head,
            own_size_max,
            to,
        } = self;
        head.hand_over(record);
        record.optional(*own_size_max, |record, size_max| record.size(size_max));
        if let UpgradeTo::Events { fields } = to {
            record.text(fields);
        }
    }

    fn take_over_events(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let handshake = Self::take_over(record)?;
        let fields = record.text()?.into();
        let to = UpgradeTo::Events { fields };
        Ok(Self { to, ..handshake })
    }

    fn take_over(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        Ok(Self {
            head: Box::new(Head::take_over(record)?),
            own_size_max: record.optional(RecordReader::size)?,
            to: UpgradeTo::WEBSOCKET,
        })
    }
}
