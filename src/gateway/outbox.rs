//! The outbox: what was posted and isn't settled yet, on disk.
//!
//! It is one channel of a store of its own. A message's offset is its number, so numbers count from
//! 1 without holes and are never used twice. Upstreams are readers of it: each has a mark, and what
//! all of them have settled goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::answer;
use super::feeder::Told;
use super::numbers::Numbers;
use super::posted::Posted;
use crate::api::reply::ReplySlot;
use crate::base::Epoch;
use crate::store::{
    Appended, Channel, Condition, Disk, DiskJob, MessageBody, MessageRecord, Reader, Record,
    Retention, StoreError, StoreSettings, WhenFull,
};

/// The channel of what was posted.
pub const OUTBOX: &str = "outbox";

/// The channel of what an upstream refused for good.
pub const DEAD: &str = "dead";

/// Dead letters that are kept; older ones go.
const DEAD_BYTES_MAX: u64 = 64 << 20;
const DEAD_MESSAGES_MAX: u64 = 100_000;

/// Room for what has to be written when the outbox is full, above all dead letters: what was
/// refused for good must not keep what is behind it from being settled.
const RESERVE_BYTES: u64 = 2 * DEAD_BYTES_MAX;

/// Epochs tell lives of a channel apart; these have one.
const EPOCH: Epoch = Epoch::from_bits(1);

/// Sets what an outbox needs of its store: that nothing goes before it is settled.
#[must_use]
pub fn store_settings(settings: StoreSettings, outbox_bytes_max: u64) -> StoreSettings {
    let dead = Retention {
        messages_max: DEAD_MESSAGES_MAX,
        bytes_max: DEAD_BYTES_MAX,
        ..Retention::UNBOUNDED
    };
    StoreSettings {
        retention: Arc::new(move |channel| match channel {
            DEAD => dead,
            _ => Retention::UNBOUNDED,
        }),
        bytes_max: outbox_bytes_max + RESERVE_BYTES,
        when_full: WhenFull::Refuse,
        // A small outbox needs smaller files: room comes back by whole ones.
        segment_bytes_max: (outbox_bytes_max / 16).clamp(64 << 10, settings.segment_bytes_max),
        ..settings
    }
}

/// See the module.
pub(super) struct Outbox {
    pub(super) disk: Disk<OutboxJob>,
    pub(super) reader: Arc<dyn Reader>,
    bytes_max: u64,
}

impl Outbox {
    pub(super) fn new(disk: Disk<OutboxJob>, reader: Arc<dyn Reader>, bytes_max: u64) -> Self {
        Self {
            disk,
            reader,
            bytes_max,
        }
    }

    /// The oldest number that is kept (or will come next), and the newest; 0 before the first.
    pub(super) fn kept(&self) -> (u64, u64) {
        let state = self.reader.channel(OUTBOX);
        state.map_or((1, 0), |state| (state.floor + 1, state.newest))
    }

    /// Up to where an upstream has settled it.
    pub(super) fn settled(&self, upstream: &str) -> u64 {
        let floor = self.kept().0 - 1;
        let acked = self.reader.acked(OUTBOX, upstream);
        acked.unwrap_or(0).max(floor)
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.reader.totals().bytes
    }

    /// Why nothing is taken now, if so.
    pub(super) fn refusal(&self) -> Option<Refused> {
        if self.bytes() >= self.bytes_max {
            return Some(Refused::Full);
        }
        match self.disk.condition() {
            Condition::Good => None,
            Condition::Full => Some(Refused::DiskFull),
            Condition::Failed => Some(Refused::Failed),
        }
    }
}

/// Why a posting wasn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The outbox holds as much as it may.
    Full,
    /// The disk is as good as full.
    DiskFull,
    /// Nothing can be written until the file is verified.
    Failed,
}

impl From<&StoreError> for Refused {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::Full,
            StoreError::DiskFull { .. } => Self::DiskFull,
            _ => Self::Failed,
        }
    }
}

/// What the jobs of the outbox share: the feeder to tell, and the counters.
pub(super) struct OutboxContext {
    pub(super) feeder: Told,
    pub(super) numbers: Arc<Numbers>,
}

/// What the outbox's disk thread does.
pub(super) enum OutboxJob {
    /// Takes a message, and answers.
    Post {
        posted: Posted,
        ts: u64,
        slot: ReplySlot,
    },
    /// An upstream has settled everything up to here.
    Settle { upstream: Arc<str>, n: u64 },
    /// All of them have.
    Trim { through: u64 },
    /// Keeps what an upstream refused for good.
    Bury {
        upstream: usize,
        n: u64,
        id: String,
        letter: String,
        ts: u64,
        /// It may be refused again before its mark is on disk.
        sameness: u128,
    },
    /// Is done once everything that was submitted before is.
    Flush(crossbeam_channel::Sender<()>),
}

impl DiskJob for OutboxJob {
    type Context = OutboxContext;

    fn size(&self) -> usize {
        match self {
            Self::Post { posted, .. } => size_of::<Self>() + posted.json.len(),
            Self::Bury { letter, .. } => size_of::<Self>() + letter.len(),
            Self::Settle { .. } | Self::Trim { .. } | Self::Flush(_) => size_of::<Self>(),
        }
    }

    fn record<'a>(&'a self, _context: &'a OutboxContext) -> Record<'a> {
        match self {
            Self::Post { posted, ts, .. } => Record::Message(MessageRecord {
                idempotency_key: posted.sameness,
                ..message(OUTBOX, &posted.id, *ts, &posted.json)
            }),
            Self::Settle { upstream, n } => Record::Ack {
                channel: OUTBOX,
                reader: upstream,
                offset: *n,
            },
            Self::Trim { through } => Record::Trim {
                channel: OUTBOX,
                through: *through,
            },
            Self::Bury {
                id,
                ts,
                letter,
                sameness,
                ..
            } => Record::Message(MessageRecord {
                idempotency_key: Some(*sameness),
                ..message(DEAD, id, *ts, letter)
            }),
            // Changes nothing, and so it is.
            Self::Flush(_) => Record::Trim {
                channel: OUTBOX,
                through: 0,
            },
        }
    }

    fn done(self, context: &OutboxContext, outcome: Result<Appended, &StoreError>) {
        let OutboxContext { feeder, numbers } = context;
        match self {
            Self::Post { posted, slot, .. } => {
                let counted = match outcome {
                    Ok(Appended::Repeat(_)) => &numbers.repeats,
                    Ok(_) => &numbers.taken,
                    Err(_) => &numbers.refused,
                };
                counted.fetch_add(1, Ordering::Relaxed);
                if outcome.is_ok() {
                    feeder.grown();
                }
                let is_repeat = matches!(outcome, Ok(Appended::Repeat(_)));
                let taken = outcome.map(|_| is_repeat).map_err(Refused::from);
                slot.fill(answer::result(&posted.id, taken));
            }
            Self::Settle { .. } | Self::Trim { .. } => {
                if outcome.is_err() {
                    feeder.not_settled();
                }
            }
            Self::Bury { upstream, n, .. } => feeder.buried(upstream, n, outcome.is_ok()),
            Self::Flush(sender) => drop(sender.send(())),
        }
    }
}

pub(super) fn message<'a>(
    channel: &'a str,
    id: &'a str,
    ts: u64,
    data: &'a str,
) -> MessageRecord<'a> {
    MessageRecord {
        channel: Channel {
            name: channel,
            epoch: EPOCH,
        },
        second: None,
        body: MessageBody {
            id,
            from: None,
            to: None,
            ts,
            data,
        },
        idempotency_key: None,
        mark: None,
    }
}

pub(super) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
