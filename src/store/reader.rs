//! The reading side of a store, for other threads.

use super::error::StoreError;
use crate::base::{Epoch, MessageBody, Position};

/// Reads what is committed, from any thread. May wait for the disk: never to be called under a
/// lock.
pub trait Reader: Send + Sync {
    /// What is known of a channel; `None` when the store doesn't know it.
    fn channel(&self, name: &str) -> Option<ChannelState>;

    /// A part of a channel's log; empty when the store doesn't know the channel.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    fn page(&self, channel: &str, range: PageRange) -> Result<LogPage, StoreError>;

    /// Everything that is known of channels, readers and members, for a start: calls back once
    /// for each. Order: channels, then acknowledgements, then members.
    fn each(&self, known: &mut dyn FnMut(StateRecord<'_>));

    /// Up to where a reader has acknowledged a channel.
    fn acked(&self, channel: &str, reader: &str) -> Option<u64>;

    /// Up to where a producer's numbers are settled; 0 when nothing is known of it.
    fn mark(&self, producer: &str) -> u64;

    /// The bound of the serial numbers that may have been handed out; 0 in a new store.
    fn serials_below(&self) -> u64;

    /// Random, made with the store: keys of hashes that have to mean the same after a restart.
    fn key(&self) -> [u64; 2];

    /// How many channels were ever forgotten: with the key, what makes the epoch of a new channel
    /// differ from that of one that had its name before.
    fn forgotten(&self) -> u64;

    /// The numbers of this moment.
    fn totals(&self) -> StoreTotals;
}

/// One thing that [`Reader::each`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateRecord<'a> {
    /// A channel.
    Channel(&'a str, ChannelState),
    /// A reader has a channel up to an offset.
    Ack {
        /// The channel.
        channel: &'a str,
        /// The reader.
        reader: &'a str,
        /// The newest offset that the reader has.
        offset: u64,
    },
    /// A channel counts for the user who opened it.
    Opener {
        /// The channel.
        channel: &'a str,
        /// The user.
        user: &'a str,
    },
    /// A lasting membership.
    Member {
        /// The room.
        room: &'a str,
        /// The user.
        user: &'a str,
    },
}

/// What is known of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelState {
    /// The epoch of its log.
    pub epoch: Epoch,
    /// The newest offset; 0 before the first message.
    pub newest: u64,
    /// The newest offset that isn't kept any more; `newest` when nothing is kept.
    pub floor: u64,
}

/// A range of the messages of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRange {
    /// Greater than this; `None` begins with the oldest.
    pub after: Option<u64>,
    /// Smaller than this; `None` ends with the newest. Alone, the newest come first.
    pub before: Option<u64>,
    /// Messages at the most.
    pub limit: usize,
    /// Bytes after which the page ends, though it has one message at least.
    pub bytes_max: usize,
}

/// A part of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPage {
    /// What was known of the channel when the page was read; `None`: nothing.
    pub state: Option<ChannelState>,
    /// In the order of [`PageRange`].
    pub messages: Vec<StoredMessage>,
    /// The range has more.
    pub more: bool,
}

/// A message that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The place of the message in the channel that was asked for.
    pub position: Position,
    /// What the message says.
    pub body: MessageBody<Box<str>>,
}

/// The numbers of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreTotals {
    /// Channels that are known.
    pub channels: u64,
    /// Messages that are kept; one in two channels counts twice.
    pub messages: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Bytes of the index in memory, roughly.
    pub index_bytes: u64,
    /// Batches that were committed.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// Microseconds of the last sync.
    pub sync_us_last: u64,
    /// Microseconds of all syncs.
    pub sync_us_sum: u64,
    /// Syncs.
    pub syncs: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Bytes of torn tails that were cut off at starts and recoveries of this process.
    pub torn_bytes: u64,
    /// Messages that retention let go.
    pub trimmed: u64,
    /// Live records that compaction moved out of nearly dead segments.
    pub moved: u64,
    /// Repeats that were known.
    pub repeats: u64,
    /// Messages whose repeats aren't known any more before their time, since there were too many.
    pub repeats_forgotten: u64,
}
