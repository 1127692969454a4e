//! The read view: the committed state, for readers on other threads.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::epoch_masks::EpochMasks;
use super::error::StoreError;
use super::files::{FileSystem, OpenMode, StoreFile};
use super::location::Location;
use super::log_record::{LogPlace, LogRecord};
use super::names;
use super::raw_record::RawRecord;
use super::reader::{
    ChannelState, LogPage, PageRange, Reader, StateRecord, StoreTotals, StoredMessage,
};
use super::segment_head::SegmentHead;
use super::state::StoreState;
use super::sync_times::SyncTimes;
use crate::base::Position;
use crate::base::sync;
use crate::handover::SectionWriter;

/// Segments that are held open for readers, at the most: a small part of a process's usual 1,024
/// descriptors.
const OPEN_FILES_MAX: usize = 128;
/// Records that are nearer to each other than this are read at once: reading 4 KiB more costs less
/// than another call.
const GAP_MAX: u64 = 4 << 10;
/// Bytes that are read at once, at the most; one record may be larger. A page is seldom larger.
const READ_MAX: u64 = 256 << 10;
/// Tries of a page whose segment was removed meanwhile, before that counts as damage: segments go
/// at most once a second.
const TRIES: usize = 8;

/// The committed state, and the segments that its messages stand in.
#[derive(Debug)]
pub(super) struct ReadView {
    files: Arc<dyn FileSystem>,
    directory: PathBuf,
    pub(super) key: [u64; 2],
    epoch_masks: EpochMasks,
    state: RwLock<StoreState>,
    open: Mutex<HashMap<u32, Arc<dyn StoreFile>>>,
    pub(super) counters: StoreCounters,
}

/// The counters of the writing thread.
#[derive(Debug, Default)]
pub(super) struct StoreCounters {
    pub(super) segments: AtomicU64,
    pub(super) segments_begun: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) sync_us_last: AtomicU64,
    pub(super) sync_times: SyncTimes,
    pub(super) sync_us: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) torn_bytes: AtomicU64,
    pub(super) moved: AtomicU64,
    pub(super) repeats: AtomicU64,
    pub(super) repeats_forgotten: AtomicU64,
    pub(super) upkeep_pieces: AtomicU64,
    pub(super) upkeep_us_max: AtomicU64,
    pub(super) upkeep_records_max: AtomicU64,
}

impl StoreCounters {
    /// Adds `count` to one of the counters.
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Notes the time of a piece of upkeep.
    pub(super) fn note_upkeep(&self, took: Duration) {
        Self::add(&self.upkeep_pieces, 1);
        let us = took.as_micros() as u64;
        self.upkeep_us_max.fetch_max(us, Ordering::Relaxed);
    }

    /// Notes the records of a piece of a checkpoint.
    pub(super) fn note_piece(&self, records: u32) {
        (self.upkeep_records_max).fetch_max(records.into(), Ordering::Relaxed);
    }
}

