//! The versions of HTTP that the server speaks.

/// A version of HTTP/1 (RFC 9112 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: closes after each answer unless asked otherwise; has no chunks.
    Http10,
    /// HTTP/1.1: stays open after each answer unless asked otherwise.
    Http11,
}
