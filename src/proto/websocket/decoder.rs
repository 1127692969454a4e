//! The decoder, which turns a client's bytes into messages, pings, pongs and a close.
//!
//! A frame that lies whole in the input is unmasked in place and borrowed. A message that reads or
//! fragments cut is collected in one `Vec`, which grows as bytes come and is given away with the
//! message. A decoder never answers, waits, or allocates for bytes that were merely announced.
//!
//! Invariant: between two messages a decoder owns no heap.

mod handover;

use std::borrow::Cow;
use std::fmt;
use std::mem;

use super::control::{PAYLOAD_SIZE_MAX as CONTROL_SIZE_MAX, close_code_may_be_sent};
use super::deflate::deflated_size_max;
use super::error::FrameError;
use super::frame::MessageKind;
use super::header::{self, ControlKind, FrameKind, Header, MessageSoFar};
use super::mask::unmask;

/// First size of the `Vec` that collects a message, in bytes, if the message may get that large. A
/// round number: most chat messages fit, so the `Vec` doesn't grow in many small steps.
const COLLECTED_SIZE_MIN: usize = 512;

/// One message or control frame of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// A message; the payload of a text is UTF-8.
    Message {
        /// The kind of the message: text or binary.
        kind: MessageKind,
        /// The unmasked bytes; borrowed if the message was one frame that came in one piece.
        payload: Cow<'a, [u8]>,
    },
    /// A compressed message, for an [`Inflater`](super::Inflater). It comes only where the peer may
    /// compress; whether a text is UTF-8 shows once it is inflated.
    Deflated {
        /// The kind of the message: text or binary.
        kind: MessageKind,
        /// The unmasked bytes, as above.
        payload: Cow<'a, [u8]>,
    },
    /// A ping with at most 125 bytes; a pong with the same bytes answers it (RFC 6455 §5.5.2).
    Ping(Cow<'a, [u8]>),
    /// A pong with at most 125 bytes, with or without a ping before it (RFC 6455 §5.5.3).
    Pong(Cow<'a, [u8]>),
    /// A close; bytes after it mustn't be decoded (RFC 6455 §5.5.1).
    Close {
        /// The code, one that may be sent; `None` if the frame was empty.
        code: Option<u16>,
        /// The reason, at most 123 bytes.
        reason: Cow<'a, str>,
    },
}

/// The frames of one client, in any fragmentation.
pub struct MessageDecoder {
    reading: FrameStage,
    /// The unfinished message, unmasked; behind it the bytes of an unfinished control frame.
    collected: Vec<u8>,
    /// The kind of the unfinished message, if there is one.
    message: Option<MessageKind>,
    /// Whether the unfinished message is compressed.
    is_deflated: bool,
    /// Whether the peer may compress messages.
    may_deflate: bool,
    /// Bytes of an unfinished character at the end of an unfinished text, 0 to 3.
    open_character_size: u8,
}

enum FrameStage {
    /// The first `held` bytes of a header have come.
    Header {
        bytes: [u8; header::SIZE_MAX],
        held: u8,
    },
    /// The payload of a frame is being collected.
    PartialPayload(PartialPayload),
    /// A rule was broken; no more bytes are read.
    Failed(FrameError),
}

impl FrameStage {
    const NOTHING: Self = Self::Header {
        bytes: [0; header::SIZE_MAX],
        held: 0,
    };
}

/// A frame whose payload is collected.
#[derive(Clone, Copy)]
struct PartialPayload {
    kind: FrameKind,
    mask: [u8; 4],
    size: usize,
    /// Bytes of `size` that have come.
    taken: usize,
}

impl fmt::Debug for MessageDecoder {
    /// Shows sizes only: payloads stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageDecoder")
            .field("message", &self.message)
            .field("collected_size", &self.collected.len())
            .finish_non_exhaustive()
    }
}

