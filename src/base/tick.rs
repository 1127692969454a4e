//! Time as the protocols see it: whole milliseconds since the server's start.

/// A moment, in milliseconds since a start that only the owner of the clock knows.
///
/// Eight bytes instead of the sixteen of [`std::time::Instant`], since every connection keeps
/// several; and a test can invent one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// A moment that never comes: the deadline of whatever has none.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `ms` milliseconds later; [`Tick::NEVER`] stays.
    #[must_use]
    pub const fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` until this moment; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
