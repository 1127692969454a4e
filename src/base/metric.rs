//! The description of a number, for whoever shows it.

/// What a number can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// The number goes up and down.
    Gauge,
    /// The number only grows.
    Counter,
    /// The number is 1 for yes and 0 for no.
    Flag,
}

/// One number, and what a reader has to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name of the number, in `snake_case` and with its unit, but without a prefix.
    pub name: &'static str,
    /// What the number can do.
    pub kind: MetricKind,
    /// What the number counts: one sentence.
    pub help: &'static str,
    /// How much it is at this moment.
    pub value: u64,
}

impl Metric {
    /// A number that goes up and down.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            kind: MetricKind::Gauge,
            help,
            value,
        }
    }

    /// A number that only grows.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            kind: MetricKind::Counter,
            help,
            value,
        }
    }

    /// A yes or a no.
    #[must_use]
    pub const fn flag(name: &'static str, help: &'static str, value: bool) -> Self {
        Self {
            name,
            kind: MetricKind::Flag,
            help,
            value: value as u64,
        }
    }
}
