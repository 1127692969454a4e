//! A batch: the records that are written at once, behind a first one that counts and confirms.

use super::bytes::{FieldReader, Flaw, put_u32, put_u64};
use super::raw_record::{
    CHECKSUM_AT, KIND_AT, RECORD_OVERHEAD, RawRecord, kind, raw_record_size, raw_records, seal,
};

/// Bytes of the record that a batch begins with.
pub(super) const BATCH_SIZE: usize = RECORD_OVERHEAD + 28;

/// The contents of the first record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    /// The time of the newest record, in Unix milliseconds.
    pub(super) at_ms: u64,
    /// The end of what was durable in the segment before this batch.
    pub(super) durable: u64,
    /// Bytes of the batch behind this record.
    pub(super) size: u32,
    /// Records in those bytes.
    pub(super) records: u32,
    /// The checksum of the checksums of those records.
    pub(super) checksum: u32,
}

impl BatchHead {
    /// Decodes the payload of a batch's first record.
    pub(super) fn read(payload: &[u8]) -> Result<Self, Flaw> {
        let mut fields = FieldReader(payload);
        let head = Self {
            at_ms: fields.u64()?,
            durable: fields.u64()?,
            size: fields.u32()?,
            records: fields.u32()?,
            checksum: fields.u32()?,
        };
        fields.end()?;
        Ok(head)
    }
}

/// The records that one write brings to the disk.
#[derive(Debug)]
pub(super) struct WriteBatch {
    /// The encoded records, behind room for the first one.
    bytes: Vec<u8>,
    records: u32,
    at_ms: u64,
}

impl Default for WriteBatch {
    fn default() -> Self {
        Self {
            bytes: vec![0; BATCH_SIZE],
            records: 0,
            at_ms: 0,
        }
    }
}

impl WriteBatch {
    /// Whether the batch has no record.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Counts the records in the batch.
    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// Counts the bytes that the batch takes in the segment.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the time of the newest record, in Unix milliseconds.
    pub(super) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Empties the batch. Its memory is kept up to 4 MiB, a round number, so that most batches need
    /// no allocation, and cut to 1 MiB above that.
    pub(super) fn clear(&mut self) {
        self.bytes.truncate(BATCH_SIZE);
        if self.bytes.capacity() > 4 << 20 {
            self.bytes.shrink_to(1 << 20);
        }
        self.records = 0;
    }

    /// Notes that the batch is not older than this.
    pub(super) fn note_time(&mut self, at_ms: u64) {
        self.at_ms = self.at_ms.max(at_ms);
    }

    /// Sets the time of the newest record.
    pub(super) fn set_time(&mut self, at_ms: u64) {
        self.at_ms = at_ms;
    }

    /// Adds a record, whose payload `fill` writes.
    pub(super) fn push(&mut self, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; KIND_AT]);
        self.bytes.push(kind);
        fill(&mut self.bytes);
        let size = self.bytes.len() - start - RECORD_OVERHEAD;
        let size = u32::try_from(size).expect("a record is smaller than 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&size.to_le_bytes());
        self.records += 1;
    }

    /// Adds a record that was encoded before.
    pub(super) fn push_raw(&mut self, raw: RawRecord<'_>) {
        self.push(raw.kind, |bytes| bytes.extend_from_slice(raw.payload));
    }

    /// Adds the records of another batch.
    pub(super) fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes[BATCH_SIZE..]);
        self.records += other.records;
    }

    /// Fills in all checksums for a batch that will stand at `at` of a segment that is durable up
    /// to `durable`.
    pub(super) fn seal(&mut self, seed: u32, at: u64, durable: u64) -> &[u8] {
        let mut all = 0;
        let mut start = BATCH_SIZE;
        while let Some(size) = raw_record_size(&self.bytes[start..]) {
            let raw = &mut self.bytes[start..start + size];
            let checksum = seal(raw, seed, at + start as u64);
            all = crc32c::crc32c_append(all, &checksum);
            start += size;
        }
        let mut head = Vec::with_capacity(BATCH_SIZE);
        put_u32(&mut head, (BATCH_SIZE - RECORD_OVERHEAD) as u32);
        put_u32(&mut head, 0);
        head.push(kind::BATCH);
        put_u64(&mut head, self.at_ms);
        put_u64(&mut head, durable);
        put_u32(&mut head, (self.bytes.len() - BATCH_SIZE) as u32);
        put_u32(&mut head, self.records);
        put_u32(&mut head, all);
        seal(&mut head, seed, at);
        self.bytes[..BATCH_SIZE].copy_from_slice(&head);
        &self.bytes
    }

    /// Lists the records, each with its distance from the batch's beginning.
    pub(super) fn raw_records(&self) -> impl Iterator<Item = (usize, RawRecord<'_>)> {
        raw_records(&self.bytes[BATCH_SIZE..]).map(|(at, raw)| (BATCH_SIZE + at, raw))
    }
}

/// Verifies the records behind the first one of a batch, which stands at `at`.
///
/// # Errors
///
/// The place of the flaw, and its description.
pub(super) fn verify_batch(
    head: &BatchHead,
    body: &[u8],
    seed: u32,
    at: u64,
) -> Result<(), (u64, Flaw)> {
    let (mut start, mut records, mut all) = (0, 0, 0);
    while start < body.len() {
        let here = at + (BATCH_SIZE + start) as u64;
        let raw = RawRecord::read(&body[start..], seed, here).map_err(|flaw| (here, flaw))?;
        all = crc32c::crc32c_append(all, &body[start + CHECKSUM_AT..start + KIND_AT]);
        records += 1;
        start += raw.size();
    }
    if records != head.records || all != head.checksum {
        return Err((at, "a batch has not the records that it began with"));
    }
    Ok(())
}
