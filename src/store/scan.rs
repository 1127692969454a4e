//! Reads a segment from its beginning to its end, a batch at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::{BATCH_SIZE, BatchHead, verify_batch};
use super::bytes::Flaw;
use super::error::StoreError;
use super::files::StoreFile;
use super::raw_record::{RECORD_OVERHEAD, RawRecord, kind, raw_record_size};
use super::segment_head::{FORMAT, HeadFlaw, SEGMENT_HEAD_SIZE, SegmentHead};

/// Bytes that are read at once, unless a batch is larger: few reads for 64 MiB, little memory.
const READ_SIZE: usize = 1 << 20;

/// A segment that is being read.
pub(super) struct Scan {
    file: Arc<dyn StoreFile>,
    path: PathBuf,
    pub(super) head: SegmentHead,
    seed: u32,
    /// The size of the file.
    pub(super) end: u64,
    /// The position of the next batch, or of the next record where records are read one by one.
    at: u64,
    /// The end of the batch whose records are read one by one.
    batch_end: u64,
    /// Bytes that are read at once, unless what is asked for is larger.
    read_size: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// The next thing in a segment.
#[derive(Debug)]
pub(super) enum ScanStep<'a> {
    /// A batch, all of it verified.
    Batch {
        at: u64,
        head: BatchHead,
        /// The records after its first one.
        body: &'a [u8],
    },
    /// There is nothing more.
    End,
    /// The batch that begins at `batch` is not what was written, as the flaw at `at` shows.
    Bad { batch: u64, at: u64, flaw: Flaw },
}

/// The next record in a segment.
#[derive(Debug)]
pub(super) enum RecordStep<'a> {
    /// A record, verified by its own checksum.
    Record { at: u64, raw: RawRecord<'a> },
    /// There is nothing more.
    End,
    /// What stands at `at` is not what was written.
    Bad { at: u64, flaw: Flaw },
}

impl Scan {
    /// Reads the head.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], [`StoreError::Format`], [`StoreError::Io`].
    pub(super) fn begin(
        file: Arc<dyn StoreFile>,
        path: &Path,
        number: u32,
    ) -> Result<Self, StoreError> {
        let io = |source| StoreError::io("read", path, source);
        let end = file.size().map_err(io)?;
        let mut head = [0; SEGMENT_HEAD_SIZE];
        let size = file.read_full_at(&mut head, 0).map_err(io)?;
        let head = SegmentHead::read(&head[..size]).map_err(|flaw| match flaw {
            HeadFlaw::Format(found) => StoreError::Format {
                file: path.into(),
                found,
                readable: FORMAT,
            },
            HeadFlaw::Damaged(flaw) => StoreError::damaged(path, 0, flaw),
        })?;
        if head.number != number {
            return Err(StoreError::damaged(path, 0, "its name is another file's"));
        }
        Ok(Self {
            seed: head.seed(),
            file,
            path: path.into(),
            head,
            end,
            at: SEGMENT_HEAD_SIZE as u64,
            batch_end: 0,
            read_size: READ_SIZE,
            buffer: Vec::new(),
            buffer_at: 0,
        })
    }

    /// Treats the segment as ending here, if it is longer.
    pub(super) fn end_at(&mut self, end: u64) {
        self.end = self.end.min(end);
    }

    /// Reads no more bytes at once than these, unless what is asked for is larger.
    pub(super) fn read_at_once(&mut self, size: usize) {
        self.read_size = size;
    }

    /// Goes on at this position, where a batch begins.
    pub(super) fn skip_to(&mut self, at: u64) {
        self.at = at;
    }

