//! Replays under way in a handover.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{ClientReplay, OwnReplays, ReplayTable};
use crate::base::{Epoch, Fd, Position};
use crate::chat::Missing;
use crate::endpoint::handover::kind::EndpointRecord;
use crate::handover::{HandoverError, RecordReader, SectionWriter};

impl ReplayTable {
    /// Writes down the replays of each connection.
    pub(in crate::endpoint) fn hand_over(&self, section: &mut SectionWriter) {
        let mut connections: Vec<_> = self.replays.iter().collect();
        connections.sort_unstable_by_key(|(fd, _)| **fd);
        for (fd, own) in connections {
            EndpointRecord::Replays.write(section, |record| {
                record.u64(fd.0);
                record.optional(own.place, |record, place| record.u64(place));
                record.flag(own.is_ready);
                record.list(&own.replays, |record, replay| {
                    record.u64(replay.id);
                    record.text(&replay.channel);
                    let Missing { after, gap } = replay.missing;
                    record.u64(after.epoch.bits().into());
                    record.u64(after.offset);
                    record.flag(gap);
                });
            });
        }
    }

    /// Takes the replays of a connection. Bounds that are smaller than before hold for later ones.
    pub(in crate::endpoint) fn take_over(
        &mut self,
        record: &mut RecordReader<'_>,
    ) -> Result<(), HandoverError> {
        let fd = Fd(record.u64()?);
        let place = record.optional(RecordReader::u64)?;
        let is_ready = record.flag()?;
        let replays: VecDeque<ClientReplay> = record.list(read)?.into();
        self.total += replays.len();
        let ids = replays.iter().map(|replay| replay.id);
        // The next one gets a number that none of them had.
        self.last_id = ids.chain(place).fold(self.last_id, u64::max);
        let waits_twice = place.is_some_and(|place| self.waiting.insert(place, fd).is_some());
        self.active += usize::from(place.is_none());
        let own = OwnReplays {
            replays,
            place,
            is_ready,
        };
        let was_there = self.replays.insert(fd, own).is_some();
        match waits_twice || was_there || self.last_id == u64::MAX {
            true => Err(record.refuse("the connection catches up twice")),
            false => Ok(()),
        }
    }

    /// Serves as many as may be served, and lists those that are ready for their next page.
    pub(in crate::endpoint) fn resume(&mut self) -> Vec<Fd> {
        for fd in self.set_bounds(self.active_max, self.replays_max) {
            self.note_ready(fd);
        }
        let ready = self.replays.iter().filter(|(_, own)| own.is_ready);
        let mut ready: Vec<Fd> = ready.map(|(fd, _)| *fd).collect();
        ready.sort_unstable();
        ready
    }
}

fn read(record: &mut RecordReader<'_>) -> Result<ClientReplay, HandoverError> {
    let (id, channel) = (record.u64()?, Arc::from(record.text()?));
    let after = Position {
        epoch: Epoch::from_bits(record.u32()?),
        offset: record.u64()?,
    };
    let missing = Missing {
        after,
        gap: record.flag()?,
    };
    Ok(ClientReplay {
        id,
        channel,
        missing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::CatchUp;
    use crate::handover::Section;

    fn handed_over(table: &ReplayTable) -> SectionWriter {
        let mut section = SectionWriter::new();
        table.hand_over(&mut section);
        section
    }

    fn next_image(table: &ReplayTable, active_max: usize) -> ReplayTable {
        let section = handed_over(table);
        let mut next = ReplayTable::new(active_max, table.replays_max);
        for record in Section::of("endpoint", 1, section.as_bytes()).records() {
            let mut record = record.unwrap();
            EndpointRecord::read(&mut record).unwrap();
            next.take_over(&mut record).unwrap();
        }
        assert_eq!(handed_over(&next), section);
        next
    }

    fn missing(offset: u64) -> Missing {
        let epoch = Epoch::from_bits(5);
        Missing {
            after: Position { epoch, offset },
            gap: offset == 3,
        }
    }

    fn begun(fds: impl Iterator<Item = u64>, active_max: usize) -> ReplayTable {
        let mut table = ReplayTable::new(active_max, 100);
        for fd in fds.map(Fd) {
            for channel in ["tea", "nut"] {
                let next = table.begin(fd, &channel.into(), missing(fd.0)).unwrap();
                if let Some(fd) = next {
                    table.note_ready(fd);
                }
            }
        }
        table
    }

    #[test]
    fn replays_go_on_in_the_next_image_where_they_were_and_in_their_order() {
        let mut table = begun(1..=6, 2);
        // Of the two that are served, one waits for its outbox.
        let replay = table.current(Fd(1)).unwrap();
        assert!(!table.advance(Fd(1), replay.id, CatchUp::Behind(missing(3))));
        let mut next = next_image(&table, 2);
        assert_eq!(next.resume(), [Fd(2)], "the other has asked for its page");
        let replay = next.current(Fd(1)).unwrap();
        assert_eq!((&*replay.channel, replay.missing), ("tea", missing(3)));
        let later = next.begin(Fd(1), &"tea".into(), missing(9));
        assert_eq!(later, Ok(None));
        assert!(!next.is_current(Fd(1), replay.id));
        assert_eq!(next.total(), 12);
        let served: Vec<_> = (1..=6).map(|fd| next.forget(Fd(fd))).collect();
        let in_turn = [3, 4, 5, 6].map(|fd| Some(Fd(fd)));
        assert_eq!(served[..4], in_turn);
        assert_eq!((next.total(), next.active), (0, 0));
    }

    #[test]
    fn other_bounds_in_the_next_image_hold_for_those_that_come() {
        let table = begun(1..=4, 2);
        let mut more = next_image(&table, 3);
        assert_eq!(more.resume(), [1, 2, 3].map(Fd));
        let mut fewer = next_image(&table, 1);
        assert_eq!(fewer.resume(), [1, 2].map(Fd));
        assert_eq!(fewer.begin(Fd(9), &"tea".into(), missing(1)), Ok(None));
        let served = [1, 2, 3].map(|fd| fewer.forget(Fd(fd)));
        assert_eq!(served, [None, Some(Fd(3)), Some(Fd(4))]);
    }
}
