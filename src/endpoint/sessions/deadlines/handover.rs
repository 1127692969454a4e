//! Deadlines and keys in a handover.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DeadlineFor, DeadlineTable, KeyKind, LoginDeadlines};
use crate::base::Fd;
use crate::base::sync::lock;
use crate::endpoint::handover::kind::EndpointRecord;
use crate::handover::{HandoverError, RecordReader, SectionWriter};

/// What is read of the table, and the keys of tokens by their places.
#[derive(Debug, Default)]
pub(in crate::endpoint) struct TakenDeadlines {
    table: DeadlineTable,
    token_keys: Vec<u64>,
    /// The connection of the last deadline.
    last: u64,
}

impl LoginDeadlines {
    /// Writes down who has to act by when, and who showed which key.
    pub(in crate::endpoint) fn hand_over(&self, section: &mut SectionWriter) {
        let table = &*lock(&self.0);
        let mut keys: Vec<_> = table.keys.iter().collect();
        keys.sort_unstable_by_key(|(fd, _)| **fd);
        for (fd, name) in keys {
            EndpointRecord::ShownKey.write(section, |record| {
                record.u64(fd.0);
                record.optional(name.as_deref(), |record, name| record.text(name));
            });
        }
        table.write_deadlines(section);
        for (fd, kind) in &table.withdrawn {
            EndpointRecord::Withdrawn.write(section, |record| {
                record.u64(fd.0);
                record.flag(*kind == KeyKind::Token);
            });
        }
        let mut withdrawn: Vec<u64> = table.withdrawn_token_keys.iter().copied().collect();
        withdrawn.sort_unstable();
        for key in withdrawn {
            EndpointRecord::WithdrawnTokenKey.write(section, |record| record.u64(key));
        }
    }

    /// Puts what was read in place.
    pub(in crate::endpoint) fn take_over(&self, taken: TakenDeadlines) {
        *lock(&self.0) = taken.table;
    }
}

impl DeadlineTable {
    fn write_deadlines(&self, section: &mut SectionWriter) {
        let mut deadlines: Vec<_> = self.due_unix_ms.iter().collect();
        deadlines.sort_unstable_by_key(|(fd, _)| **fd);
        let mut places: HashMap<u64, usize> = HashMap::new();
        let mut last = 0;
        for (fd, (unix_ms, what)) in deadlines {
            let next = places.len();
            let key = match what {
                DeadlineFor::Login => None,
                DeadlineFor::Token(key) => Some(*places.entry(*key).or_insert_with(|| {
                    EndpointRecord::TokenKey.write(section, |record| record.u64(*key));
                    next
                })),
            };
            EndpointRecord::Deadline.write(section, |record| {
                record.u64(fd.0 - last);
                record.u64(*unix_ms);
                record.optional(key, |record, place| record.size(place));
            });
            last = fd.0;
        }
    }
}

impl TakenDeadlines {
    /// Takes a record of one of the kinds that [`LoginDeadlines::hand_over`] writes.
    pub(in crate::endpoint) fn take(
        &mut self,
        kind: EndpointRecord,
        record: &mut RecordReader<'_>,
    ) -> Result<(), HandoverError> {
        match kind {
            EndpointRecord::ShownKey => {
                let fd = Fd(record.u64()?);
                let name = record.optional(|record| Ok(Arc::from(record.text()?)))?;
                self.table.keys.insert(fd, name);
            }
            EndpointRecord::TokenKey => self.token_keys.push(record.u64()?),
            EndpointRecord::Deadline => self.take_deadline(record)?,
            EndpointRecord::Withdrawn => {
                let fd = Fd(record.u64()?);
                let kind = match record.flag()? {
                    true => KeyKind::Token,
                    false => KeyKind::Api,
                };
                self.table.withdrawn.push_back((fd, kind));
            }
            EndpointRecord::WithdrawnTokenKey => {
                self.table.withdrawn_token_keys.insert(record.u64()?);
            }
            _ => return Err(record.refuse("it is no record of a deadline")),
        }
        Ok(())
    }

