//! The events that wait for their connections' turns, in a handover: in their order, each connection
//! behind the other.
//!
//! A connection that was parked until it had read its answers isn't parked any more where it goes on:
//! its next turn does that again, if there is reason to. One that is paused still is: who is to resume it
//! is carried by the server's user.

use super::{Turns, WaitingEvent};
use crate::base::Fd;
use crate::handover::{
    HandoverError, RecordReader, RecordWriter, Section, SectionFormat, SectionWriter,
};
use crate::proto::connection::CloseReason;
use crate::proto::http::Head;
use crate::proto::websocket::MessageKind;
use crate::server::queue::WorkerEvent;

/// The section of one thread; the thread's number stands behind a dot.
pub const WAITING: SectionFormat = SectionFormat {
    name: "waiting",
    version: 2,
    oldest_reader: 1,
};

/// The kinds of records; a number never changes its meaning.
const OPENED: u64 = 0;
const TEXT: u64 = 1;
const BINARY: u64 = 2;
const CLOSED: u64 = 3;
/// No event: the connection is paused. Since version 2.
const PAUSED: u64 = 4;

/// What waits on the threads that run callbacks.
#[derive(Debug, Default)]
pub(in crate::server) struct HandedWaiting {
    /// The events that wait for their connections' turns, in their order.
    pub(in crate::server) events: Vec<WaitingEvent>,
    /// The connections that are paused.
    pub(in crate::server) paused: Vec<Fd>,
}

/// Writes down who is paused.
pub(in crate::server) fn hand_over_pauses(paused: &[Fd], section: &mut SectionWriter) {
    for fd in paused {
        section.record(|record| {
            record.u64(PAUSED);
            record.u64(fd.0);
        });
    }
}

impl Turns {
    /// Writes down the events that wait.
    pub(in crate::server) fn hand_over(&self, section: &mut SectionWriter) {
        let mut heavy: Vec<_> = self.heavy.iter().collect();
        heavy.sort_unstable_by_key(|(fd, _)| **fd);
        for (_, heavy) in heavy {
            for waiting in &heavy.events {
                waiting.hand_over(section);
            }
        }
    }
}

impl WaitingEvent {
    /// Writes the event down, if it is one that waits: a request has its answer before anything is
    /// handed over, and nobody is said farewell to.
    fn hand_over(&self, section: &mut SectionWriter) {
        let parts = u64::from(self.parts);
        let mut put = |fd: Fd, kind, write: &dyn Fn(&mut RecordWriter<'_>)| {
            section.record(|record| {
                record.u64(kind);
                record.u64(fd.0);
                record.u64(parts);
                write(record);
            });
        };
        match &self.event {
            WorkerEvent::Opened { fd, head } => put(*fd, OPENED, &|record| head.hand_over(record)),
            WorkerEvent::Large { fd, kind, payload } => {
                let kind = match kind {
                    MessageKind::Text => TEXT,
                    MessageKind::Binary => BINARY,
                };
                put(*fd, kind, &|record| record.bytes(payload));
            }
            WorkerEvent::Closed { fd, reason } => {
                put(*fd, CLOSED, &|record| reason.hand_over(record));
            }
            event @ (WorkerEvent::Message { .. }
            | WorkerEvent::Request { .. }
            | WorkerEvent::BufferEmpty { .. }
            | WorkerEvent::TurnComes { .. }
            | WorkerEvent::Farewell { .. }
            | WorkerEvent::Call { .. }) => {
                debug_assert!(
                    false,
                    "no such event waits while all stands still: {event:?}"
                );
            }
        }
    }

    fn take_over(kind: u64, fd: Fd, record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let parts = record.u32()?;
        let message = |kind, record: &mut RecordReader<'_>| {
            let payload = record.bytes()?.to_vec();
            Ok(WorkerEvent::Large { fd, kind, payload })
        };
        let event = match kind {
            OPENED => WorkerEvent::Opened {
                fd,
                head: Box::new(Head::take_over(record)?),
            },
            TEXT => message(MessageKind::Text, record)?,
            BINARY => message(MessageKind::Binary, record)?,
            CLOSED => WorkerEvent::Closed {
                fd,
                reason: CloseReason::take_over(record)?,
            },
            _ => return Err(record.refuse("an unknown event waits")),
        };
        Ok(Self { event, parts })
    }
}

