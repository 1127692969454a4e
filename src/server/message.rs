//! What goes out, what comes in: messages, frames, requests.

use bytes::Bytes;

use crate::base::Fd;
use crate::proto::http::Head;
use crate::proto::websocket::MessageKind;

/// A message to push, borrowed from wherever it stands.
///
/// Made from `&str` and `&String` (text), `&[u8]` and `&Vec<u8>` (binary), or a [`Frame`] (what it
/// was).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Text or binary.
    pub kind: MessageKind,
    /// Its bytes; UTF-8 for text.
    pub data: &'a [u8],
}

impl<'a> Message<'a> {
    /// A text message.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self {
            kind: MessageKind::Text,
            data: text.as_bytes(),
        }
    }

    /// A binary message.
    #[must_use]
    pub fn binary(data: &'a [u8]) -> Self {
        Self {
            kind: MessageKind::Binary,
            data,
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Self::text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(data: &'a [u8]) -> Self {
        Self::binary(data)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(data: &'a Vec<u8>) -> Self {
        Self::binary(data)
    }
}

impl<'a> From<Frame<'a>> for Message<'a> {
    fn from(frame: Frame<'a>) -> Self {
        Self {
            kind: frame.kind,
            data: frame.data,
        }
    }
}

/// A message that a WebSocket sent, as the handler gets it.
///
/// `data` stands in the buffer of the batch; copy what has to live longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Who sent it.
    pub fd: Fd,
    /// Text or binary.
    pub kind: MessageKind,
    /// Its bytes, whole and unmasked.
    pub data: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The text of a text message; `None` for a binary one.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        match self.kind {
            MessageKind::Text => std::str::from_utf8(self.data).ok(),
            MessageKind::Binary => None,
        }
    }
}

/// An HTTP request, or the one that opened a WebSocket.
#[derive(Debug)]
pub struct Request {
    /// The connection it came on.
    pub fd: Fd,
    head: Head,
    body: Bytes,
}

impl Request {
    pub(crate) fn new(fd: Fd, head: Head, body: Bytes) -> Self {
        Self { fd, head, body }
    }

    /// `GET`, `POST`, …
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.method()
    }

    /// The target before the `?`, as it was sent (percent-encoded).
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// The target behind the `?`, as it was sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The value of a header field, whatever the case of its name; `None` where it is not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.field_text(name)
    }

    /// The body without its transfer coding; empty when there was none.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The whole head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }
}
