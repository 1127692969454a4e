//! What stands before a route.

/// What a caller has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiGuard {
    /// Nothing: the description holds no secret, and says how to show a key.
    Open,
    /// An API key. The request isn't counted, so that a busy server can still be watched.
    Key,
    /// An API key, which may not ask too often.
    LimitedKey,
    /// An API key or the token of a user, neither of which may ask too often.
    KeyOrToken,
}

impl ApiGuard {
    /// Whether requests are counted.
    pub(super) const fn is_limited(self) -> bool {
        matches!(self, Self::LimitedKey | Self::KeyOrToken)
    }
}
