//! What a gateway hands over to the next image of the program: its counters.
//!
//! All else is in the outbox, or with the upstreams: the relay begins as at a start, and takes nothing from
//! the push process of the image before.

use std::sync::atomic::Ordering::Relaxed;

use super::front::Gateway;
use crate::base::MetricKind;
use crate::handover::{Handover, HandoverError, HandoverWriter, SectionFormat};

/// The section of the gateway.
pub const GATEWAY_FORMAT: SectionFormat = SectionFormat {
    name: "gateway",
    version: 1,
    oldest_reader: 1,
};

/// What a counter is of.
const OUTBOX: &str = "outbox";
const REFUSALS: &str = "refusals";
const LIMITS: &str = "limits";
/// Before the URL of an upstream.
const LINK: &str = "link ";

impl Gateway {
    /// Writes the counters down, while all stands still.
    pub fn hand_over(&self, writer: &mut HandoverWriter) {
        let section = writer.section_of(GATEWAY_FORMAT);
        let mut write = |of: &str, name: &str, count: u64| {
            if count > 0 {
                section.record(|record| {
                    record.text(of);
                    record.text(name);
                    record.u64(count);
                });
            }
        };
        for (name, count) in self.numbers.counters.all() {
            write(OUTBOX, name, count.load(Relaxed));
        }
        for (name, count) in self.refusals.counts() {
            write(REFUSALS, name, count);
        }
        for metric in self.limits.described() {
            if metric.kind == MetricKind::Counter {
                write(LIMITS, metric.name, metric.value);
            }
        }
        for (url, counts) in self.numbers.links() {
            for (name, count) in counts {
                write(&format!("{LINK}{url}"), name, count);
            }
        }
    }

    /// Counts on from what was written down; what isn't counted here any more is passed over.
    ///
    /// # Errors
    ///
    /// The section can't be read.
    pub fn take_over(&self, handover: &Handover<'_>) -> Result<(), HandoverError> {
        let section = handover.needed(GATEWAY_FORMAT.name)?;
        section.check(GATEWAY_FORMAT.version)?;
        for record in section.records() {
            let record = &mut record?;
            let (of, name, from) = (record.text()?, record.text()?, record.u64()?);
            match of {
                OUTBOX => self.numbers.counters.count_on(name, from),
                REFUSALS => self.refusals.count_on(name, from),
                LIMITS => self.limits.count_on(name, from),
                _ => {
                    if let Some(url) = of.strip_prefix(LINK) {
                        self.numbers.count_link_on(url, name, from);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{OpenAccess, RefusalReason, Refused};
    use crate::base::Tick;
    use crate::gateway::{GatewaySettings, Target, store_settings};
    use crate::handover::HandoverHead;
    use crate::store::{MemoryStore, StoreSettings};

    fn gateway(upstreams: &[&str]) -> Gateway {
        let target = |url: &&str| Target::new(url, "key").unwrap();
        let settings = GatewaySettings::new("gw", upstreams.iter().map(target).collect());
        let store = store_settings(StoreSettings::new("."), 1 << 20);
        let store = Box::new(MemoryStore::new(store));
        Gateway::new(settings, store, Box::new(OpenAccess)).unwrap()
    }

    fn handed_over(gateway: &Gateway) -> Vec<u8> {
        let mut writer = HandoverWriter::new();
        gateway.hand_over(&mut writer);
        writer.finish(&HandoverHead {
            program: "0".into(),
            pid: 1,
            tick: Tick(2),
            serials_from: 3,
        })
    }

    #[test]
    fn each_counter_goes_on_and_an_upstream_that_left_is_passed_over() {
        let one = gateway(&["ws://a:1/link", "ws://b:1/link"]);
        one.numbers.counters.count_on("taken", 7);
        one.numbers.counters.count_on("dead", 1);
        one.refusals.note(RefusalReason::Host, Refused::default());
        one.limits.count_on("requests_refused", 4);
        one.numbers.count_link_on("ws://a:1/link", "opened", 2);
        one.numbers.count_link_on("ws://b:1/link", "resent", 3);
        let bytes = handed_over(&one);
        let handover = Handover::read(&bytes).unwrap();
        let next = gateway(&["ws://a:1/link", "ws://b:1/link"]);
        next.take_over(&handover).unwrap();
        assert_eq!(handed_over(&next), bytes);
        next.numbers.begun();
        assert_eq!(handed_over(&next), bytes, "another push process");
        let fewer = gateway(&["ws://b:1/link"]);
        fewer.take_over(&handover).unwrap();
        let links: Vec<_> = fewer.numbers.links();
        assert_eq!(links.len(), 1);
        assert!(links[0].1.contains(&("resent", 3)), "{links:?}");
        for gateway in [one, next, fewer] {
            gateway.close();
        }
    }
}
