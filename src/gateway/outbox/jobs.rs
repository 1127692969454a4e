//! The jobs of the disk thread of an outbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::counters::OutboxCounters;
use super::records::{DEAD, OUTBOX, message};
use super::refusal::OutboxRefusal;
use crate::api::reply::ReplySlot;
use crate::gateway::answer;
use crate::gateway::message::OutboxMessage;
use crate::gateway::relay::{RelayEvent, RelayHandle};
use crate::store::{Appended, DiskJob, JobOutcomes, MessageRecord, Record};

/// The context that all jobs of an outbox share.
pub(in crate::gateway) struct OutboxContext {
    /// The relay, which learns of new messages and of everything that the disk refuses.
    pub(in crate::gateway) relay: RelayHandle,
    /// The counters of the postings.
    pub(in crate::gateway) counters: Arc<OutboxCounters>,
}

/// One job for the disk thread.
pub(in crate::gateway) enum OutboxJob {
    /// Writes a message, and answers its posting.
    Append {
        /// The message to write.
        message: OutboxMessage,
        /// The time of the posting, in milliseconds since 1970.
        ts: u64,
        /// The slot that takes the result.
        slot: ReplySlot,
    },
    /// Writes that an upstream has acknowledged everything up to a number.
    Ack {
        /// The upstream's URL.
        upstream: Arc<str>,
        /// The newest acknowledged number.
        n: u64,
    },
    /// Lets go of the messages that all upstreams have acknowledged.
    Trim {
        /// The newest number that goes.
        through: u64,
    },
    /// Writes a message that an upstream refused for good.
    StoreDeadLetter {
        /// The upstream's place in the settings.
        upstream: usize,
        /// The number of the message.
        n: u64,
        /// The id of the letter.
        id: String,
        /// The letter, as one JSON object.
        json: String,
        /// The time of the refusal, in milliseconds since 1970.
        ts: u64,
        /// The key that a letter which is written again has too.
        idempotency_key: u128,
    },
    /// Tells when all jobs that were submitted before are done.
    Flush(crossbeam_channel::Sender<()>),
}

impl DiskJob for OutboxJob {
    type Context = OutboxContext;

    fn size(&self) -> usize {
        match self {
            Self::Append { message, .. } => size_of::<Self>() + message.json.len(),
            Self::StoreDeadLetter { json, .. } => size_of::<Self>() + json.len(),
            Self::Ack { .. } | Self::Trim { .. } | Self::Flush(_) => size_of::<Self>(),
        }
    }

    fn record<'a>(&'a self, _place: usize, _context: &'a OutboxContext) -> Record<'a> {
        match self {
            Self::Append {
                message: posted,
                ts,
                ..
            } => Record::Message(MessageRecord {
                idempotency_key: posted.idempotency_key,
                ..message(OUTBOX, &posted.id, *ts, &posted.json)
            }),
            Self::Ack { upstream, n } => Record::Ack {
                channel: OUTBOX,
                reader: upstream,
                offset: *n,
            },
            Self::Trim { through } => Record::Trim {
                channel: OUTBOX,
                through: *through,
            },
            Self::StoreDeadLetter {
                id,
                ts,
                json,
                idempotency_key,
                ..
            } => Record::Message(MessageRecord {
                idempotency_key: Some(*idempotency_key),
                ..message(DEAD, id, *ts, json)
            }),
            // This record changes nothing; only the call of `done` is wanted.
            Self::Flush(_) => Record::Trim {
                channel: OUTBOX,
                through: 0,
            },
        }
    }

    fn done(self, context: &OutboxContext, outcomes: JobOutcomes<'_>) {
        let outcome = outcomes.first();
        let OutboxContext { relay, counters } = context;
        match self {
            Self::Append { message, slot, .. } => {
                let counted = match outcome {
                    Ok(Appended::Repeat(_)) => &counters.repeats,
                    Ok(_) => &counters.taken,
                    Err(_) => &counters.refused,
                };
                counted.fetch_add(1, Ordering::Relaxed);
                if outcome.is_ok() {
                    relay.outbox_grown();
                }
                let is_repeat = matches!(outcome, Ok(Appended::Repeat(_)));
                let taken = outcome.map(|_| is_repeat).map_err(OutboxRefusal::from);
                slot.fill(answer::result(&message.id, taken));
            }
            Self::Ack { .. } | Self::Trim { .. } => {
                if outcome.is_err() {
                    relay.send(RelayEvent::AckRefused);
                }
            }
            Self::StoreDeadLetter { upstream, n, .. } => relay.send(match outcome {
                Ok(_) => RelayEvent::DeadLetterStored { upstream, n },
                Err(_) => RelayEvent::DeadLetterRefused { upstream, n },
            }),
            Self::Flush(sender) => drop(sender.send(())),
        }
    }
}
