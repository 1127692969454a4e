//! The counters of the links of gateways.

use crate::base::Metric;

/// Counters of all links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkNumbers {
    /// Links that are open now.
    pub links: u64,
    /// Messages that were let in.
    pub given: u64,
    /// Messages that were dropped, since their numbers had been let in before.
    pub repeated: u64,
    /// Messages that were refused for good.
    pub refused: u64,
    /// Times that a gateway was told to wait.
    pub busy: u64,
    /// Links that were ended since the gateway opened another one.
    pub replaced: u64,
    /// Times that a producer's mark was below what its gateway still had.
    pub jumped: u64,
}

impl LinkNumbers {
    /// Describes each number.
    pub(in crate::endpoint) fn described(&self) -> [Metric; 7] {
        [
            Metric::gauge("open", "Links of gateways now.", self.links),
            Metric::counter(
                "given",
                "Messages of gateways that were let in.",
                self.given,
            ),
            Metric::counter(
                "repeated",
                "Messages of gateways that were acknowledged or on their way already.",
                self.repeated,
            ),
            Metric::counter(
                "refused",
                "Messages of gateways that were refused for good.",
                self.refused,
            ),
            Metric::counter("busy", "Times that a gateway was told to wait.", self.busy),
            Metric::counter(
                "replaced",
                "Links that ended since their gateway opened another one.",
                self.replaced,
            ),
            Metric::counter(
                "jumped",
                "Times that a gateway had let go of what its mark asks for.",
                self.jumped,
            ),
        ]
    }
}