    /// Returns the path of the segment that is scanned.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the next batch.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(super) fn step(&mut self) -> Result<ScanStep<'_>, StoreError> {
        let (at, seed) = (self.at, self.seed);
        if at >= self.end {
            return Ok(ScanStep::End);
        }
        let bad = |at_flaw, flaw| {
            Ok(ScanStep::Bad {
                batch: at,
                at: at_flaw,
                flaw,
            })
        };
        let head = match batch_head(self.bytes(at, BATCH_SIZE)?, seed, at) {
            Ok(head) => head,
            Err(flaw) => return bad(at, flaw),
        };
        let size = BATCH_SIZE + head.size as usize;
        let bytes = self.bytes(at, size)?;
        if bytes.len() < size {
            return bad(at, "a batch is longer than what is there");
        }
        if let Err((at_flaw, flaw)) = verify_batch(&head, &bytes[BATCH_SIZE..], seed, at) {
            return bad(at_flaw, flaw);
        }
        self.at = at + size as u64;
        let start = (at - self.buffer_at) as usize;
        Ok(ScanStep::Batch {
            at,
            head,
            body: &self.buffer[start + BATCH_SIZE..start + size],
        })
    }

    /// Reads the next record, without the rest of its batch: a batch may have megabytes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(super) fn next_record(&mut self) -> Result<RecordStep<'_>, StoreError> {
        let seed = self.seed;
        while self.at >= self.batch_end {
            let at = self.at;
            if at >= self.end {
                return Ok(RecordStep::End);
            }
            match batch_head(self.bytes(at, BATCH_SIZE)?, seed, at) {
                Ok(head) => {
                    self.at = at + BATCH_SIZE as u64;
                    self.batch_end = self.at + u64::from(head.size);
                }
                Err(flaw) => return Ok(RecordStep::Bad { at, flaw }),
            }
        }
        let at = self.at;
        let size = raw_record_size(self.bytes(at, RECORD_OVERHEAD)?).unwrap_or(RECORD_OVERHEAD);
        self.at = at + size as u64;
        Ok(match RawRecord::read(self.bytes(at, size)?, seed, at) {
            Ok(raw) => RecordStep::Record { at, raw },
            Err(flaw) => RecordStep::Bad { at, flaw },
        })
    }

    /// Goes on behind a flaw, at the next batch that is right; returns `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(super) fn skip_to_batch(&mut self, after: u64) -> Result<Option<BatchHead>, StoreError> {
        let mut at = after + 1;
        while at + BATCH_SIZE as u64 <= self.end {
            let bytes = self.bytes(at, READ_SIZE)?;
            let found = (0..=bytes.len().saturating_sub(BATCH_SIZE)).find_map(|start| {
                // A batch's first record has one length: no checksum is made of anything else.
                let here = &bytes[start..];
                if raw_record_size(here) != Some(BATCH_SIZE) {
                    return None;
                }
                let here = here.get(..BATCH_SIZE)?;
                Some((start, here.to_vec()))
            });
            let Some((start, found)) = found else {
                at += (bytes.len() - BATCH_SIZE + 1) as u64;
                continue;
            };
            at += start as u64;
            if let Ok(head) = batch_head(&found, self.seed, at) {
                self.at = at;
                return Ok(Some(head));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Finds the position up to which the batches behind a flaw at `after` confirm that the segment
    /// was durable.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(super) fn confirmed_through(&mut self, mut after: u64) -> Result<u64, StoreError> {
        let mut confirmed = self.head.checkpoint_end;
        while let Some(head) = self.skip_to_batch(after)? {
            confirmed = confirmed.max(head.durable);
            after = self.at;
        }
        Ok(confirmed)
    }

    /// Reads `size` bytes from `at` on, or as many as there are.
    fn bytes(&mut self, at: u64, size: usize) -> Result<&[u8], StoreError> {
        let size = size.min(usize::try_from(self.end - at).unwrap_or(usize::MAX));
        let buffered = self.buffer_at + self.buffer.len() as u64;
        if at < self.buffer_at || at + size as u64 > buffered {
            let wanted = size.max(self.read_size.min((self.end - at) as usize));
            self.buffer.resize(wanted, 0);
            let filled = (self.file.read_full_at(&mut self.buffer, at))
                .map_err(|source| StoreError::io("read", &self.path, source))?;
            self.buffer.truncate(filled);
            self.buffer_at = at;
        }
        let start = (at - self.buffer_at) as usize;
        let there = &self.buffer[start..];
        Ok(&there[..size.min(there.len())])
    }
}

fn batch_head(bytes: &[u8], seed: u32, at: u64) -> Result<BatchHead, Flaw> {
    let raw = RawRecord::read(bytes, seed, at)?;
    if raw.kind != kind::BATCH {
        return Err("a record stands where a batch should begin");
    }
    BatchHead::read(raw.payload)
}
