//! Reads the fields of records.

use super::error::{FieldFlaw, HandoverError};
use super::varint::{take_bytes, take_varint};
use crate::base::Tick;

/// Reads the fields of one record, in the order in which a
/// [`RecordWriter`](super::RecordWriter) wrote them.
///
/// What stands behind the last field that is asked for is skipped.
#[derive(Debug, Clone)]
pub struct RecordReader<'a> {
    bytes: &'a [u8],
    section: &'a str,
    record: usize,
}

/// What reading a field gives; the error names section and record.
type Field<T> = Result<T, HandoverError>;

impl<'a> RecordReader<'a> {
    pub(super) fn new(bytes: &'a [u8], section: &'a str, record: usize) -> Self {
        Self {
            bytes,
            section,
            record,
        }
    }

    /// Whether the record has no further fields.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that hasn't been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Reads a field that older programs didn't write: `default` where the record ends before it.
    ///
    /// # Errors
    ///
    /// The field is there, and `read` refuses it.
    pub fn or<T>(&mut self, default: T, read: impl FnOnce(&mut Self) -> Field<T>) -> Field<T> {
        match self.is_at_end() {
            true => Ok(default),
            false => read(self),
        }
    }

    /// Reads a number.
    ///
    /// # Errors
    ///
    /// The field is missing, cut short, or no number.
    pub fn u64(&mut self) -> Field<u64> {
        self.take(take_varint)
    }

    /// Reads a number of 32 bits.
    ///
    /// # Errors
    ///
    /// As [`RecordReader::u64`]; or the number is too large.
    pub fn u32(&mut self) -> Field<u32> {
        self.narrow()
    }

    /// Reads a number of 16 bits.
    ///
    /// # Errors
    ///
    /// As [`RecordReader::u64`]; or the number is too large.
    pub fn u16(&mut self) -> Field<u16> {
        self.narrow()
    }

    /// Reads a number of 8 bits, such as that of a variant.
    ///
    /// # Errors
    ///
    /// As [`RecordReader::u64`]; or the number is too large.
    pub fn u8(&mut self) -> Field<u8> {
        self.narrow()
    }

    /// Reads a number of items or bytes. Don't reserve memory by it: a list is read with
    /// [`RecordReader::list`].
    ///
    /// # Errors
    ///
    /// As [`RecordReader::u64`]; or the number is too large.
    pub fn size(&mut self) -> Field<usize> {
        self.narrow()
    }

    /// Reads a number that may be negative.
    ///
    /// # Errors
    ///
    /// As [`RecordReader::u64`].
    pub fn i64(&mut self) -> Field<i64> {
        let number = self.u64()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Reads a number of 128 bits.
    ///
    /// # Errors
    ///
    /// The field is missing or cut short.
    pub fn u128(&mut self) -> Field<u128> {
        self.take(|bytes| {
            let (number, rest) = bytes.split_first_chunk().ok_or(FieldFlaw::Short)?;
            *bytes = rest;
            Ok(u128::from_le_bytes(*number))
        })
    }

    /// Reads a yes or a no.
    ///
    /// # Errors
    ///
    /// The field is missing, or neither.
    pub fn flag(&mut self) -> Field<bool> {
        match self.u64()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error(FieldFlaw::Range)),
        }
    }

    /// Reads a moment.
    ///
    /// # Errors
    ///
    /// As [`RecordReader::u64`].
    pub fn tick(&mut self) -> Field<Tick> {
        Ok(Tick(self.u64()?.wrapping_sub(1)))
    }

    /// Reads bytes.
    ///
    /// # Errors
    ///
    /// The field is missing or cut short.
    pub fn bytes(&mut self) -> Field<&'a [u8]> {
        self.take(|bytes| {
            let size = take_varint(bytes)?;
            take_bytes(bytes, size)
        })
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// The field is missing, cut short, or not UTF-8.
    pub fn text(&mut self) -> Field<&'a str> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.error(FieldFlaw::NotText))
    }

    /// Reads a value that may be missing.
    ///
    /// # Errors
    ///
    /// The field is missing, or `read` refuses it.
    pub fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Field<T>) -> Field<Option<T>> {
        match self.flag()? {
            true => read(self).map(Some),
            false => Ok(None),
        }
    }

    /// Reads a list, each item with `read`, which takes one byte at least.
    ///
    /// # Errors
    ///
    /// The length is missing, or larger than the record; or `read` refuses an item.
    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Field<T>) -> Field<Vec<T>> {
        let length = self.size()?;
        if length > self.bytes.len() {
            return Err(self.error(FieldFlaw::Short));
        }
        // Grown by need: an item may be much larger here than there.
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// Reads a record inside this one.
    ///
    /// # Errors
    ///
    /// The record is missing or cut short.
    pub fn record(&mut self) -> Field<RecordReader<'a>> {
        let bytes = self.bytes()?;
        Ok(Self { bytes, ..*self })
    }

    /// Makes the error for fields that can be read but mean nothing, such as a number that nothing has.
    /// `flaw` is the end of a sentence about the record.
    #[must_use]
    pub fn refuse(&self, flaw: &'static str) -> HandoverError {
        self.error(FieldFlaw::Meaning(flaw))
    }

    fn narrow<T: TryFrom<u64>>(&mut self) -> Field<T> {
        let number = self.u64()?;
        T::try_from(number).map_err(|_| self.error(FieldFlaw::Range))
    }

    fn take<T>(&mut self, take: impl FnOnce(&mut &'a [u8]) -> Result<T, FieldFlaw>) -> Field<T> {
        if self.is_at_end() {
            return Err(self.error(FieldFlaw::Missing));
        }
        take(&mut self.bytes).map_err(|flaw| self.error(flaw))
    }

    fn error(&self, flaw: FieldFlaw) -> HandoverError {
        HandoverError::Field {
            section: self.section.to_owned(),
            record: self.record,
            flaw,
        }
    }
}