    fn take_deadline(&mut self, record: &mut RecordReader<'_>) -> Result<(), HandoverError> {
        let (fd, unix_ms) = (self.last.checked_add(record.u64()?), record.u64()?);
        let fd = fd.ok_or_else(|| record.refuse("no connection has such a name"))?;
        let key = record.optional(|record| {
            let key = self.token_keys.get(record.size()?).copied();
            key.ok_or_else(|| record.refuse("no key of tokens has this place"))
        })?;
        let what = key.map_or(DeadlineFor::Login, DeadlineFor::Token);
        self.table.set(Fd(fd), unix_ms, what);
        self.last = fd;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::auth::WithdrawnKeys;
    use crate::handover::Section;

    fn handed_over(deadlines: &LoginDeadlines) -> SectionWriter {
        let mut section = SectionWriter::new();
        deadlines.hand_over(&mut section);
        section
    }

    fn next_image(deadlines: &LoginDeadlines) -> LoginDeadlines {
        let section = handed_over(deadlines);
        let mut taken = TakenDeadlines::default();
        for record in Section::of("endpoint", 1, section.as_bytes()).records() {
            let mut record = record.unwrap();
            let kind = EndpointRecord::read(&mut record).unwrap();
            taken.take(kind, &mut record).unwrap();
        }
        let next = LoginDeadlines::default();
        next.take_over(taken);
        assert_eq!(handed_over(&next), section);
        next
    }

    #[test]
    fn deadlines_and_keys_are_the_same_in_the_next_image() {
        let deadlines = LoginDeadlines::default();
        deadlines.set(Fd(1), 100, DeadlineFor::Login);
        deadlines.set(Fd(2), 300, DeadlineFor::Token(u64::MAX));
        deadlines.set(Fd(3), 200, DeadlineFor::Token(7));
        deadlines.note_key(Fd(4), "shop".into());
        deadlines.note_unknown_key(Fd(5));
        let next = next_image(&deadlines);
        assert_eq!(next.key_of(Fd(4)).as_deref(), Some("shop"));
        assert!(next.has_unknown_key(Fd(5)) && !next.has_unknown_key(Fd(4)));
        assert_eq!(next.take_late(100), [(Fd(1), DeadlineFor::Login)]);
        let rest = [
            (Fd(3), DeadlineFor::Token(7)),
            (Fd(2), DeadlineFor::Token(u64::MAX)),
        ];
        assert_eq!(next.take_late(300), rest);
        assert_eq!(next_image(&next).take_late(u64::MAX), []);
    }

    #[test]
    fn those_of_a_withdrawn_key_go_in_the_next_image_and_nobody_else() {
        let deadlines = LoginDeadlines::default();
        for fd in 0..120 {
            deadlines.set(Fd(fd), u64::MAX, DeadlineFor::Token(fd % 2));
        }
        deadlines.note_key(Fd(200), "shop".into());
        let withdrawn = WithdrawnKeys {
            api_keys: vec!["shop".into()],
            token_keys: vec![1],
            link_key: false,
        };
        deadlines.withdraw(&withdrawn, || {});
        let mut taken = deadlines.take_withdrawn(1_000);
        let next = next_image(&deadlines);
        // One has logged in anew behind the handover.
        let (renewed, _) = *lock(&next.0).withdrawn.back().unwrap();
        next.set(renewed, u64::MAX, DeadlineFor::Token(2));
        taken.extend(next.take_withdrawn(2_000));
        taken.sort_by_key(|(fd, _)| *fd);
        let odd = (1..120).step_by(2).map(|fd| (Fd(fd), KeyKind::Token));
        let mut all: Vec<_> = odd.chain([(Fd(200), KeyKind::Api)]).collect();
        all.retain(|(fd, _)| *fd != renewed);
        assert_eq!(taken, all);
    }

    #[test]
    fn keys_that_the_next_image_does_not_have_take_their_connections_with_them() {
        let deadlines = LoginDeadlines::default();
        deadlines.set(Fd(1), 100, DeadlineFor::Token(1));
        deadlines.set(Fd(2), 100, DeadlineFor::Token(2));
        deadlines.set(Fd(3), 100, DeadlineFor::Token(2));
        deadlines.set(Fd(4), 100, DeadlineFor::Login);
        deadlines.note_key(Fd(5), "shop".into());
        deadlines.note_key(Fd(6), "ops".into());
        deadlines.note_unknown_key(Fd(7));
        let next = next_image(&deadlines);
        let withdrawn = WithdrawnKeys {
            api_keys: vec!["shop".to_owned()],
            token_keys: vec![2],
            link_key: false,
        };
        next.withdraw(&withdrawn, || {});
        let mut taken = next.take_withdrawn(1_000);
        taken.sort_by_key(|(fd, _)| *fd);
        let token = KeyKind::Token;
        assert_eq!(
            taken,
            [(Fd(2), token), (Fd(3), token), (Fd(5), KeyKind::Api)]
        );
    }
}
