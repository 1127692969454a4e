//! A server's frames, looked at where they lie: for connections that receive much and keep nothing.
//!
//! Whole frames are handed over as slices of what was read; only a frame that is cut by the end of
//! a read, or a fragmented message, is copied.

use crate::measure::failure::Failure;
use crate::wire::frame::{
    CLOSE, CONTINUATION, Header, MESSAGE_SIZE_MAX, PING, PONG, checked_end, closing,
};

/// What a server sent, as it lies in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scanned<'a> {
    /// A whole message, text or binary.
    Message(&'a [u8]),
    /// A ping, which must be answered with the same payload.
    Ping(&'a [u8]),
    /// Close, with its code (1005 when it has none) and reason.
    Close(u16, String),
}

/// The state between two reads of one connection.
#[derive(Debug, Default)]
pub(crate) struct FrameScanner {
    /// A frame that isn't complete.
    held: Vec<u8>,
    /// The fragments of a message that isn't complete.
    fragments: Option<Vec<u8>>,
}

impl FrameScanner {
    /// Takes bytes, in any fragmentation; calls `receive` with each message, ping or Close that they complete.
    ///
    /// # Errors
    ///
    /// No server may send this, or `receive` failed.
    pub(crate) fn receive<F>(&mut self, bytes: &[u8], mut receive: F) -> Result<(), Failure>
    where
        F: FnMut(Scanned<'_>) -> Result<(), Failure>,
    {
        if self.held.is_empty() {
            let taken = self.take(bytes, &mut receive)?;
            self.held.extend_from_slice(&bytes[taken..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let taken = self.take(&held, &mut receive)?;
            if taken < held.len() {
                held.drain(..taken);
                self.held = held;
            }
        }
        Ok(())
    }

    fn take<F>(&mut self, bytes: &[u8], receive: &mut F) -> Result<usize, Failure>
    where
        F: FnMut(Scanned<'_>) -> Result<(), Failure>,
    {
        let mut taken = 0;
        while let Some(header) = Header::parse(&bytes[taken..]) {
            let end = taken + checked_end(&header)?;
            let Some(payload) = bytes.get(taken + header.size..end) else {
                break;
            };
            taken = end;
            match header.opcode {
                PING => receive(Scanned::Ping(payload))?,
                PONG => {}
                CLOSE => {
                    let (code, reason) = closing(payload);
                    receive(Scanned::Close(code, reason))?;
                }
                3.. => return Err(Failure::Violation("a reserved opcode")),
                _ if header.fin && header.opcode != CONTINUATION && self.fragments.is_none() => {
                    receive(Scanned::Message(payload))?;
                }
                _ => self.join(&header, payload, receive)?,
            }
        }
        Ok(taken)
    }

    fn join<F>(&mut self, header: &Header, payload: &[u8], receive: &mut F) -> Result<(), Failure>
    where
        F: FnMut(Scanned<'_>) -> Result<(), Failure>,
    {
        let begins = header.opcode != CONTINUATION;
        if begins != self.fragments.is_none() {
            return Err(Failure::Violation("fragments out of order"));
        }
        let mut message = self.fragments.take().unwrap_or_default();
        message.extend_from_slice(payload);
        if message.len() > MESSAGE_SIZE_MAX {
            return Err(Failure::Violation("a message over 64 MiB"));
        }
        if header.fin {
            return receive(Scanned::Message(&message));
        }
        self.fragments = Some(message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{BINARY, TEXT, client_frame, close_payload, server_frame};

    #[test]
    fn every_fragmentation_of_the_same_bytes_is_scanned_the_same() {
        let mut first = server_frame(TEXT, b"he");
        first[0] &= 0x7f;
        let long = vec![b'x'; 300];
        let bytes = [
            server_frame(BINARY, &long),
            first,
            server_frame(PING, b"p"),
            server_frame(PONG, b""),
            server_frame(CONTINUATION, b"llo"),
            server_frame(CLOSE, &close_payload(1001)),
        ]
        .concat();
        for cut in 0..bytes.len() {
            let (mut scanner, mut all) = (FrameScanner::default(), Vec::new());
            for part in [&bytes[..cut], &bytes[cut..]] {
                let receive = |scanned: Scanned<'_>| {
                    all.push(format!("{scanned:?}"));
                    Ok(())
                };
                scanner.receive(part, receive).unwrap();
            }
            let expected = [
                Scanned::Message(&long),
                Scanned::Ping(b"p"),
                Scanned::Message(b"hello"),
                Scanned::Close(1001, String::new()),
            ];
            assert_eq!(
                all,
                expected.map(|scanned| format!("{scanned:?}")),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn what_no_server_may_send_is_a_violation() {
        for bytes in [
            client_frame(TEXT, b"x", [1; 4]),
            server_frame(3, b""),
            server_frame(CONTINUATION, b""),
        ] {
            assert!(
                FrameScanner::default().receive(&bytes, |_| Ok(())).is_err(),
                "{bytes:?}"
            );
        }
    }
}