impl ReadView {
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        directory: PathBuf,
        (key, epoch_masks): ([u64; 2], EpochMasks),
        state: StoreState,
    ) -> Self {
        Self {
            files,
            directory,
            key,
            epoch_masks,
            state: RwLock::new(state),
            open: Mutex::default(),
            counters: StoreCounters::default(),
        }
    }

    /// Returns the masks by which the epochs in older segments read as of today.
    pub(super) fn epoch_masks(&self) -> &EpochMasks {
        &self.epoch_masks
    }

    /// Locks the state for reading.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, StoreState> {
        // A panic in the middle of a change is a bug of ours, and no reason to say nothing more.
        sync::read(&self.state)
    }

    /// Locks the state for a change; readers wait meanwhile.
    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, StoreState> {
        sync::write(&self.state)
    }

    /// Closes a segment that was removed or replaced.
    pub(super) fn close(&self, segment: u32) {
        let mut open = sync::lock(&self.open);
        open.remove(&segment);
    }

    fn file(&self, segment: u32) -> io::Result<Arc<dyn StoreFile>> {
        let mut open = sync::lock(&self.open);
        if let Some(file) = open.get(&segment) {
            return Ok(Arc::clone(file));
        }
        let path = self.directory.join(names::segment(segment));
        let file = self.files.open(&path, OpenMode::Read)?;
        if open.len() >= OPEN_FILES_MAX {
            let any = *open.keys().next().expect("there are many");
            open.remove(&any);
        }
        open.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Reads a page; `None` when one of its segments was removed meanwhile.
    fn try_page(&self, channel: &str, range: PageRange) -> Result<Option<LogPage>, StoreError> {
        let (state, wanted, more) = {
            let state = self.state();
            let Some(known) = state.channel(channel) else {
                return Ok(Some(LogPage::default()));
            };
            let (wanted, more) = known.log.range(range);
            (known.log.state(), wanted, more)
        };
        let mut messages = Vec::with_capacity(wanted.len());
        messages.resize_with(wanted.len(), || None);
        let runs = runs(&wanted);
        for run in runs.iter().filter(|_| runs.len() > 1) {
            if let Ok(file) = self.file(run.segment) {
                file.will_read(run.start, run.end - run.start);
            }
        }
        let mut bytes = Vec::new();
        for run in &runs {
            let file = match self.file(run.segment) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.error("open", run.segment, error)),
            };
            bytes.resize((run.end - run.start) as usize, 0);
            let filled = (file.read_full_at(&mut bytes, run.start))
                .map_err(|error| self.error("read", run.segment, error))?;
            for &index in &run.members {
                let (offset, location) = wanted[index];
                let place = LogPlace {
                    channel,
                    at: Position {
                        epoch: state.epoch,
                        offset,
                    },
                };
                let start = (u64::from(location.at) - run.start) as usize;
                let raw = bytes[..filled].get(start..).unwrap_or_default();
                messages[index] = Some(self.message(place, location, raw)?);
            }
        }
        Ok(Some(LogPage {
            state: Some(state),
            messages: messages.into_iter().flatten().collect(),
            more,
        }))
    }

    fn message(
        &self,
        place: LogPlace<'_>,
        location: Location,
        bytes: &[u8],
    ) -> Result<StoredMessage, StoreError> {
        let head = SegmentHead {
            number: location.segment,
            key: self.key,
            checkpoint_end: 0,
            epoch_mask: 0,
        };
        let mask = self.epoch_masks.of(location.segment);
        let log_record =
            RawRecord::read(bytes, head.seed(), location.at.into()).and_then(LogRecord::read);
        let message = match log_record {
            Ok(LogRecord::Message(message))
                if message.masked(mask).places().any(|there| there == place) =>
            {
                message
            }
            Ok(_) => return Err(self.damaged(location, "another record stands there")),
            Err(flaw) => return Err(self.damaged(location, flaw)),
        };
        Ok(StoredMessage {
            position: place.at,
            body: message.body.to_owned(),
        })
    }

    fn damaged(&self, location: Location, flaw: &str) -> StoreError {
        let file = self.directory.join(names::segment(location.segment));
        StoreError::damaged(file, location.at.into(), flaw)
    }

    fn error(&self, what: &'static str, segment: u32, source: io::Error) -> StoreError {
        StoreError::Io {
            what,
            path: self.directory.join(names::segment(segment)),
            source,
        }
    }
}

/// Records that are read at once.
struct Run {
    segment: u32,
    start: u64,
    end: u64,
    /// The indexes of the records in the page.
    members: Vec<usize>,
}

fn runs(wanted: &[(u64, Location)]) -> Vec<Run> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_unstable_by_key(|&index| (wanted[index].1.segment, wanted[index].1.at));
    let mut runs: Vec<Run> = Vec::new();
    for index in order {
        let location = wanted[index].1;
        let start = u64::from(location.at);
        let end = start + u64::from(location.size);
        match runs.last_mut() {
            Some(run)
                if run.segment == location.segment
                    && start <= run.end + GAP_MAX
                    && end - run.start <= READ_MAX =>
            {
                run.end = end;
                run.members.push(index);
            }
            _ => runs.push(Run {
                segment: location.segment,
                start,
                end,
                members: vec![index],
            }),
        }
    }
    runs
}

