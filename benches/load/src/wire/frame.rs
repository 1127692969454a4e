//! WebSocket frames (RFC 6455 §5.2), as bytes and as headers.

use crate::measure::failure::Failure;

/// Opcode of a continuation frame.
pub(crate) const CONTINUATION: u8 = 0;
/// Opcode of a text frame.
pub(crate) const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub(crate) const BINARY: u8 = 2;
/// Opcode of a Close frame.
pub(crate) const CLOSE: u8 = 8;
/// Opcode of a ping.
pub(crate) const PING: u8 = 9;
/// Opcode of a pong.
pub(crate) const PONG: u8 = 10;

/// The largest message that is taken from a server, in bytes: twice what the generator can send, and
/// still no danger to its memory.
pub(crate) const MESSAGE_SIZE_MAX: usize = 64 << 20;

/// The key that all frames of clients are masked with: one that changes every byte.
pub(crate) const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x3c];

/// A frame header as it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Whether the message ends with this frame.
    pub(crate) fin: bool,
    /// One of this module's opcodes, or a reserved one.
    pub(crate) opcode: u8,
    /// The masking key, when the frame has one.
    pub(crate) mask: Option<[u8; 4]>,
    /// Length of the header itself, 2 to 14 bytes.
    pub(crate) size: usize,
    /// Length of the payload behind it, in bytes.
    pub(crate) payload_size: u64,
}

impl Header {
    /// Reads the header that `bytes` begin with; `None` while it is not complete.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload_size, size) = match second & 0x7f {
            126 => (
                u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
                4,
            ),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let masked = second & 0x80 != 0;
        let mask = match masked {
            true => Some(bytes.get(size..size + 4)?.try_into().ok()?),
            false => None,
        };
        let size = if masked { size + 4 } else { size };
        Some(Self {
            fin: first & 0x80 != 0,
            opcode: first & 0x0f,
            mask,
            size,
            payload_size,
        })
    }
}

/// A whole unmasked frame, as a server sends it.
pub(crate) fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(opcode, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

/// A whole masked frame, as a client must send it (RFC 6455 §5.3).
pub(crate) fn client_frame(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = head(opcode, payload.len(), 0x80);
    frame.extend_from_slice(&mask);
    let start = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[start..], mask);
    frame
}

/// Masks or unmasks a payload in place; doing it twice changes nothing.
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The payload of a Close frame.
pub(crate) fn close_payload(code: u16) -> [u8; 2] {
    code.to_be_bytes()
}

fn head(opcode: u8, payload_size: usize, masked: u8) -> Vec<u8> {
    let mut head = vec![0x80 | opcode];
    match payload_size {
        0..126 => head.push(masked | payload_size as u8),
        126..0x1_0000 => {
            head.push(masked | 126);
            head.extend_from_slice(&(payload_size as u16).to_be_bytes());
        }
        _ => {
            head.push(masked | 127);
            head.extend_from_slice(&(payload_size as u64).to_be_bytes());
        }
    }
    head
}

/// Where the frame of a server ends that begins with this header.
///
/// # Errors
///
/// [`Failure::Violation`]: no server may send such a frame.
pub(crate) fn checked_end(header: &Header) -> Result<usize, Failure> {
    if header.mask.is_some() {
        return Err(Failure::Violation("a masked frame"));
    }
    if header.opcode >= CLOSE && (header.payload_size > 125 || !header.fin) {
        return Err(Failure::Violation("a long or fragmented control frame"));
    }
    match usize::try_from(header.payload_size) {
        Ok(size) if size <= MESSAGE_SIZE_MAX => Ok(header.size + size),
        _ => Err(Failure::Violation("a message over 64 MiB")),
    }
}

/// Code and reason of a Close frame; 1005 when it has none (RFC 6455 §7.1.5).
pub(crate) fn closing(payload: &[u8]) -> (u16, String) {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => (
            u16::from_be_bytes(*code),
            String::from_utf8_lossy(reason).into_owned(),
        ),
        None => (1005, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_length_class_survive_the_wire() {
        for size in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; size];
            let server = server_frame(BINARY, &payload);
            let header = Header::parse(&server).unwrap();
            assert_eq!((header.payload_size as usize, header.mask), (size, None));
            assert_eq!(header.size + size, server.len());
            let mut client = client_frame(TEXT, &payload, [1, 2, 3, 4]);
            let header = Header::parse(&client).unwrap();
            assert_eq!(
                (header.payload_size as usize, header.mask),
                (size, Some([1, 2, 3, 4]))
            );
            unmask(&mut client[header.size..], [1, 2, 3, 4]);
            assert_eq!(client[header.size..], payload);
            assert!((0..header.size).all(|cut| Header::parse(&client[..cut]).is_none()));
        }
    }
}
