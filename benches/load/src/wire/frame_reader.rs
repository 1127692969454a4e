//! A server's frames, joined to messages and copied: for what comes rarely.
//!
//! The hot loops never come here: they compare bytes with prepared answers. This reader takes what
//! differs: pings, closes, fragments, wrong answers.

use crate::measure::failure::Failure;
use crate::wire::frame::{
    BINARY, CLOSE, CONTINUATION, Header, MESSAGE_SIZE_MAX, PING, PONG, TEXT, checked_end, closing,
};

/// What a server sent, copied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole message, its fragments joined.
    Message(u8, Vec<u8>),
    /// A ping, which must be answered with the same payload.
    Ping(Vec<u8>),
    /// A pong, which needs no answer.
    Pong,
    /// Close, with its code (1005 when it has none) and reason.
    Close(u16, String),
}

/// Joins a server's bytes, in any fragmentation, to messages and control frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    bytes: Vec<u8>,
    message: Option<(u8, Vec<u8>)>,
}

impl FrameReader {
    /// Begins with bytes that came already.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
            message: None,
        }
    }

    /// Takes bytes from the socket.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Gives what is complete; `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// [`Failure::Violation`]: no server may send such a frame.
    pub(crate) fn next_incoming(&mut self) -> Result<Option<Incoming>, Failure> {
        while let Some(header) = Header::parse(&self.bytes) {
            let end = checked_end(&header)?;
            if self.bytes.len() < end {
                return Ok(None);
            }
            let payload = self.bytes[header.size..end].to_vec();
            self.bytes.drain(..end);
            if let Some(incoming) = self.take(&header, payload)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    /// The unfinished frame's bytes, or `None` in the middle of a fragmented message.
    pub(crate) fn rest(&self) -> Option<&[u8]> {
        self.message.is_none().then_some(&self.bytes)
    }

    fn take(&mut self, header: &Header, payload: Vec<u8>) -> Result<Option<Incoming>, Failure> {
        let (opcode, message) = match (header.opcode, self.message.take()) {
            (PING, message) => return Ok(self.between(message, Incoming::Ping(payload))),
            (PONG, message) => return Ok(self.between(message, Incoming::Pong)),
            (CLOSE, _) => {
                let (code, reason) = closing(&payload);
                return Ok(Some(Incoming::Close(code, reason)));
            }
            (opcode @ (TEXT | BINARY), None) => (opcode, payload),
            (CONTINUATION, Some((opcode, mut message))) => {
                message.extend_from_slice(&payload);
                (opcode, message)
            }
            (TEXT | BINARY | CONTINUATION, _) => {
                return Err(Failure::Violation("fragments out of order"));
            }
            _ => return Err(Failure::Violation("a reserved opcode")),
        };
        if message.len() > MESSAGE_SIZE_MAX {
            return Err(Failure::Violation("a message over 64 MiB"));
        }
        if header.fin {
            return Ok(Some(Incoming::Message(opcode, message)));
        }
        self.message = Some((opcode, message));
        Ok(None)
    }

    fn between(&mut self, message: Option<(u8, Vec<u8>)>, control: Incoming) -> Option<Incoming> {
        self.message = message;
        Some(control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{client_frame, close_payload, server_frame};

    fn heard(frames: &mut FrameReader) -> Vec<Incoming> {
        std::iter::from_fn(|| frames.next_incoming().unwrap()).collect()
    }

    #[test]
    fn every_fragmentation_of_the_same_bytes_gives_the_same_incoming() {
        let mut first = server_frame(TEXT, b"he");
        first[0] &= 0x7f;
        let bytes = [
            first,
            server_frame(PING, b"p"),
            server_frame(CONTINUATION, b"llo"),
            server_frame(CLOSE, &close_payload(1001)),
        ]
        .concat();
        for cut in 0..bytes.len() {
            let mut frames = FrameReader::new(&bytes[..cut]);
            let mut all = heard(&mut frames);
            frames.feed(&bytes[cut..]);
            all.extend(heard(&mut frames));
            let expected = [
                Incoming::Ping(b"p".into()),
                Incoming::Message(TEXT, b"hello".into()),
                Incoming::Close(1001, String::new()),
            ];
            assert_eq!(all, expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_no_server_may_send_is_a_violation() {
        let long_ping = [&[0x89, 126, 0, 200][..], &[0; 200]].concat();
        let huge = [&[0x82, 127][..], &[0xff; 8]].concat();
        for bytes in [
            client_frame(TEXT, b"x", [1; 4]),
            server_frame(3, b""),
            server_frame(0, b""),
            long_ping,
            huge,
        ] {
            let mut frames = FrameReader::new(&bytes);
            assert!(frames.next_incoming().is_err(), "{bytes:?}");
        }
    }
}
