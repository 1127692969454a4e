//! The bounds of one request, each with the status that tells the client about it.

/// The bounds of one request; every bound is checked as soon as the bytes allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Longest request target, in bytes; a longer one is answered with 414. Default 8 KiB.
    ///
    /// RFC 9112 §3 recommends request lines of at least 8,000 bytes. A bound above
    /// `head_size_max` has no effect: the head's own bound refuses the request first, with 431.
    pub target_size_max: usize,
    /// Longest head, from the method to the blank line, in bytes; a longer one is answered with
    /// 431. Default 16 KiB: the longest target and as much again for the fields.
    pub head_size_max: usize,
    /// Most field lines in a head; one more is answered with 431. Default 100: a round number far
    /// above the 15 or so of a browser.
    pub head_fields_max: usize,
    /// Longest body without its chunk framing, in bytes; a longer one is answered with 413, at once
    /// if its length is announced. Default 1 MiB: a round number, since a whole body is collected
    /// in memory before its handler runs.
    pub body_size_max: usize,
    /// Most bytes of chunk extensions in one body, all chunks together; more is answered with 413.
    /// Default 16 KiB, as for a head: they are read and dropped like fields without use.
    ///
    /// A bound for the whole body, since a bound for a chunk lets a body of one-byte chunks carry
    /// a hundred times its size. RFC 9112 §7.1.1.
    pub chunk_extensions_size_max: usize,
    /// Longest trailer section, in bytes; a longer one is answered with 431. Default 8 KiB, half of
    /// a head: trailers are read and dropped.
    pub trailers_size_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            target_size_max: 8 * 1024,
            head_size_max: 16 * 1024,
            head_fields_max: 100,
            body_size_max: 1024 * 1024,
            chunk_extensions_size_max: 16 * 1024,
            trailers_size_max: 8 * 1024,
        }
    }
}
