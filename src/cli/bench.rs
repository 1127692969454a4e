//! `tidings bench`: the load generator, and the server's own journal, beside which it measures a
//! floor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tidings::base::clock::unix_ms;
use tidings::store::{
    Channel, Epoch, Journal, MessageBody, MessageRecord, Record, Store, StoreSettings,
};
use tidings_bench::{Bench, DurableLog, LogTotals};

/// Bytes of the journal, at most: enough for minutes of small records, and little on any disk.
const JOURNAL_SIZE_MAX: u64 = 1 << 30;
/// Channels that the messages are spread over, as in a server with many rooms.
const CHANNELS: usize = 1_000;
/// Pause between two rounds of maintenance: the server's own.
const MAINTAIN_EVERY: Duration = Duration::from_millis(100);

/// Runs a mode of the load generator.
///
/// # Errors
///
/// The flags can't be used, or nothing could be measured.
pub(super) fn run(bench: Bench) -> anyhow::Result<ExitCode> {
    bench.run(|directory, size| Ok(Box::new(TemporaryJournal::open(directory, size)?)))
}

/// A journal of the server's that is removed at the end.
struct TemporaryJournal {
    journal: Journal,
    directory: PathBuf,
    channels: Vec<String>,
    /// The data of each message.
    data: String,
    /// The number of the last message.
    number: u64,
    /// The time that the messages of one batch bear; `None` before the first of a batch.
    now_ms: Option<u64>,
    maintained: Instant,
}

impl TemporaryJournal {
    /// Opens an empty journal below `parent`, for messages of `size` bytes.
    fn open(parent: &Path, size: usize) -> anyhow::Result<Self> {
        // A name that no other run has.
        let directory = parent.join(format!("raw-log-journal-{}.tmp", std::process::id()));
        let settings = StoreSettings {
            bytes_max: JOURNAL_SIZE_MAX,
            free_bytes_min: 0,
            ..StoreSettings::new(&directory)
        };
        Ok(Self {
            journal: Journal::open(settings)?,
            directory,
            channels: (0..CHANNELS)
                .map(|number| format!("room-{number}"))
                .collect(),
            data: format!("\"{}\"", "x".repeat(size.saturating_sub(2))),
            number: 0,
            now_ms: None,
            maintained: Instant::now(),
        })
    }
}

impl DurableLog for TemporaryJournal {
    fn append(&mut self) -> anyhow::Result<()> {
        let now_ms = *self.now_ms.get_or_insert_with(unix_ms);
        self.number += 1;
        let id = format!("{:032x}", self.number);
        let channel = &self.channels[self.number as usize % self.channels.len()];
        let message = MessageRecord {
            channel: Channel::stored(channel, Epoch::from_bits(1)),
            second: None,
            body: MessageBody {
                id: &id,
                from: Some("ann"),
                to: None,
                ts: now_ms,
                data: &self.data,
            },
            idempotency_key: Some(u128::from(self.number) << 64 | u128::from(self.number)),
            id_owner: 0,
            opens: false,
            mark: None,
            except: &[],
        };
        self.journal.append(now_ms, &Record::Message(message))?;
        Ok(())
    }

    fn sync(&mut self) -> anyhow::Result<()> {
        let now_ms = self.now_ms.take().unwrap_or_else(unix_ms);
        self.journal.commit()?;
        if self.maintained.elapsed() >= MAINTAIN_EVERY {
            self.maintained = Instant::now();
            self.journal.maintain(now_ms)?;
        }
        self.journal.upkeep();
        Ok(())
    }

    fn totals(&self) -> LogTotals {
        let totals = self.journal.reader().totals();
        LogTotals {
            records: totals.messages,
            bytes: totals.bytes,
            syncs: totals.syncs,
            sync_us_sum: totals.sync_us,
        }
    }
}

impl Drop for TemporaryJournal {
    fn drop(&mut self) {
        // The directory is for measuring, and the next run uses another name.
        _ = fs::remove_dir_all(&self.directory);
    }
}
