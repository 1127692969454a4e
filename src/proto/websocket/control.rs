//! Control frames as the server sends them (RFC 6455 §5.5), held inline.

use std::fmt;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, OpCode};

/// Largest payload of a control frame, in bytes (RFC 6455 §5.5).
pub(super) const PAYLOAD_SIZE_MAX: usize = 125;

/// Header of every control frame, in bytes: its length fits into seven bits, and no mask follows.
const HEADER_SIZE: usize = 2;

/// An encoded control frame of the server: at most 127 bytes, without heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ControlFrame {
    size: u8,
    bytes: [u8; HEADER_SIZE + PAYLOAD_SIZE_MAX],
}

impl ControlFrame {
    /// Makes a ping; the payload is cut to 125 bytes (RFC 6455 §5.5.2).
    #[must_use]
    pub fn ping(payload: &[u8]) -> Self {
        Self::new(Control::Ping, &[payload])
    }

    /// Makes a pong with the payload of the ping it answers, at most 125 bytes (RFC 6455 §5.5.3).
    #[must_use]
    pub fn pong(payload: &[u8]) -> Self {
        Self::new(Control::Pong, &[payload])
    }

    /// Makes a close with a code and a reason, which is cut to 123 bytes of whole characters.
    ///
    /// The code must pass [`close_code_may_be_sent`] (RFC 6455 §7.4).
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Self {
        debug_assert!(close_code_may_be_sent(code), "close code {code}");
        let code = code.to_be_bytes();
        let reason_size = reason.floor_char_boundary(PAYLOAD_SIZE_MAX - code.len());
        Self::new(Control::Close, &[&code, &reason.as_bytes()[..reason_size]])
    }

    /// Makes a close without a code: the answer to a close without one (RFC 6455 §5.5.1).
    #[must_use]
    pub fn close_empty() -> Self {
        Self::new(Control::Close, &[])
    }

    /// Returns the frame as it goes to the client.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.size)]
    }

    fn new(opcode: Control, parts: &[&[u8]]) -> Self {
        let mut bytes = [0; HEADER_SIZE + PAYLOAD_SIZE_MAX];
        let mut size = HEADER_SIZE;
        for part in parts {
            let part_size = part.len().min(bytes.len() - size);
            bytes[size..size + part_size].copy_from_slice(&part[..part_size]);
            size += part_size;
        }
        let header = FrameHeader {
            is_final: true,
            opcode: OpCode::Control(opcode),
            mask: None,
            ..FrameHeader::default()
        };
        let payload_size = (size - HEADER_SIZE) as u64;
        header
            .format(payload_size, &mut &mut bytes[..HEADER_SIZE])
            .expect("the header of up to 125 bytes has two");
        Self {
            size: u8::try_from(size).expect("at most 127"),
            bytes,
        }
    }
}

impl fmt::Debug for ControlFrame {
    /// Shows the size only: payloads stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlFrame")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Whether a close frame may carry this code (RFC 6455 §7.4 and its IANA registry).
///
/// True for 1000 to 1003, 1007 to 1014 and 3000 to 4999. The other codes are not defined, or (1005,
/// 1006, 1015) stand for closes without a code on the wire.
#[must_use]
pub fn close_code_may_be_sent(code: u16) -> bool {
    // 1014, bad gateway, was registered after tungstenite's list had been made.
    code == 1014 || CloseCode::from(code).is_allowed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_and_pongs_carry_their_payload() {
        assert_eq!(ControlFrame::ping(b"").as_bytes(), [0x89, 0]);
        assert_eq!(ControlFrame::ping(b"ab").as_bytes(), [0x89, 2, b'a', b'b']);
        assert_eq!(ControlFrame::pong(b"ab").as_bytes(), [0x8a, 2, b'a', b'b']);
    }

    #[test]
    fn a_payload_of_125_is_kept_and_one_of_126_is_cut() {
        for size in [125, 126, 300] {
            let frame = ControlFrame::pong(&vec![b'x'; size]);
            assert_eq!(frame.as_bytes().len(), 127);
            assert_eq!(frame.as_bytes()[..3], [0x8a, 125, b'x']);
        }
    }

    #[test]
    fn a_close_carries_code_and_reason() {
        assert_eq!(ControlFrame::close_empty().as_bytes(), [0x88, 0]);
        assert_eq!(
            ControlFrame::close(1000, "").as_bytes(),
            [0x88, 2, 0x03, 0xe8]
        );
        assert_eq!(
            ControlFrame::close(4008, "slow").as_bytes(),
            b"\x88\x06\x0f\xa8slow"
        );
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let fits = "x".repeat(123);
        assert_eq!(
            &ControlFrame::close(1000, &fits).as_bytes()[4..],
            fits.as_bytes()
        );
        let frame = ControlFrame::close(1000, &"€".repeat(42));
        let reason = std::str::from_utf8(&frame.as_bytes()[4..]).unwrap();
        assert_eq!(reason, "€".repeat(41));
        let frame = ControlFrame::close(1000, &format!("x{}", "€".repeat(42)));
        assert_eq!(frame.as_bytes().len(), 4 + 1 + 40 * 3);
    }

    #[test]
    fn the_close_codes_that_may_be_sent_are_these() {
        for code in 0..=u16::MAX {
            let expected = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(close_code_may_be_sent(code), expected, "code {code}");
        }
    }
}