impl Default for MessageDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl MessageDecoder {
    /// Makes a decoder for a client that has just been upgraded.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            reading: FrameStage::NOTHING,
            collected: Vec::new(),
            message: None,
            is_deflated: false,
            may_deflate: false,
            open_character_size: 0,
        }
    }

    /// Makes a decoder for a client whose handshake has agreed on permessage-deflate.
    #[must_use]
    pub const fn deflating() -> Self {
        let mut decoder = Self::new();
        decoder.may_deflate = true;
        decoder
    }

    /// Whether the peer may compress messages, and understands compressed ones.
    #[must_use]
    pub const fn may_deflate(&self) -> bool {
        self.may_deflate
    }

    /// Takes bytes from the front of `input` until one item is complete or all are used up.
    ///
    /// Returns the number of bytes taken, and the item; without an item, all bytes were taken. The
    /// bytes are unmasked in place, and the item may borrow them. `message_size_max` bounds the
    /// payload of a message over all its fragments, in bytes.
    ///
    /// # Errors
    ///
    /// The first rule that the client broke, as soon as the byte that breaks it has come. From
    /// then on every call returns the same error.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        input: &'a mut [u8],
        message_size_max: usize,
    ) -> Result<(usize, Option<Item<'a>>), FrameError> {
        let decoded = self.decode_item(input, message_size_max);
        if let Err(error) = decoded {
            self.fail(error);
        }
        decoded
    }

    /// Whether no message or frame is unfinished, so that the next byte starts a frame.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.message.is_none() && matches!(self.reading, FrameStage::Header { held: 0, .. })
    }

    /// Counts the bytes of heap that the unfinished message and control frame occupy.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.collected.capacity()
    }

    fn decode_item<'a>(
        &mut self,
        input: &'a mut [u8],
        message_size_max: usize,
    ) -> Result<(usize, Option<Item<'a>>), FrameError> {
        let input_size = input.len();
        let mut rest = input;
        loop {
            let payload = match self.reading {
                FrameStage::Failed(error) => return Err(error),
                FrameStage::PartialPayload(payload) => payload,
                FrameStage::Header { .. } => {
                    let (taken, header) = self.take_header(rest, message_size_max)?;
                    let Some(header) = header else {
                        return Ok((input_size, None));
                    };
                    rest = &mut mem::take(&mut rest)[taken..];
                    let fits = header.payload_size <= rest.len();
                    let taken = input_size - rest.len() + header.payload_size;
                    match header.kind {
                        FrameKind::Whole(kind) if fits => {
                            let payload = unmasked(rest, &header);
                            let item = match header.is_deflated {
                                false => message_item(kind, payload)?,
                                true => deflated_item(kind, payload),
                            };
                            return Ok((taken, Some(item)));
                        }
                        FrameKind::Control(kind) if fits => {
                            let payload = Cow::Borrowed(unmasked(rest, &header));
                            return Ok((taken, Some(control_item(kind, payload)?)));
                        }
                        _ => self.start_payload(&header),
                    }
                }
            };
            let size = rest.len().min(payload.size - payload.taken);
            let (chunk, behind) = mem::take(&mut rest).split_at_mut(size);
            rest = behind;
            if !self.take_payload(payload, chunk, message_size_max)? {
                return Ok((input_size, None));
            }
            if let Some(item) = self.finish_frame(payload)? {
                return Ok((input_size - rest.len(), Some(item)));
            }
        }
    }

    /// Reads a header from the bytes held before and `input`; returns the number of bytes of
    /// `input` that it took.
    ///
    /// The stage stays [`FrameStage::Header`]: the caller decides what follows.
    #[inline]
    fn take_header(
        &mut self,
        input: &[u8],
        message_size_max: usize,
    ) -> Result<(usize, Option<Header>), FrameError> {
        let context = MessageSoFar {
            message: self.message,
            message_size: self.collected.len(),
            message_size_max,
            is_deflated: self.is_deflated,
            may_deflate: self.may_deflate,
        };
        let FrameStage::Header { bytes, held } = &mut self.reading else {
            return Ok((0, None));
        };
        let held_before = usize::from(*held);
        if held_before == 0
            && let Some(header) = Header::parse(input, &context)?
        {
            return Ok((header.size, Some(header)));
        }
        let added = input.len().min(bytes.len() - held_before);
        let end = held_before + added;
        bytes[held_before..end].copy_from_slice(&input[..added]);
        match Header::parse(&bytes[..end], &context)? {
            Some(header) => {
                *held = 0;
                Ok((header.size - held_before, Some(header)))
            }
            None => {
                *held = end as u8;
                Ok((added, None))
            }
        }
    }

    fn start_payload(&mut self, header: &Header) -> PartialPayload {
        if let FrameKind::Whole(kind) | FrameKind::First(kind) = header.kind {
            self.message = Some(kind);
            self.is_deflated = header.is_deflated;
        }
        PartialPayload {
            kind: header.kind,
            mask: header.mask,
            size: header.payload_size,
            taken: 0,
        }
    }

    /// Collects the next bytes of a frame; returns whether they were its last ones.
    fn take_payload(
        &mut self,
        mut payload: PartialPayload,
        chunk: &mut [u8],
        message_size_max: usize,
    ) -> Result<bool, FrameError> {
        unmask(chunk, turned(payload.mask, payload.taken));
        self.reserve(chunk.len(), &payload, message_size_max);
        self.collected.extend_from_slice(chunk);
        payload.taken += chunk.len();
        self.reading = FrameStage::PartialPayload(payload);
        let is_text = self.message == Some(MessageKind::Text) && !self.is_deflated;
        if !payload.kind.is_control() && is_text {
            self.check_text(chunk.len())?;
        }
        Ok(payload.taken == payload.size)
    }

    /// Makes room for `added` bytes of a frame. The room at least doubles, so that the cost stays
    /// linear, but doesn't exceed the bytes that may still come.
    fn reserve(&mut self, added: usize, payload: &PartialPayload, message_size_max: usize) {
        let size = self.collected.len();
        let needed = size + added;
        if needed <= self.collected.capacity() {
            return;
        }
        let is_last_to_come = payload.kind.ends_message() || self.message.is_none();
        let size_max = if is_last_to_come {
            size + payload.size - payload.taken
        } else {
            let size_max = match self.is_deflated {
                false => message_size_max,
                true => deflated_size_max(message_size_max),
            };
            size_max.saturating_add(CONTROL_SIZE_MAX)
        };
        let wanted = (2 * size).max(COLLECTED_SIZE_MIN).min(size_max).max(needed);
        self.collected.reserve_exact(wanted - size);
    }

    /// Checks the last `added` bytes of an unfinished text, and the character they may complete.
    fn check_text(&mut self, added: usize) -> Result<(), FrameError> {
        let unchecked = usize::from(self.open_character_size) + added;
        let start = self.collected.len() - unchecked;
        let open_size = match std::str::from_utf8(&self.collected[start..]) {
            Ok(_) => 0,
            // Only bytes that a good character may begin with are "unexpected end" to std.
            Err(error) if error.error_len().is_none() => unchecked - error.valid_up_to(),
            Err(_) => return Err(FrameError::TextNotUtf8),
        };
        self.open_character_size = open_size as u8;
        Ok(())
    }

    /// Turns a collected frame, now complete, into an item; `None` if the message goes on.
    fn finish_frame(
        &mut self,
        payload: PartialPayload,
    ) -> Result<Option<Item<'static>>, FrameError> {
        self.reading = FrameStage::NOTHING;
        match payload.kind {
            FrameKind::First(_) | FrameKind::Middle => Ok(None),
            FrameKind::Whole(_) | FrameKind::Last => self.finish_message(),
            FrameKind::Control(kind) => {
                let bytes = match self.message {
                    Some(_) => self
                        .collected
                        .split_off(self.collected.len() - payload.size),
                    None => mem::take(&mut self.collected),
                };
                control_item(kind, Cow::Owned(bytes)).map(Some)
            }
        }
    }

    fn finish_message(&mut self) -> Result<Option<Item<'static>>, FrameError> {
        if mem::take(&mut self.open_character_size) != 0 {
            return Err(FrameError::TextNotUtf8);
        }
        let payload = Cow::Owned(mem::take(&mut self.collected));
        let is_deflated = mem::take(&mut self.is_deflated);
        Ok(self.message.take().map(|kind| match is_deflated {
            false => Item::Message { kind, payload },
            true => Item::Deflated { kind, payload },
        }))
    }

    #[cold]
    fn fail(&mut self, error: FrameError) {
        *self = Self {
            reading: FrameStage::Failed(error),
            may_deflate: self.may_deflate,
            ..Self::new()
        };
    }
}