impl HandedWaiting {
    fn take_over(&mut self, record: &mut RecordReader<'_>) -> Result<(), HandoverError> {
        let (kind, fd) = (record.u64()?, Fd(record.u64()?));
        match kind {
            PAUSED => self.paused.push(fd),
            kind => (self.events).push(WaitingEvent::take_over(kind, fd, record)?),
        }
        Ok(())
    }
}

/// Reads what waits on one thread into `waiting`.
///
/// # Errors
///
/// No thread can have written this.
pub(in crate::server) fn read_waiting(
    section: Section<'_>,
    waiting: &mut HandedWaiting,
) -> Result<(), HandoverError> {
    section.check(WAITING.version)?;
    for record in section.records() {
        waiting.take_over(&mut record?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proto::http::{HttpLimits, parse};

    fn turns() -> Turns {
        Turns::new(Arc::default(), Arc::default(), Arc::default())
    }

    fn head() -> Box<Head> {
        let head = b"GET /tea HTTP/1.1\r\nHost: a\r\n\r\n";
        let parsed = parse(head, &mut 0, &HttpLimits::default()).unwrap();
        Box::new(parsed.unwrap().0)
    }

    /// Events of three connections, of which one ends.
    fn events() -> Vec<WaitingEvent> {
        let text = |fd, text: &str| WorkerEvent::Large {
            fd: Fd(fd),
            kind: MessageKind::Text,
            payload: text.into(),
        };
        let binary = WorkerEvent::Large {
            fd: Fd(9),
            kind: MessageKind::Binary,
            payload: vec![0, 255],
        };
        let ended = WorkerEvent::Closed {
            fd: Fd(3),
            reason: CloseReason::Peer {
                code: Some(4_000),
                reason: "bye".into(),
            },
        };
        let opened = WorkerEvent::Opened {
            fd: Fd(5),
            head: head(),
        };
        let events = [text(3, "half done"), binary, opened, text(5, ""), ended];
        let parts = [7, 0, 0, 0, 0].into_iter();
        let events = events.into_iter().zip(parts);
        events
            .map(|(event, parts)| WaitingEvent { event, parts })
            .collect()
    }

    fn read(section: Section<'_>) -> Result<HandedWaiting, HandoverError> {
        let mut waiting = HandedWaiting::default();
        read_waiting(section, &mut waiting).map(|()| waiting)
    }

    #[test]
    fn who_is_paused_still_is() {
        let mut written = SectionWriter::new();
        let paused = [Fd(3), Fd(1 << 40)];
        hand_over_pauses(&paused, &mut written);
        let section = Section::of(WAITING.name, WAITING.version, written.as_bytes());
        let waiting = read(section).unwrap();
        assert_eq!(
            (&waiting.paused[..], waiting.events.len()),
            (&paused[..], 0)
        );
    }

    #[test]
    fn what_waits_for_a_turn_goes_on_in_its_order_with_the_parts_that_were_handled() {
        let mut before = turns();
        for event in events() {
            before.put(event);
        }
        let mut written = SectionWriter::new();
        before.hand_over(&mut written);
        let section = Section::of(WAITING.name, WAITING.version, written.as_bytes());
        let mut after = turns();
        for event in read(section).unwrap().events {
            after.put(event);
        }
        let mut again = SectionWriter::new();
        after.hand_over(&mut again);
        assert_eq!(again.as_bytes(), written.as_bytes());
        assert_eq!(after.bytes(), before.bytes());
        for fd in [3, 5, 9].map(Fd) {
            assert!(after.holds(fd), "{fd}");
            while let Some(expected) = before.take(fd) {
                let taken = after.take(fd).expect("it waits");
                assert_eq!(taken.parts, expected.parts);
                assert_eq!(
                    format!("{:?}", taken.event),
                    format!("{:?}", expected.event)
                );
            }
            assert!(after.take(fd).is_none());
        }
    }

    #[test]
    fn bytes_that_no_thread_wrote_are_refused() {
        let mut section = SectionWriter::new();
        section.record(|record| record.u64(99));
        let read = |bytes: &[u8]| read(Section::of(WAITING.name, WAITING.version, bytes));
        assert!(read(section.as_bytes()).is_err());
        let mut whole = SectionWriter::new();
        events()
            .iter()
            .for_each(|event| event.hand_over(&mut whole));
        let whole = whole.as_bytes().to_vec();
        assert!(read(&whole).is_ok());
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x81;
            // Refused or another event, but no panic.
            _ = read(&damaged);
            _ = read(&whole[..at]);
        }
    }
}
