//! The header of a client's frame, judged as early as its bytes allow (RFC 6455 §5.2).

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::control::PAYLOAD_SIZE_MAX as CONTROL_SIZE_MAX;
use super::deflate::deflated_size_max;
use super::error::FrameError;
use super::frame::MessageKind;

/// Largest header of a client's frame, in bytes: two, a 64-bit length, and a mask.
pub(super) const SIZE_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The first of the reserved bits: the message is compressed (RFC 7692 §6).
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const MASK_SIZE: usize = 4;

/// The kind of a frame by opcode and FIN, after the check that such a frame may come now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// A message in one frame.
    Whole(MessageKind),
    /// The first frame of a message in several.
    First(MessageKind),
    Middle,
    Last,
    Control(ControlKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlKind {
    Close,
    Ping,
    Pong,
}

impl FrameKind {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Control(_))
    }

    /// Whether a message ends with this frame.
    pub(super) fn ends_message(self) -> bool {
        matches!(self, Self::Whole(_) | Self::Last)
    }
}

/// A header that breaks no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: FrameKind,
    /// Whether this frame is the first of a compressed message.
    pub(super) is_deflated: bool,
    pub(super) mask: [u8; 4],
    pub(super) payload_size: usize,
    /// Bytes of the header itself, mask included.
    pub(super) size: usize,
}

/// The unfinished message in which a header stands, if any.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageSoFar {
    pub(super) message: Option<MessageKind>,
    /// Bytes that the message has already; 0 without a message.
    pub(super) message_size: usize,
    pub(super) message_size_max: usize,
    /// Whether the unfinished message is compressed.
    pub(super) is_deflated: bool,
    /// Whether messages may be compressed.
    pub(super) may_deflate: bool,
}

