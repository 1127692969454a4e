//! How files are made up: a head, then frames, each with a length and a checksum.
//!
//! A frame is `length u32, checksum u32, kind u8, payload`; the length is that of the payload. The
//! checksum covers everything else, and begins with the store's key, the file's number and the
//! frame's position: a frame that stands where it wasn't written is as wrong as a damaged one, and
//! no message can contain something that passes for a frame.
//!
//! Frames come in batches. What was written at once begins with a frame of kind [`kind::BATCH`],
//! which says how many bytes follow, and **up to where the file was durable when it was written**.
//! That tells a torn tail from damage: what a later batch vouches for was acknowledged.

use super::bytes::{Fields, Flaw, put_u32, put_u64};

/// What this version writes and reads.
pub(super) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"TIDINGSJ";

/// Bytes of a file's head.
pub(super) const HEAD_SIZE: usize = 48;
/// Bytes of a frame without its payload.
pub(super) const FRAME_SIZE: usize = 9;
/// Bytes of the frame that a batch begins with.
pub(super) const BATCH_SIZE: usize = FRAME_SIZE + 28;

const CHECKSUM_AT: usize = 4;
const KIND_AT: usize = 8;

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
    pub(in super::super) const CHECKPOINT: u8 = 16;
    pub(in super::super) const CHANNEL: u8 = 17;
    pub(in super::super) const CHECKPOINT_END: u8 = 18;
}

/// What a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Which file of the store this is.
    pub(super) number: u32,
    /// The store's own.
    pub(super) key: [u64; 2],
    /// Where the checkpoint ends, with which every file begins.
    pub(super) checkpoint_end: u64,
}

/// Why a head can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadFlaw {
    Format(u32),
    Damaged(Flaw),
}

impl Head {
    pub(super) fn to_bytes(self) -> [u8; HEAD_SIZE] {
        let mut bytes = Vec::with_capacity(HEAD_SIZE);
        bytes.extend_from_slice(MAGIC);
        put_u32(&mut bytes, FORMAT);
        put_u32(&mut bytes, self.number);
        put_u64(&mut bytes, self.key[0]);
        put_u64(&mut bytes, self.key[1]);
        put_u64(&mut bytes, self.checkpoint_end);
        put_u32(&mut bytes, 0);
        let checksum = crc32c::crc32c(&bytes);
        put_u32(&mut bytes, checksum);
        bytes.try_into().expect("the fields have this size")
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, HeadFlaw> {
        let bytes: &[u8; HEAD_SIZE] =
            (bytes.first_chunk()).ok_or(HeadFlaw::Damaged("it ends in the middle of its head"))?;
        let Some(fields) = bytes.strip_prefix(MAGIC) else {
            return Err(HeadFlaw::Damaged("it is no file of a journal"));
        };
        Self::fields(bytes, Fields(fields)).unwrap_or_else(|flaw| Err(HeadFlaw::Damaged(flaw)))
    }

    fn fields(
        bytes: &[u8; HEAD_SIZE],
        mut fields: Fields<'_>,
    ) -> Result<Result<Self, HeadFlaw>, Flaw> {
        let format = fields.u32()?;
        let head = Self {
            number: fields.u32()?,
            key: [fields.u64()?, fields.u64()?],
            checkpoint_end: fields.u64()?,
        };
        let _reserved = fields.u32()?;
        if fields.u32()? != crc32c::crc32c(&bytes[..HEAD_SIZE - 4]) {
            return Err("the checksum of its head is wrong");
        }
        if format != FORMAT {
            return Ok(Err(HeadFlaw::Format(format)));
        }
        Ok(Ok(head))
    }

    /// What the checksums of this file begin with.
    pub(super) fn seed(&self) -> u32 {
        let mut bytes = Vec::with_capacity(20);
        put_u64(&mut bytes, self.key[0]);
        put_u64(&mut bytes, self.key[1]);
        put_u32(&mut bytes, self.number);
        crc32c::crc32c(&bytes)
    }
}

/// A frame whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` begin with, which stand at `at`.
    pub(super) fn read(bytes: &'a [u8], seed: u32, at: u64) -> Result<Self, Flaw> {
        let size = frame_size(bytes).ok_or("it ends in the middle of a frame")?;
        let frame = bytes
            .get(..size)
            .ok_or("a frame is longer than what is there")?;
        if checksum(frame, seed, at) != read_u32(&frame[CHECKSUM_AT..]) {
            return Err("the checksum of a frame is wrong");
        }
        Ok(Self {
            kind: frame[KIND_AT],
            payload: &frame[FRAME_SIZE..],
        })
    }

    pub(super) fn size(&self) -> usize {
        FRAME_SIZE + self.payload.len()
    }
}

