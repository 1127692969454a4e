//! The rules that a client's frames can break.

use std::fmt;

use tungstenite::protocol::frame::coding::CloseCode;

use crate::handover::{HandoverError, RecordReader, RecordWriter};

/// A rule of RFC 6455 that the client's frames broke; never our own bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A reserved bit is set, and no extension was agreed on (§5.2).
    ReservedBits,
    /// The opcode is one of 3 to 7 or 11 to 15 (§5.2).
    UnknownOpcode(u8),
    /// A control frame without FIN (§5.5).
    FragmentedControl,
    /// A control frame announces more than 125 bytes (§5.5).
    ControlTooLong,
    /// The frame has no mask (§5.1).
    Unmasked,
    /// The length takes more bytes than it needs (§5.2).
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set (§5.2).
    LengthTopBit,
    /// A continuation frame while no message is under way (§5.4).
    ContinuationWithoutStart,
    /// A text or binary frame while another message is under way (§5.4).
    StartWithinMessage,
    /// A close frame with a payload of one byte (§5.5.1).
    CloseTooShort,
    /// A close frame with a code that may not be sent (§7.4).
    CloseCode(u16),
    /// The reason in a close frame is not UTF-8 (§5.5.1).
    CloseReasonNotUtf8,
    /// A text message is not UTF-8 (§5.6).
    TextNotUtf8,
    /// A compressed message isn't DEFLATE, or ends within a block (RFC 7692 §7.2.2).
    DeflateStream,
    /// A message has more than this many bytes (§7.4.1).
    MessageTooLarge(usize),
}

impl FrameError {
    /// Returns the close code that the client is told: 1002, 1007 or 1009 (RFC 6455 §7.4.1).
    #[must_use]
    pub fn close_code(&self) -> u16 {
        let code = match self {
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 | Self::DeflateStream => {
                CloseCode::Invalid
            }
            Self::MessageTooLarge(_) => CloseCode::Size,
            _ => CloseCode::Protocol,
        };
        code.into()
    }
}

impl FrameError {
    pub(in crate::proto) fn hand_over(self, record: &mut RecordWriter<'_>) {
        let (rule, number) = match self {
            Self::ReservedBits => (0, 0),
            Self::UnknownOpcode(opcode) => (1, opcode.into()),
            Self::FragmentedControl => (2, 0),
            Self::ControlTooLong => (3, 0),
            Self::Unmasked => (4, 0),
            Self::LengthNotMinimal => (5, 0),
            Self::LengthTopBit => (6, 0),
            Self::ContinuationWithoutStart => (7, 0),
            Self::StartWithinMessage => (8, 0),
            Self::CloseTooShort => (9, 0),
            Self::CloseCode(code) => (10, code.into()),
            Self::CloseReasonNotUtf8 => (11, 0),
            Self::TextNotUtf8 => (12, 0),
            Self::MessageTooLarge(size_max) => (13, size_max),
            Self::DeflateStream => (14, 0),
        };
        record.u64(rule);
        record.size(number);
    }

    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        let (rule, number) = (record.u8()?, record.size()?);
        let unknown = || record.refuse("a frame broke an unknown rule");
        Ok(match rule {
            0 => Self::ReservedBits,
            1 => Self::UnknownOpcode(number.try_into().map_err(|_| unknown())?),
            2 => Self::FragmentedControl,
            3 => Self::ControlTooLong,
            4 => Self::Unmasked,
            5 => Self::LengthNotMinimal,
            6 => Self::LengthTopBit,
            7 => Self::ContinuationWithoutStart,
            8 => Self::StartWithinMessage,
            9 => Self::CloseTooShort,
            10 => Self::CloseCode(number.try_into().map_err(|_| unknown())?),
            11 => Self::CloseReasonNotUtf8,
            12 => Self::TextNotUtf8,
            13 => Self::MessageTooLarge(number),
            14 => Self::DeflateStream,
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits => f.write_str("reserved bits are set"),
            Self::UnknownOpcode(opcode) => write!(f, "unknown opcode {opcode}"),
            Self::FragmentedControl => f.write_str("control frame is fragmented"),
            Self::ControlTooLong => f.write_str("control frame is longer than 125 bytes"),
            Self::Unmasked => f.write_str("frame is not masked"),
            Self::LengthNotMinimal => f.write_str("length is not in its shortest form"),
            Self::LengthTopBit => f.write_str("length has its top bit set"),
            Self::ContinuationWithoutStart => f.write_str("continuation without a start"),
            Self::StartWithinMessage => f.write_str("new message within an unfinished one"),
            Self::CloseTooShort => f.write_str("close payload is one byte"),
            Self::CloseCode(code) => write!(f, "close code {code} may not be sent"),
            Self::CloseReasonNotUtf8 => f.write_str("close reason is not utf-8"),
            Self::TextNotUtf8 => f.write_str("text is not utf-8"),
            Self::DeflateStream => f.write_str("compressed message cannot be inflated"),
            Self::MessageTooLarge(size_max) => write!(f, "message exceeds {size_max} bytes"),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_text_is_1007_too_much_is_1009_and_the_rest_is_1002() {
        assert_eq!(FrameError::TextNotUtf8.close_code(), 1007);
        assert_eq!(FrameError::CloseReasonNotUtf8.close_code(), 1007);
        assert_eq!(FrameError::DeflateStream.close_code(), 1007);
        assert_eq!(FrameError::MessageTooLarge(1).close_code(), 1009);
        assert_eq!(FrameError::ReservedBits.close_code(), 1002);
        assert_eq!(FrameError::CloseCode(1005).close_code(), 1002);
    }

    #[test]
    fn errors_are_said_in_lower_case_without_a_full_stop() {
        for error in [
            FrameError::UnknownOpcode(11),
            FrameError::Unmasked,
            FrameError::MessageTooLarge(65_536),
        ] {
            let said = error.to_string();
            assert_eq!(said, said.to_lowercase());
            assert!(!said.ends_with('.'), "{said}");
        }
    }
}
