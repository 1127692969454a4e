//! The links of gateways in a handover.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::{LinkNumbers, Links};
use crate::base::Fd;
use crate::base::sync::lock;
use crate::endpoint::handover::kind::EndpointRecord;
use crate::handover::{HandoverError, RecordReader, SectionWriter};
use crate::link::LinkReceiver;

impl Links {
    /// Writes down the links, while no number is on its way.
    pub(in crate::endpoint) fn hand_over(&self, section: &mut SectionWriter) {
        let mut links: Vec<_> = lock(&self.table)
            .links
            .iter()
            .map(|(fd, link)| (*fd, Arc::clone(link)))
            .collect();
        links.sort_unstable_by_key(|(fd, _)| *fd);
        for (fd, link) in links {
            // The link's lock comes before the table's.
            let link = lock(&link);
            EndpointRecord::Link.write(section, |record| {
                record.u64(fd.0);
                link.hand_over(record);
            });
        }
        let table = lock(&self.table);
        let mut producers: Vec<_> = table.producers.iter().collect();
        producers.sort_unstable();
        for (producer, fd) in producers {
            EndpointRecord::Producer.write(section, |record| {
                record.text(producer);
                record.u64(fd.0);
            });
        }
        table.refusals.hand_over(|write| {
            EndpointRecord::LinkRefusal.write(section, |record| write(record));
        });
        for (name, count) in counters(&table.numbers) {
            EndpointRecord::count(section, "links", name, count);
        }
    }

    /// Takes a record of one of the kinds that [`Links::hand_over`] writes, but for numbers.
    pub(in crate::endpoint) fn take(
        &self,
        kind: EndpointRecord,
        record: &mut RecordReader<'_>,
    ) -> Result<(), HandoverError> {
        let mut table = lock(&self.table);
        match kind {
            EndpointRecord::Link => {
                let fd = Fd(record.u64()?);
                let link = Arc::new(Mutex::new(LinkReceiver::take_over(record)?));
                if table.links.insert(fd, link).is_some() {
                    return Err(record.refuse("the connection is two links"));
                }
                self.count.fetch_add(1, Ordering::Release);
            }
            EndpointRecord::Producer => {
                let (producer, fd) = (Arc::from(record.text()?), Fd(record.u64()?));
                if !table.links.contains_key(&fd) {
                    return Err(record.refuse("the link of the producer is gone"));
                }
                table.producers.insert(producer, fd);
            }
            EndpointRecord::LinkRefusal => table.refusals.take_over(record)?,
            _ => return Err(record.refuse("it is no record of a link")),
        }
        Ok(())
    }

    /// Counts on from a number of an earlier image.
    pub(in crate::endpoint) fn count_on(&self, name: &str, from: u64) {
        let numbers = &mut lock(&self.table).numbers;
        let count = match name {
            "given" => &mut numbers.given,
            "repeated" => &mut numbers.repeated,
            "refused" => &mut numbers.refused,
            "busy" => &mut numbers.busy,
            "replaced" => &mut numbers.replaced,
            "jumped" => &mut numbers.jumped,
            _ => return,
        };
        *count += from;
    }
}

fn counters(numbers: &LinkNumbers) -> [(&'static str, u64); 6] {
    [
        ("given", numbers.given),
        ("repeated", numbers.repeated),
        ("refused", numbers.refused),
        ("busy", numbers.busy),
        ("replaced", numbers.replaced),
        ("jumped", numbers.jumped),
    ]
}

#[cfg(test)]
impl Links {
    /// Has something of everything that is handed over.
    pub(in crate::endpoint) fn use_everything(&self) {
        for fd in [7, 9] {
            self.opened(Fd(fd));
        }
        let link = Arc::clone(&lock(&self.table).links[&Fd(7)]);
        lock(&link).open("shop".into(), 1, 4).unwrap();
        let mut table = lock(&self.table);
        table.producers.insert("shop".into(), Fd(7));
        table.refusals.record(&"shop".into(), 3, refusal());
        let numbers = &mut table.numbers;
        (numbers.given, numbers.repeated, numbers.refused) = (4, 3, 2);
        (numbers.busy, numbers.replaced, numbers.jumped) = (5, 6, 1);
    }
}

#[cfg(test)]
fn refusal() -> crate::api::refusal::Refusal {
    crate::api::refusal::Refusal::bad_request("to: nobody").with_status(418)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Posting;
    use crate::endpoint::links::{LinkPublisher, OnComplete};
    use crate::handover::Section;
    use crate::link::Sequenced;

    /// Nothing is published.
    struct NoPublisher;

    impl LinkPublisher for NoPublisher {
        fn mark(&self, _: &str) -> u64 {
            0
        }

        fn publish(&self, _: Sequenced, _: &Posting<'_>, _: OnComplete) {}

        fn skip(&self, _: Sequenced, _: OnComplete) {}
    }

    fn links() -> Links {
        Links::new(Box::new(NoPublisher))
    }

    fn handed_over(links: &Links) -> SectionWriter {
        let mut section = SectionWriter::new();
        links.hand_over(&mut section);
        section
    }

    fn take_over(section: &SectionWriter) -> Result<Links, HandoverError> {
        let links = links();
        for record in Section::of("endpoint", 1, section.as_bytes()).records() {
            let mut record = record?;
            match EndpointRecord::read(&mut record)? {
                EndpointRecord::Counter => {
                    record.text()?;
                    links.count_on(record.text()?, record.u64()?);
                }
                kind => links.take(kind, &mut record)?,
            }
        }
        Ok(links)
    }

    #[test]
    fn links_and_what_was_refused_are_the_same_in_the_next_image() {
        let links = links();
        links.use_everything();
        let section = handed_over(&links);
        let next = take_over(&section).unwrap();
        assert_eq!(handed_over(&next), section);
        assert_eq!(next.numbers(), links.numbers());
        assert!(next.contains(Fd(9)) && !next.contains(Fd(8)));
        let told = lock(&next.table).refusals.at_open("shop", 1, 5);
        assert_eq!(told, [(3, refusal())]);
        assert!(next.closed(Fd(7)) && next.closed(Fd(9)) && !next.contains(Fd(9)));
        assert!(lock(&next.table).producers.is_empty());
    }

    #[test]
    fn a_connection_that_is_two_links_or_a_link_that_is_none_is_refused() {
        let links = links();
        links.opened(Fd(7));
        let once = handed_over(&links);
        let mut twice = SectionWriter::new();
        for _ in 0..2 {
            links.hand_over(&mut twice);
        }
        assert!(take_over(&once).is_ok() && take_over(&twice).is_err());
        lock(&links.table).producers.insert("shop".into(), Fd(8));
        assert!(take_over(&handed_over(&links)).is_err());
    }
}