impl Reader for ReadView {
    fn channel(&self, name: &str) -> Option<ChannelState> {
        Some(self.state().channel(name)?.log.state())
    }

    fn page(&self, channel: &str, range: PageRange) -> Result<LogPage, StoreError> {
        for _ in 0..TRIES {
            if let Some(page) = self.try_page(channel, range)? {
                return Ok(page);
            }
        }
        Err(StoreError::Io {
            what: "find a file in",
            path: self.directory.clone(),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    fn each(&self, known: &mut dyn FnMut(StateRecord<'_>)) {
        // Copied, so that the callback may call the reader.
        let (channels, members) = {
            let state = self.state();
            let channels = state.channels();
            let channels: Vec<_> = channels
                .map(|channel| (Arc::clone(&channel.name), channel.log.state()))
                .collect();
            let members = state.members();
            let members: Vec<(Box<str>, Box<str>)> = members
                .map(|(room, user)| (room.into(), user.into()))
                .collect();
            (channels, members)
        };
        for (name, state) in &channels {
            known(StateRecord::Channel(name, *state));
        }
        for (name, _) in &channels {
            let opener = (self.state().channel(name)).and_then(|channel| channel.opener.clone());
            if let Some(user) = &opener {
                let channel = name;
                known(StateRecord::Opener { channel, user });
            }
            let acks: Vec<_> = match self.state().channel(name) {
                Some(channel) => channel.acks.clone().into_iter().collect(),
                None => continue,
            };
            for (reader, offset) in acks {
                known(StateRecord::Ack {
                    channel: name,
                    reader: &reader,
                    offset,
                });
            }
        }
        for (room, user) in &members {
            known(StateRecord::Member { room, user });
        }
    }

    fn acked(&self, channel: &str, reader: &str) -> Option<u64> {
        self.state().channel(channel)?.acks.get(reader).copied()
    }

    fn mark(&self, producer: &str) -> u64 {
        self.state().mark(producer).unwrap_or(0)
    }

    fn serials_below(&self) -> u64 {
        self.state().serials_below()
    }

    fn key(&self) -> [u64; 2] {
        self.key
    }

    fn forgotten(&self) -> u64 {
        self.state().forgotten()
    }

    fn hand_over(&self, section: &mut SectionWriter) {
        self.files.hand_over(section);
    }

    fn count_on(&self, name: &str, from: u64) {
        let counters = &self.counters;
        let count = match name {
            "segments_begun" => &counters.segments_begun,
            "commits" => &counters.commits,
            "records" => &counters.records,
            "sync_us" => &counters.sync_us,
            "syncs" => &counters.syncs,
            "failures" => &counters.failures,
            "torn_bytes" => &counters.torn_bytes,
            "moved" => &counters.moved,
            "repeats" => &counters.repeats,
            "upkeep_pieces" => &counters.upkeep_pieces,
            _ => return,
        };
        StoreCounters::add(count, from);
    }

    fn totals(&self) -> StoreTotals {
        let (channels, messages, index_bytes, trimmed) = {
            let state = self.state();
            let usage = &state.usage;
            let channels = state.channels_count() as u64;
            (
                channels,
                usage.messages,
                usage.index_bytes as u64,
                usage.trimmed,
            )
        };
        let counters = &self.counters;
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreTotals {
            channels,
            messages,
            segments: now(&counters.segments),
            segments_begun: now(&counters.segments_begun),
            bytes: now(&counters.bytes),
            index_bytes,
            commits: now(&counters.commits),
            records: now(&counters.records),
            sync_us_last: now(&counters.sync_us_last),
            sync_us_p999: counters.sync_times.us_of_thousand(999),
            sync_us: now(&counters.sync_us),
            syncs: now(&counters.syncs),
            failures: now(&counters.failures),
            torn_bytes: now(&counters.torn_bytes),
            trimmed,
            moved: now(&counters.moved),
            repeats: now(&counters.repeats),
            repeats_forgotten: now(&counters.repeats_forgotten),
            upkeep_pieces: now(&counters.upkeep_pieces),
            upkeep_us_max: now(&counters.upkeep_us_max),
            upkeep_records_max: now(&counters.upkeep_records_max),
        }
    }
}