/// Rotates the mask for the payload from `offset` on.
fn turned(mut mask: [u8; 4], offset: usize) -> [u8; 4] {
    mask.rotate_left(offset % 4);
    mask
}

/// Unmasks the payload behind a header.
#[inline]
fn unmasked<'a>(behind_header: &'a mut [u8], header: &Header) -> &'a [u8] {
    let payload = &mut behind_header[..header.payload_size];
    unmask(payload, header.mask);
    payload
}

/// Makes a text or binary message from its payload in one piece.
#[inline]
fn message_item(kind: MessageKind, payload: &[u8]) -> Result<Item<'_>, FrameError> {
    // Most texts are ASCII, and for short ones this check is several times as fast.
    let is_good = match kind {
        MessageKind::Text => payload.is_ascii() || std::str::from_utf8(payload).is_ok(),
        MessageKind::Binary => true,
    };
    if !is_good {
        return Err(FrameError::TextNotUtf8);
    }
    Ok(Item::Message {
        kind,
        payload: Cow::Borrowed(payload),
    })
}

#[cold]
fn deflated_item(kind: MessageKind, payload: &[u8]) -> Item<'_> {
    Item::Deflated {
        kind,
        payload: Cow::Borrowed(payload),
    }
}

/// Makes the item of a control frame from its unmasked payload.
fn control_item(kind: ControlKind, payload: Cow<'_, [u8]>) -> Result<Item<'_>, FrameError> {
    match kind {
        ControlKind::Ping => Ok(Item::Ping(payload)),
        ControlKind::Pong => Ok(Item::Pong(payload)),
        ControlKind::Close => close_item(payload),
    }
}

/// Makes the item of a close frame: empty, or a code and a reason (RFC 6455 §5.5.1).
fn close_item(payload: Cow<'_, [u8]>) -> Result<Item<'_>, FrameError> {
    let code = match *payload {
        [] => {
            return Ok(Item::Close {
                code: None,
                reason: Cow::Borrowed(""),
            });
        }
        [_] => return Err(FrameError::CloseTooShort),
        [high, low, ..] => u16::from_be_bytes([high, low]),
    };
    if !close_code_may_be_sent(code) {
        return Err(FrameError::CloseCode(code));
    }
    let reason = match payload {
        Cow::Borrowed(bytes) => std::str::from_utf8(&bytes[2..]).ok().map(Cow::Borrowed),
        Cow::Owned(mut bytes) => String::from_utf8(bytes.split_off(2)).ok().map(Cow::Owned),
    };
    let reason = reason.ok_or(FrameError::CloseReasonNotUtf8)?;
    Ok(Item::Close {
        code: Some(code),
        reason,
    })
}
