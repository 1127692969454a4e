//! The raw records that a segment is made of, behind its head: each with a length and a checksum.
//!
//! A raw record is `length u32, checksum u32, kind u8, payload`; the length is that of the payload.
//! The checksum covers everything else, and begins with the store's key, the segment's number and
//! the record's position: a record that stands where it wasn't written is as wrong as a damaged one,
//! and no message can contain bytes that pass for a record.
//!
//! Records come in batches. Each batch begins with a record of kind [`kind::BATCH`], which says how
//! many bytes follow, and **up to where the segment was durable when the batch was written**. That
//! tells a torn tail from damage: whatever a later batch confirms was acknowledged.

use super::bytes::Flaw;

/// Bytes of a raw record without its payload.
pub(super) const RECORD_OVERHEAD: usize = 9;
/// Place of the checksum in a raw record, after the size of its payload.
pub(super) const CHECKSUM_AT: usize = 4;
/// Place of the kind in a raw record, before the payload.
pub(super) const KIND_AT: usize = 8;

pub(super) mod kind {
    pub(in super::super) const BATCH: u8 = 1;
    pub(in super::super) const MESSAGE: u8 = 2;
    pub(in super::super) const MOVED: u8 = 3;
    pub(in super::super) const PURGE: u8 = 4;
    pub(in super::super) const TRIM: u8 = 5;
    pub(in super::super) const FORGET: u8 = 6;
    pub(in super::super) const ACK: u8 = 7;
    pub(in super::super) const MEMBER: u8 = 8;
    pub(in super::super) const MARK: u8 = 9;
    pub(in super::super) const SERIALS: u8 = 10;
    pub(in super::super) const OPENER: u8 = 11;
    pub(in super::super) const CHECKPOINT: u8 = 16;
    pub(in super::super) const CHANNEL: u8 = 17;
    pub(in super::super) const CHECKPOINT_END: u8 = 18;
}

/// A record whose checksum is right, and whose payload hasn't been decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawRecord<'a> {
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// Reads the record that `bytes` begin with, which stand at `at`.
    pub(super) fn read(bytes: &'a [u8], seed: u32, at: u64) -> Result<Self, Flaw> {
        let size = raw_record_size(bytes).ok_or("it ends in the middle of a record")?;
        let raw = bytes
            .get(..size)
            .ok_or("a record is longer than what is there")?;
        if checksum(raw, seed, at) != read_u32(&raw[CHECKSUM_AT..]) {
            return Err("the checksum of a record is wrong");
        }
        Ok(Self {
            kind: raw[KIND_AT],
            payload: &raw[RECORD_OVERHEAD..],
        })
    }

    /// Counts the bytes of the whole record.
    pub(super) fn size(&self) -> usize {
        RECORD_OVERHEAD + self.payload.len()
    }
}

/// Returns the size that the record at the beginning of `bytes` claims.
pub(super) fn raw_record_size(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= RECORD_OVERHEAD).then(|| RECORD_OVERHEAD + read_u32(bytes) as usize)
}

fn checksum(raw: &[u8], seed: u32, at: u64) -> u32 {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&at.to_le_bytes());
    place[8..].copy_from_slice(&raw[..CHECKSUM_AT]);
    let seed = crc32c::crc32c_append(seed, &place);
    crc32c::crc32c_append(seed, &raw[KIND_AT..])
}

fn read_u32(bytes: &[u8]) -> u32 {
    let bytes = bytes.first_chunk().expect("a record has been measured");
    u32::from_le_bytes(*bytes)
}

/// Writes the checksum of a record that will stand at `at` into it, and returns the checksum.
pub(super) fn seal(raw: &mut [u8], seed: u32, at: u64) -> [u8; 4] {
    let checksum = checksum(raw, seed, at).to_le_bytes();
    raw[CHECKSUM_AT..KIND_AT].copy_from_slice(&checksum);
    checksum
}

/// Lists records that were verified before, each with its distance from the beginning of `bytes`.
pub(super) fn raw_records(bytes: &[u8]) -> impl Iterator<Item = (usize, RawRecord<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let size = raw_record_size(&bytes[at..])?;
        let raw = &bytes[at..at + size];
        let start = at;
        at += size;
        let raw = RawRecord {
            kind: raw[KIND_AT],
            payload: &raw[RECORD_OVERHEAD..],
        };
        Some((start, raw))
    })
}