impl MessageSoFar {
    /// The bytes that the message of a frame may have as it comes; `begins_deflated` where that frame is
    /// the first one of a compressed message.
    fn size_max(&self, begins_deflated: bool) -> usize {
        match self.is_deflated || begins_deflated {
            false => self.message_size_max,
            true => deflated_size_max(self.message_size_max),
        }
    }
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` until all of it has come.
    ///
    /// Each rule is applied once the bytes that decide it are there, and rules that the same byte
    /// decides are applied in a fixed order, so the error doesn't depend on how many bytes came at
    /// once. (tungstenite's `FrameHeader::parse` wants the whole header, and checks few rules.)
    ///
    /// # Errors
    ///
    /// The first broken rule, even if the header isn't complete.
    #[inline]
    pub(super) fn parse(bytes: &[u8], context: &MessageSoFar) -> Result<Option<Self>, FrameError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let is_deflated = first & RESERVED != 0 && reserved_bits(first, context)?;
        let kind = frame_kind(first, context.message)?;
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = second & !MASKED;
        if kind.is_control() && usize::from(short) > CONTROL_SIZE_MAX {
            return Err(FrameError::ControlTooLong);
        }
        let length_size = match short {
            126 => size_of::<u16>(),
            127 => size_of::<u64>(),
            _ => 0,
        };
        let length_end = 2 + length_size;
        let length_min = match length_size {
            0 => u64::from(short),
            _ => extended_length_min(&bytes[2..length_end.min(bytes.len())], length_size)?,
        };
        if !kind.is_control() {
            let size_max = match context.may_deflate {
                false => context.message_size_max,
                true => context.size_max(is_deflated),
            };
            let room = size_max.saturating_sub(context.message_size);
            if length_min > room as u64 {
                return Err(FrameError::MessageTooLarge(context.message_size_max));
            }
        }
        let mask = bytes
            .get(length_end..)
            .and_then(<[u8]>::first_chunk::<MASK_SIZE>);
        Ok(mask.map(|&mask| Self {
            kind,
            is_deflated,
            mask,
            payload_size: length_min as usize,
            size: length_end + MASK_SIZE,
        }))
    }
}

/// Judges reserved bits of which one is set: whether the frame begins a compressed message. Only the
/// first frame of a message of text or bytes may say so (RFC 7692 §6.1).
#[cold]
fn reserved_bits(first: u8, context: &MessageSoFar) -> Result<bool, FrameError> {
    let begins_message = matches!(
        OpCode::from(first & OPCODE),
        OpCode::Data(Data::Text | Data::Binary)
    );
    match context.may_deflate && first & RESERVED == RSV1 && begins_message {
        true => Ok(true),
        false => Err(FrameError::ReservedBits),
    }
}

/// Judges FIN and opcode of the first byte.
fn frame_kind(first: u8, message: Option<MessageKind>) -> Result<FrameKind, FrameError> {
    let is_final = first & FIN != 0;
    match OpCode::from(first & OPCODE) {
        OpCode::Data(Data::Text) => start(MessageKind::Text, is_final, message),
        OpCode::Data(Data::Binary) => start(MessageKind::Binary, is_final, message),
        OpCode::Data(Data::Continue) if message.is_none() => {
            Err(FrameError::ContinuationWithoutStart)
        }
        OpCode::Data(Data::Continue) if is_final => Ok(FrameKind::Last),
        OpCode::Data(Data::Continue) => Ok(FrameKind::Middle),
        OpCode::Data(Data::Reserved(opcode)) | OpCode::Control(Control::Reserved(opcode)) => {
            Err(FrameError::UnknownOpcode(opcode))
        }
        OpCode::Control(_) if !is_final => Err(FrameError::FragmentedControl),
        OpCode::Control(Control::Close) => Ok(FrameKind::Control(ControlKind::Close)),
        OpCode::Control(Control::Ping) => Ok(FrameKind::Control(ControlKind::Ping)),
        OpCode::Control(Control::Pong) => Ok(FrameKind::Control(ControlKind::Pong)),
    }
}

fn start(
    kind: MessageKind,
    is_final: bool,
    message: Option<MessageKind>,
) -> Result<FrameKind, FrameError> {
    match message {
        Some(_) => Err(FrameError::StartWithinMessage),
        None if is_final => Ok(FrameKind::Whole(kind)),
        None => Ok(FrameKind::First(kind)),
    }
}

/// Returns the smallest length that `known`, the first bytes of an extended length of `size` bytes
/// (2 or 8), can begin; the length itself once all its bytes are known.
fn extended_length_min(known: &[u8], size: usize) -> Result<u64, FrameError> {
    let missing_bits = 8 * (size - known.len()) as u32;
    let start = known
        .iter()
        .fold(0, |start, &byte| start << 8 | u64::from(byte));
    let low = start.checked_shl(missing_bits).unwrap_or(0);
    let high = low
        | u64::MAX
            .checked_shl(missing_bits)
            .map_or(u64::MAX, |mask| !mask);
    if low >> 63 != 0 {
        return Err(FrameError::LengthTopBit);
    }
    let minimal = if size == size_of::<u16>() {
        126
    } else {
        65_536
    };
    if high < minimal {
        return Err(FrameError::LengthNotMinimal);
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE_MAX_HERE: usize = 70_000;

    fn context(message: Option<MessageKind>) -> MessageSoFar {
        let message_size = if message.is_some() { 100 } else { 0 };
        MessageSoFar {
            message,
            message_size,
            message_size_max: SIZE_MAX_HERE,
            is_deflated: false,
            may_deflate: false,
        }
    }

    /// The header breaks a rule, and its last byte is the one that tells.
    fn refused_at_last_byte(bytes: &[u8], message: Option<MessageKind>, error: FrameError) {
        let before = &bytes[..bytes.len() - 1];
        assert_eq!(
            Header::parse(before, &context(message)),
            Ok(None),
            "{before:02x?}"
        );
        for more in 0..SIZE_MAX {
            let longer = [bytes, &[0xff; SIZE_MAX][..more]].concat();
            assert_eq!(
                Header::parse(&longer, &context(message)),
                Err(error),
                "{longer:02x?}"
            );
        }
    }

    fn parsed(bytes: &[u8]) -> Header {
        for cut in 0..bytes.len() {
            assert_eq!(
                Header::parse(&bytes[..cut], &context(None)),
                Ok(None),
                "cut at {cut}"
            );
        }
        Header::parse(bytes, &context(None)).unwrap().unwrap()
    }

    #[test]
    fn each_reserved_bit_is_refused_at_the_first_byte() {
        for first in [0x91, 0xa1, 0xc1, 0xf1, 0x99, 0xc0] {
            refused_at_last_byte(&[first], None, FrameError::ReservedBits);
        }
    }

    #[test]
    fn the_first_frame_of_a_message_may_say_that_it_is_compressed_and_nothing_else_may() {
        let may = |message, is_deflated| MessageSoFar {
            is_deflated,
            may_deflate: true,
            ..context(message)
        };
        let parse = |first, message| {
            let bytes = [first, 0x80, 1, 2, 3, 4];
            Header::parse(&bytes, &may(message, true))
        };
        for first in [0xc1, 0xc2, 0x41, 0x42] {
            let header = parse(first, None).unwrap().unwrap();
            assert!(header.is_deflated, "{first:02x}");
        }
        for first in [0x81, 0x82, 0x89] {
            let header = parse(first, None).unwrap().unwrap();
            assert!(!header.is_deflated, "{first:02x}");
        }
        for first in [0xc8, 0xc9, 0xca, 0xa1, 0x91, 0xe1, 0xd2, 0xc3] {
            assert_eq!(parse(first, None), Err(FrameError::ReservedBits));
        }
        for first in [0xc0, 0x40] {
            let within = parse(first, Some(MessageKind::Text));
            assert_eq!(within, Err(FrameError::ReservedBits));
        }
    }

    #[test]
    fn unknown_opcodes_are_refused_at_the_first_byte() {
        for opcode in (3..=7).chain(11..=15) {
            refused_at_last_byte(&[0x80 | opcode], None, FrameError::UnknownOpcode(opcode));
            refused_at_last_byte(&[opcode], None, FrameError::UnknownOpcode(opcode));
        }
    }

    #[test]
    fn fragmented_control_frames_are_refused_at_the_first_byte() {
        for first in [0x08, 0x09, 0x0a] {
            refused_at_last_byte(&[first], None, FrameError::FragmentedControl);
            refused_at_last_byte(
                &[first],
                Some(MessageKind::Text),
                FrameError::FragmentedControl,
            );
        }
    }

    #[test]
    fn a_continuation_without_a_start_is_refused_at_the_first_byte() {
        for first in [0x00, 0x80] {
            refused_at_last_byte(&[first], None, FrameError::ContinuationWithoutStart);
        }
    }

    #[test]
    fn a_start_within_a_message_is_refused_at_the_first_byte() {
        for first in [0x01, 0x02, 0x81, 0x82] {
            for message in [MessageKind::Text, MessageKind::Binary] {
                refused_at_last_byte(&[first], Some(message), FrameError::StartWithinMessage);
            }
        }
    }

    #[test]
    fn a_frame_without_a_mask_is_refused_at_the_second_byte() {
        for first in [0x81, 0x82, 0x88, 0x89, 0x8a] {
            refused_at_last_byte(&[first, 0x05], None, FrameError::Unmasked);
        }
    }

    #[test]
    fn a_control_frame_above_125_bytes_is_refused_at_the_second_byte() {
        for first in [0x88, 0x89, 0x8a] {
            refused_at_last_byte(&[first, 0xfe], None, FrameError::ControlTooLong);
            refused_at_last_byte(&[first, 0xff], None, FrameError::ControlTooLong);
            assert_eq!(parsed(&[first, 0xfd, 1, 2, 3, 4]).payload_size, 125);
        }
    }

    #[test]
    fn a_length_that_is_not_minimal_is_refused_at_the_byte_that_tells() {
        refused_at_last_byte(&[0x82, 0xfe, 0, 125], None, FrameError::LengthNotMinimal);
        refused_at_last_byte(&[0x82, 0xfe, 0, 0], None, FrameError::LengthNotMinimal);
        refused_at_last_byte(
            &[0x82, 0xff, 0, 0, 0, 0, 0, 0],
            None,
            FrameError::LengthNotMinimal,
        );
    }

    #[test]
    fn a_64_bit_length_with_its_top_bit_is_refused_at_its_first_byte() {
        refused_at_last_byte(&[0x82, 0xff, 0x80], None, FrameError::LengthTopBit);
        refused_at_last_byte(&[0x82, 0xff, 0xff], None, FrameError::LengthTopBit);
    }

    #[test]
    fn a_message_that_is_too_large_is_refused_at_the_byte_that_tells() {
        let error = FrameError::MessageTooLarge(SIZE_MAX_HERE);
        refused_at_last_byte(&[0x82, 0xff, 1], None, error);
        refused_at_last_byte(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x71], None, error);
        assert_eq!(
            parsed(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70, 1, 2, 3, 4]).payload_size,
            70_000
        );
        let near = [0x80, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x0d];
        refused_at_last_byte(&near, Some(MessageKind::Binary), error);
    }

    #[test]
    fn a_control_frame_is_not_counted_against_the_message() {
        let full = MessageSoFar {
            message: Some(MessageKind::Text),
            message_size: 9,
            message_size_max: 9,
            is_deflated: false,
            may_deflate: false,
        };
        assert!(
            Header::parse(&[0x89, 0xfd, 1, 2, 3, 4], &full)
                .unwrap()
                .is_some()
        );
        let more = Header::parse(&[0x80, 0x81], &full);
        assert_eq!(more, Err(FrameError::MessageTooLarge(9)));
    }

    #[test]
    fn every_form_of_length_is_read() {
        for (bytes, size, payload_size) in [
            (&[0x82, 0x80, 1, 2, 3, 4][..], 6, 0),
            (&[0x82, 0xfd, 1, 2, 3, 4], 6, 125),
            (&[0x82, 0xfe, 0, 126, 1, 2, 3, 4], 8, 126),
            (&[0x82, 0xfe, 0xff, 0xff, 1, 2, 3, 4], 8, 65_535),
            (
                &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
                14,
                65_536,
            ),
        ] {
            let header = parsed(bytes);
            assert_eq!((header.size, header.payload_size), (size, payload_size));
            assert_eq!(header.mask, [1, 2, 3, 4]);
            assert_eq!(header.kind, FrameKind::Whole(MessageKind::Binary));
        }
    }
}
