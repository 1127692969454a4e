//! Messages to push, and the frames and requests that callbacks get.

use bytes::Bytes;

use crate::base::Fd;
use crate::proto::http::Head;
use crate::proto::websocket::MessageKind;

/// A message to push, which borrows its bytes.
///
/// A message is made from `&str` and `&String` (text), `&[u8]` and `&Vec<u8>` (binary), or a
/// [`Frame`] (of the frame's kind).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The kind of the data: text or binary.
    pub kind: MessageKind,
    /// The message's bytes; UTF-8 for text.
    pub data: &'a [u8],
}

impl<'a> Message<'a> {
    /// Makes a text message.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self {
            kind: MessageKind::Text,
            data: text.as_bytes(),
        }
    }

    /// Makes a binary message.
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
/// `data` borrows the buffer of a batch; copy bytes that have to live longer than the callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The WebSocket that sent the message.
    pub fd: Fd,
    /// The kind of the data: text or binary.
    pub kind: MessageKind,
    /// The message's bytes, whole and unmasked.
    pub data: &'a [u8],
    /// Parts of the message that were handled before, where [`WorkerHandle::stop_at`] had it come
    /// again; 0 otherwise.
    ///
    /// [`WorkerHandle::stop_at`]: super::Handle::stop_at
    pub parts: u32,
}

impl<'a> Frame<'a> {
    /// Returns the text of a text message; `None` for a binary one.
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
    /// The connection that brought the request.
    pub fd: Fd,
    head: Head,
    body: Bytes,
}

impl Request {
    pub(crate) fn new(fd: Fd, head: Head, body: Bytes) -> Self {
        Self { fd, head, body }
    }

    /// Returns the method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.method()
    }

    /// Whether the request came over TLS that ends at this server
    /// (`Builder::listen_tls`).
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.head.is_secure()
    }

    /// Returns the target before the `?`, as it was sent (percent-encoded).
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// Returns the target after the `?`, as it was sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// Returns the value of a header field, whatever the case of its name; `None` if the value is
    /// not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.field_text(name)
    }

    /// Returns the body without its transfer coding; empty when there was none.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the whole head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }
}
