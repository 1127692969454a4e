//! Numbers and texts as they are encoded in segments: little-endian, with variable lengths.

/// The reason why bytes can't be decoded, as the end of a sentence about their file.
pub(super) type Flaw = &'static str;

const SHORT: Flaw = "it ends in the middle of a field";
const NOT_TEXT: Flaw = "a text in it is not UTF-8";

/// Appends a number in four bytes, the lowest first.
pub(super) fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// Appends a number in eight bytes, the lowest first.
pub(super) fn put_u64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// Appends a number with seven bits a byte, the lowest first; the top bit says that more follow.
pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Appends a text after its size in bytes, which is a [`put_varint`] number.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_varint(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// A reader of fields that the `put_` functions have encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldReader<'a>(pub(super) &'a [u8]);

impl<'a> FieldReader<'a> {
    /// Takes one byte.
    pub(super) fn u8(&mut self) -> Result<u8, Flaw> {
        Ok(self.array::<1>()?[0])
    }

    /// Takes a number of four bytes.
    pub(super) fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes a number of eight bytes.
    pub(super) fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes a number of sixteen bytes.
    pub(super) fn u128(&mut self) -> Result<u128, Flaw> {
        self.array().map(u128::from_le_bytes)
    }

    /// Takes a number that [`put_varint`] has encoded.
    pub(super) fn varint(&mut self) -> Result<u64, Flaw> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number in it is too long")
    }

    /// Takes a text that [`put_text`] has encoded.
    pub(super) fn text(&mut self) -> Result<&'a str, Flaw> {
        let size = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
        let (text, rest) = self.0.split_at_checked(size).ok_or(SHORT)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| NOT_TEXT)
    }

    /// Fails where bytes are left.
    pub(super) fn end(self) -> Result<(), Flaw> {
        match self.0 {
            [] => Ok(()),
            _ => Err("it has more fields than it should"),
        }
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], Flaw> {
        let (array, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_read_and_every_cut_is_seen() {
        let mut bytes = Vec::new();
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            put_varint(&mut bytes, number);
        }
        put_text(&mut bytes, "tüte");
        put_u32(&mut bytes, 7);
        put_u64(&mut bytes, 9);
        let read = |bytes: &[u8]| -> Result<(), Flaw> {
            let mut fields = FieldReader(bytes);
            for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
                assert_eq!(fields.varint()?, number);
            }
            assert_eq!(fields.text()?, "tüte");
            assert_eq!((fields.u32()?, fields.u64()?), (7, 9));
            fields.end()
        };
        assert_eq!(read(&bytes), Ok(()));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Err(SHORT), "cut at {cut}");
        }
        bytes.push(0);
        assert!(read(&bytes).is_err());
        assert!(FieldReader(&[0xff; 11]).varint().is_err());
        assert_eq!(FieldReader(&[1, 0xff]).text(), Err(NOT_TEXT));
    }
}
