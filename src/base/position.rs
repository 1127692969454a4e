//! Positions in a channel's log.

use std::fmt;
use std::ops::Deref;

/// 32 characters without look-alikes, in the order of their value.
pub(crate) const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of an epoch's text; each stands for 5 of its 30 bits.
const EPOCH_DIGITS: usize = 6;

/// The random name of one life of a channel's log; a purge or a loss gives the log a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u32);

impl Epoch {
    /// An epoch that no channel ever has.
    pub const NONE: Self = Self(u32::MAX);

    /// Makes an epoch of the lower 30 of these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & (u32::MAX >> 2))
    }

    /// Returns the bits from which [`Epoch::from_bits`] makes the same epoch.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Replaces the epoch by another one for each mask; the same mask twice gives the first epoch
    /// again. Repairs draw a mask to begin all epochs anew.
    #[cfg(feature = "store")]
    #[must_use]
    pub(crate) const fn masked(self, mask: u32) -> Self {
        Self::from_bits(self.0 ^ mask)
    }

    /// Returns the text of the epoch, which needs no memory.
    pub(crate) fn text(self) -> EpochText {
        EpochText(std::array::from_fn(|at| {
            DIGITS[(self.0 >> (5 * (EPOCH_DIGITS - 1 - at)) & 31) as usize]
        }))
    }

    /// Reads the text of an epoch; any other text gives [`Epoch::NONE`].
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text.len() != EPOCH_DIGITS {
            return Self::NONE;
        }
        let digit = |byte| DIGITS.iter().position(|digit| *digit == byte);
        text.bytes()
            .try_fold(0, |sum, byte| Some(sum << 5 | digit(byte)? as u32))
            .map_or(Self::NONE, Self)
    }
}

/// The text of an epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EpochText([u8; EPOCH_DIGITS]);

impl Deref for EpochText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the digits are ASCII")
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A place in a channel's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The life of the log to which `offset` belongs.
    pub epoch: Epoch,
    /// The message's number, counted from 1 without gaps; 0 is the place before the first message.
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_epoch_is_read_back() {
        for bits in (0..1 << 30).step_by(999_983) {
            let epoch = Epoch::from_bits(bits);
            assert_eq!(Epoch::of(&epoch.to_string()), epoch);
            assert_ne!(epoch, Epoch::NONE);
        }
        for text in ["", "00000", "0000000", "00000u", "ääö", "ZZZZZZ"] {
            assert_eq!(Epoch::of(text), Epoch::NONE, "{text}");
        }
    }
}
