//! Numbers with seven bits a byte.

use super::error::FieldFlaw;

/// Bytes of the longest number.
pub(crate) const VARINT_SIZE_MAX: usize = 10;

/// Encodes a number in as few bytes as it needs; returns them and their count.
pub(crate) fn varint(mut number: u64) -> ([u8; VARINT_SIZE_MAX], usize) {
    let (mut bytes, mut size) = ([0; VARINT_SIZE_MAX], 0);
    while number >= 0x80 {
        bytes[size] = number as u8 | 0x80;
        number >>= 7;
        size += 1;
    }
    bytes[size] = number as u8;
    (bytes, size + 1)
}

/// Takes a number from the start of `bytes`. One has only one encoding, so that what is read and
/// written again is equal.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<u64, FieldFlaw> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(VARINT_SIZE_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let is_too_large = at == VARINT_SIZE_MAX - 1 && bits > 1;
        if is_too_large {
            return Err(FieldFlaw::Range);
        }
        number |= bits << (7 * at);
        if *byte < 0x80 {
            let is_too_long = at > 0 && *byte == 0;
            *bytes = &bytes[at + 1..];
            return match is_too_long {
                true => Err(FieldFlaw::Range),
                false => Ok(number),
            };
        }
    }
    Err(match bytes.len() < VARINT_SIZE_MAX {
        true => FieldFlaw::Short,
        false => FieldFlaw::Range,
    })
}

/// Takes so many bytes from the start of `bytes`.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8], size: u64) -> Result<&'a [u8], FieldFlaw> {
    let size = usize::try_from(size).map_err(|_| FieldFlaw::Short)?;
    let (taken, rest) = bytes.split_at_checked(size).ok_or(FieldFlaw::Short)?;
    *bytes = rest;
    Ok(taken)
}
