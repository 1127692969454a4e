//! The description of a number, for the pages that show metrics.

/// The way in which a number changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// The number goes up and down.
    Gauge,
    /// The number only grows.
    Counter,
    /// The number is 1 for yes and 0 for no.
    Flag,
}

/// One number and its description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name of the number, in `snake_case` and with its unit, but without a prefix.
    pub name: &'static str,
    /// The way in which the number changes.
    pub kind: MetricKind,
    /// One sentence that says what the number counts.
    pub help: &'static str,
    /// The number's value at this moment.
    pub value: u64,
}

impl Metric {
    /// Describes a number that goes up and down.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            kind: MetricKind::Gauge,
            help,
            value,
        }
    }

    /// Describes a number that only grows.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            kind: MetricKind::Counter,
            help,
            value,
        }
    }

    /// Describes a number that is 1 for yes and 0 for no.
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

/// Defines a struct of numbers. The documentation of a number is its help text as well.
#[cfg(feature = "store")]
macro_rules! numbers {
    ($(#[$about:meta])* $visible:vis struct $Name:ident {
        $($(#[doc = $help:literal])+ $kind:ident $name:ident,)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        $visible struct $Name { $($(#[doc = $help])+ $visible $name: u64,)* }

        impl $Name {
            /// Describes each number.
            #[must_use]
            $visible fn described(&self) -> Vec<$crate::base::Metric> {
                vec![$($crate::base::Metric {
                    name: stringify!($name),
                    kind: $crate::base::MetricKind::$kind,
                    help: concat!($($help),+).trim_ascii_start(),
                    value: self.$name,
                },)*]
            }
        }
    };
}

#[cfg(feature = "store")]
pub(crate) use numbers;
