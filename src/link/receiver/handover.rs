//! The state of a link in a handover.

use super::{FIRST_MAX, LinkReceiver, LinkRoom, OpenReceiver};
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::link::sequenced::SendAttempt;

const NEW: u64 = 0;
const OPEN: u64 = 1;
const REPLACED: u64 = 2;

const FREE: u64 = 0;
const REFUSED: u64 = 1;
const TOLD: u64 = 2;

impl LinkReceiver {
    /// Writes the state down. No number may be on its way.
    pub fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let open = match self {
            Self::New => return record.u64(NEW),
            Self::Replaced => return record.u64(REPLACED),
            Self::Open(open) => open,
        };
        record.u64(OPEN);
        record.text(&open.producer);
        record.u64(open.acked);
        record.u64(open.admitted);
        match open.room {
            LinkRoom::Free => record.u64(FREE),
            LinkRoom::Refused { after_ms } => {
                record.u64(REFUSED);
                record.u64(after_ms);
            }
            LinkRoom::Told => record.u64(TOLD),
        }
    }

    /// Reads a state.
    ///
    /// # Errors
    ///
    /// It is none, or contradicts itself.
    pub fn take_over(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        match record.u64()? {
            NEW => return Ok(Self::New),
            OPEN => {}
            REPLACED => return Ok(Self::Replaced),
            _ => return Err(record.refuse("the link has no such state")),
        }
        let producer = record.text()?.into();
        let (acked, admitted) = (record.u64()?, record.u64()?);
        if admitted < acked || admitted > 2 * FIRST_MAX {
            return Err(record.refuse("the link acknowledged what it never let in"));
        }
        let room = match record.u64()? {
            FREE => LinkRoom::Free,
            REFUSED => LinkRoom::Refused {
                after_ms: record.u64()?,
            },
            TOLD => LinkRoom::Told,
            _ => return Err(record.refuse("the link has no such room")),
        };
        Ok(Self::Open(OpenReceiver {
            producer,
            acked,
            admitted,
            room,
            attempt: SendAttempt::default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::refusal::Refusal;
    use crate::handover::{Section, SectionWriter};
    use crate::link::wire::SenderFrame;
    use crate::link::{LinkRefusal, Received, Sequenced};

    fn handed_over(link: &LinkReceiver) -> SectionWriter {
        let mut section = SectionWriter::new();
        section.record(|record| link.hand_over(record));
        section
    }

    fn next_image(link: &LinkReceiver) -> LinkReceiver {
        let section = handed_over(link);
        let section_read = Section::of("link", 1, section.as_bytes());
        let mut record = section_read.records().needed().unwrap();
        let next = LinkReceiver::take_over(&mut record).unwrap();
        assert_eq!(handed_over(&next), section);
        next
    }

    /// The number is let in, or dropped.
    fn publish(link: &mut LinkReceiver, n: u64) -> Option<Sequenced> {
        let posting = Err(Refusal::bad_request("any"));
        match link.receive(SenderFrame::Publish { n, posting }) {
            Ok(Received::Refuse { sequenced, .. }) => Some(sequenced),
            Ok(Received::Repeat { .. }) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_link_goes_on_in_the_next_image_with_the_number_that_is_next() {
        let mut link = LinkReceiver::default();
        link.open(Arc::from("p"), 1, 4).unwrap();
        let fifth = publish(&mut link, 5).unwrap();
        assert_eq!(link.complete(&fifth, Ok(())).len(), 1);
        let mut next = next_image(&link);
        assert!(publish(&mut next, 5).is_none(), "it is acknowledged");
        let sixth = publish(&mut next, 6).unwrap();
        assert_eq!((&*sixth.producer, sixth.n), ("p", 6));
        assert_eq!(next.complete(&sixth, Ok(())).len(), 1);
    }

    #[test]
    fn what_stands_behind_a_number_without_room_is_dropped_in_the_next_image_too() {
        let mut link = LinkReceiver::default();
        link.open(Arc::from("p"), 1, 0).unwrap();
        let (first, _) = (publish(&mut link, 1).unwrap(), publish(&mut link, 2));
        let busy = LinkRefusal::Busy { after_ms: 500 };
        assert_eq!(link.complete(&first, Err(busy)).len(), 1);
        let mut next = next_image(&link);
        assert!(publish(&mut next, 2).is_none() && publish(&mut next, 3).is_none());
        assert!(publish(&mut next, 1).is_some(), "it comes again");
    }

    #[test]
    fn a_link_that_is_new_or_replaced_stays_so() {
        let mut link = LinkReceiver::default();
        let mut new = next_image(&link);
        assert!(new.open(Arc::from("p"), 1, 0).is_ok());
        link.replace();
        let mut replaced = next_image(&link);
        assert!(replaced.open(Arc::from("p"), 1, 0).is_err());
    }
}