/// The size that the frame at the beginning of `bytes` says it has.
pub(super) fn frame_size(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= FRAME_SIZE).then(|| FRAME_SIZE + read_u32(bytes) as usize)
}

fn checksum(frame: &[u8], seed: u32, at: u64) -> u32 {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&at.to_le_bytes());
    place[8..].copy_from_slice(&frame[..CHECKSUM_AT]);
    let seed = crc32c::crc32c_append(seed, &place);
    crc32c::crc32c_append(seed, &frame[KIND_AT..])
}

fn read_u32(bytes: &[u8]) -> u32 {
    let bytes = bytes.first_chunk().expect("a frame has been measured");
    u32::from_le_bytes(*bytes)
}

/// What the first frame of a batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHead {
    /// Unix milliseconds of its newest record.
    pub(super) at_ms: u64,
    /// Up to where the file was durable before it.
    pub(super) durable: u64,
    /// Bytes that follow.
    pub(super) size: u32,
    /// Frames in them.
    pub(super) records: u32,
    /// Over the checksums of those frames.
    pub(super) checksum: u32,
}

impl BatchHead {
    pub(super) fn read(payload: &[u8]) -> Result<Self, Flaw> {
        let mut fields = Fields(payload);
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

/// What is to be written at once.
#[derive(Debug)]
pub(super) struct Batch {
    /// With room for the first frame.
    bytes: Vec<u8>,
    records: u32,
    at_ms: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            bytes: vec![0; BATCH_SIZE],
            records: 0,
            at_ms: 0,
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// Bytes that it takes in the file.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(BATCH_SIZE);
        if self.bytes.capacity() > 4 << 20 {
            self.bytes.shrink_to(1 << 20);
        }
        self.records = 0;
    }

    /// The batch is not older than this.
    pub(super) fn note_time(&mut self, at_ms: u64) {
        self.at_ms = self.at_ms.max(at_ms);
    }

    /// Adds a frame, whose payload `fill` writes.
    pub(super) fn push(&mut self, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; KIND_AT]);
        self.bytes.push(kind);
        fill(&mut self.bytes);
        let size = self.bytes.len() - start - FRAME_SIZE;
        let size = u32::try_from(size).expect("a record is smaller than 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&size.to_le_bytes());
        self.records += 1;
    }

    /// Fills in all checksums for a batch that will stand at `at`; `durable` is up to where the
    /// file is so far.
    pub(super) fn seal(&mut self, seed: u32, at: u64, durable: u64) -> &[u8] {
        let mut all = 0;
        let mut start = BATCH_SIZE;
        while let Some(size) = frame_size(&self.bytes[start..]) {
            let frame = &mut self.bytes[start..start + size];
            let checksum = seal(frame, seed, at + start as u64);
            all = crc32c::crc32c_append(all, &checksum);
            start += size;
        }
        let mut head = Vec::with_capacity(BATCH_SIZE);
        put_u32(&mut head, (BATCH_SIZE - FRAME_SIZE) as u32);
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

    /// The frames, each with its distance from the batch's beginning.
    pub(super) fn frames(&self) -> impl Iterator<Item = (usize, Frame<'_>)> {
        frames(&self.bytes[BATCH_SIZE..]).map(|(at, frame)| (BATCH_SIZE + at, frame))
    }
}

fn seal(frame: &mut [u8], seed: u32, at: u64) -> [u8; 4] {
    let checksum = checksum(frame, seed, at).to_le_bytes();
    frame[CHECKSUM_AT..KIND_AT].copy_from_slice(&checksum);
    checksum
}

/// Frames that were verified before, each with its distance from the beginning of `bytes`.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = (usize, Frame<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let size = frame_size(&bytes[at..])?;
        let frame = &bytes[at..at + size];
        let start = at;
        at += size;
        let frame = Frame {
            kind: frame[KIND_AT],
            payload: &frame[FRAME_SIZE..],
        };
        Some((start, frame))
    })
}

/// Verifies what follows the first frame of a batch, which stands at `at`.
///
/// # Errors
///
/// Where the flaw is, and what.
pub(super) fn verify_batch(
    head: &BatchHead,
    body: &[u8],
    seed: u32,
    at: u64,
) -> Result<(), (u64, Flaw)> {
    let (mut start, mut records, mut all) = (0, 0, 0);
    while start < body.len() {
        let here = at + (BATCH_SIZE + start) as u64;
        let frame = Frame::read(&body[start..], seed, here).map_err(|flaw| (here, flaw))?;
        all = crc32c::crc32c_append(all, &body[start + CHECKSUM_AT..start + KIND_AT]);
        records += 1;
        start += frame.size();
    }
    if records != head.records || all != head.checksum {
        return Err((at, "a batch has not the records that it began with"));
    }
    Ok(())
}
