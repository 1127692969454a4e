//! Times and bounds of a link, and its state in one word.

/// Times and bounds of a link, as its sender keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSettings {
    /// Time between two `PING`s, in milliseconds. Default 2,000: three of them fit into the
    /// silence, so two may be lost.
    pub ping_ms: u64,
    /// Silence after which a link counts as dead, also while it is being made, in milliseconds.
    /// Default 6,000: three pings.
    pub silence_ms_max: u64,
    /// Pause before the first try to connect again, in milliseconds; each further pause is half as
    /// long again. Default 1,000: a restart of the upstream takes less.
    pub retry_ms_min: u64,
    /// Longest pause, in milliseconds. Default 10,000: a link is back soon after a long failure,
    /// and a hundred gateways try ten times a second together.
    pub retry_ms_max: u64,
    /// Messages on the way at most. Default 1,024: a receiver keeps as many refusals.
    pub on_way_max: usize,
    /// Bytes that are held for an upstream at most; one page and one message may exceed the bound.
    /// Default 1 MiB: a full window of 1,024 messages of a KiB each.
    pub held_bytes_max: usize,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            ping_ms: 2_000,
            silence_ms_max: 6_000,
            retry_ms_min: 1_000,
            retry_ms_max: 10_000,
            on_way_max: 1_024,
            held_bytes_max: 1 << 20,
        }
    }
}

/// The state of a link, for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkState {
    /// There is no socket: the next try waits.
    #[default]
    Dead = 0,
    /// A socket is being made.
    Connecting = 1,
    /// `open` waits for its answer.
    Opening = 2,
    /// The link is open, and messages go.
    Open = 3,
}

impl LinkState {
    /// Returns the name of the state in statistics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Connecting => "connecting",
            Self::Opening => "opening",
            Self::Open => "open",
        }
    }
}
