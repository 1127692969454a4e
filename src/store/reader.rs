//! The reading side of a store, for other threads.

use super::error::StoreError;
use crate::base::metric::numbers;
use crate::base::{Epoch, HashKeys, MessageBody, Position};
use crate::handover::SectionWriter;

/// The reading side of a store, for any thread; shows only what is committed. May wait for the
/// disk, so it must not be called under a lock.
pub trait Reader: Send + Sync {
    /// Returns the state of a channel; `None` when the store doesn't know the channel.
    fn channel(&self, name: &str) -> Option<ChannelState>;

    /// Reads a part of a channel's log; empty when the store doesn't know the channel.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    fn page(&self, channel: &str, range: PageRange) -> Result<LogPage, StoreError>;

    /// Calls `known` for each channel, then for each acknowledgement, then for each lasting
    /// membership: for a start.
    fn each(&self, known: &mut dyn FnMut(StateRecord<'_>));

    /// Returns the offset up to which a reader has acknowledged a channel.
    fn acked(&self, channel: &str, reader: &str) -> Option<u64>;

    /// Returns the number up to which a producer's messages are settled; 0 for an unknown producer.
    fn mark(&self, producer: &str) -> u64;

    /// Returns the same where it has to be asked for.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it can't be read now.
    fn read_mark(&self, producer: &str) -> Result<u64, StoreError> {
        Ok(self.mark(producer))
    }

    /// Returns the bound of the serial numbers that may have been handed out; 0 in a new store.
    fn serials_below(&self) -> u64;

    /// Returns the random key that was made with the store, for hashes that have to mean the same
    /// after a restart.
    fn key(&self) -> [u64; 2];

    /// Returns the same where several programs share the store, and it may get another key.
    fn shared_keys(&self) -> Option<HashKeys> {
        None
    }

    /// Counts the channels that were ever forgotten. The epoch of a new channel is made from this
    /// number and the key, so it differs from that of a channel that had the name before.
    fn forgotten(&self) -> u64;

    /// Writes the whole store down, where it ends with the program; nothing where it is on disk. Nobody may
    /// write to it meanwhile.
    fn hand_over(&self, _section: &mut SectionWriter) {}

    /// Counts on from a number of an earlier image, as [`StoreTotals`] names it. What is counted from the
    /// files themselves begins anew, and so does what isn't there any more.
    fn count_on(&self, _name: &str, _from: u64) {}

    /// Reads the numbers of this moment.
    fn totals(&self) -> StoreTotals;
}

/// One fact that [`Reader::each`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateRecord<'a> {
    /// A channel, by its name, and its state.
    Channel(&'a str, ChannelState),
    /// A reader has acknowledged a channel up to an offset.
    Ack {
        /// The name of the channel.
        channel: &'a str,
        /// The name of the reader.
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
        /// The name of the room.
        room: &'a str,
        /// The id of the user.
        user: &'a str,
    },
}

/// The state of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelState {
    /// The epoch of the channel's log.
    pub epoch: Epoch,
    /// The newest offset; 0 before the first message.
    pub newest: u64,
    /// The newest offset that isn't kept any more; `newest` when nothing is kept.
    pub floor: u64,
}

/// A range of the messages of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRange {
    /// Only offsets greater than this; `None` begins with the oldest message.
    pub after: Option<u64>,
    /// Only offsets smaller than this; `None` ends with the newest message. If only this bound is
    /// given, the newest messages come first.
    pub before: Option<u64>,
    /// The most messages that the page may have.
    pub limit: usize,
    /// Bytes after which the page ends, though it has one message at least.
    pub bytes_max: usize,
}

/// A part of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPage {
    /// The state of the channel when the page was read; `None` if the store didn't know the
    /// channel.
    pub state: Option<ChannelState>,
    /// The messages, in the order of [`PageRange`].
    pub messages: Vec<StoredMessage>,
    /// Whether the range has more messages.
    pub more: bool,
}

/// A message that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The place of the message in the channel that was asked for.
    pub position: Position,
    /// The text, the sender and the time of the message.
    pub body: MessageBody<Box<str>>,
}

numbers! {
    /// The numbers of a store.
    pub struct StoreTotals {
        /// Channels on disk.
        Gauge channels,
        /// Messages on disk; one in two channels counts twice.
        Gauge messages,
        /// Files of the journal.
        Gauge segments,
        /// Files of the journal that were begun since the start.
        Counter segments_begun,
        /// Bytes of the files.
        Gauge bytes,
        /// Bytes of the index in memory.
        Gauge index_bytes,
        /// Batches that were made durable.
        Counter commits,
        /// Records in them.
        Counter records,
        /// Microseconds of the last sync.
        Gauge sync_us_last,
        /// Microseconds that 999 of 1,000 syncs since the start took at most, to within a quarter.
        Gauge sync_us_p999,
        /// Microseconds of all syncs.
        Counter sync_us,
        /// Syncs.
        Counter syncs,
        /// Writes and syncs that failed.
        Counter failures,
        /// Bytes of torn tails that were cut off.
        Counter torn_bytes,
        /// Messages that were let go for age, number or size.
        Counter trimmed,
        /// Messages that were moved on out of nearly dead files.
        Counter moved,
        /// Repeats that were known.
        Counter repeats,
        /// Messages whose repeats were forgotten before their time, since there were too many.
        Counter repeats_forgotten,
        /// Pieces of long work, such as a checkpoint, that were done between two batches.
        Counter upkeep_pieces,
        /// Microseconds of the longest of them.
        Gauge upkeep_us_max,
        /// Records of a checkpoint that one of them wrote at most.
        Gauge upkeep_records_max,
    }
}
