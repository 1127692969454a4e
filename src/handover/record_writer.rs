//! Writes the fields of records.

use super::varint::varint;
use crate::base::Tick;

/// Writes the fields of one record, in the order in which a
/// [`RecordReader`](super::RecordReader) takes them.
#[derive(Debug)]
pub struct RecordWriter<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> RecordWriter<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Writes a number; a small one takes one byte.
    pub fn u64(&mut self, number: u64) {
        match u8::try_from(number) {
            Ok(byte) if byte < 0x80 => self.bytes.push(byte),
            _ => {
                let (bytes, size) = varint(number);
                self.bytes.extend_from_slice(&bytes[..size]);
            }
        }
    }

    /// Writes a number of items or bytes.
    pub fn size(&mut self, size: usize) {
        self.u64(size as u64);
    }

    /// Writes a number that may be negative; one near 0 takes one byte.
    pub fn i64(&mut self, number: i64) {
        self.u64((number << 1 ^ number >> 63) as u64);
    }

    /// Writes a number with all its 128 bits, in sixteen bytes.
    pub fn u128(&mut self, number: u128) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// Writes a yes or a no.
    pub fn flag(&mut self, is_set: bool) {
        self.bytes.push(is_set.into());
    }

    /// Writes a moment; [`Tick::NEVER`] takes one byte.
    pub fn tick(&mut self, tick: Tick) {
        self.u64(tick.0.wrapping_add(1));
    }

    /// Writes bytes behind their size.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.size(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a text behind its size in bytes.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Writes whether there is a value, and the value if so.
    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// Writes the length of a list and then each item, which takes one byte at least. An item whose
    /// fields may become more is a [`RecordWriter::record`].
    pub fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let items = items.into_iter();
        self.size(items.len());
        for item in items {
            let before = self.bytes.len();
            write(self, item);
            debug_assert!(self.bytes.len() > before, "an item without a byte");
        }
    }

    /// Writes a record inside this one, to which fields can be added.
    pub fn record(&mut self, write: impl FnOnce(&mut RecordWriter<'_>)) {
        write_record(self.bytes, write);
    }
}

/// Appends a record: its size, then what `write` writes.
pub(super) fn write_record(bytes: &mut Vec<u8>, write: impl FnOnce(&mut RecordWriter<'_>)) {
    // Most are short: one byte is kept free for the size, and a longer one has the rest put in.
    let start = bytes.len();
    bytes.push(0);
    write(&mut RecordWriter::new(bytes));
    let (size, digits) = varint((bytes.len() - start - 1) as u64);
    bytes[start] = size[0];
    if digits > 1 {
        bytes.splice(start + 1..start + 1, size[1..digits].iter().copied());
    }
}
