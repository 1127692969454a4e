//! The description of a number, for whoever shows it.

/// Whether a number can fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// The number goes up and down.
    Gauge,
    /// The number only grows.
    Counter,
}

/// One number, and what a reader has to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name of the number, in `snake_case` and with its unit, but without a prefix.
    pub name: &'static str,
    /// Whether the number can fall.
    pub kind: MetricKind,
    /// What the number counts: one sentence.
    pub help: &'static str,
    /// How much it is at this moment.
    pub value: u64,
}
