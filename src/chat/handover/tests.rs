//! Sections that contradict themselves are refused, each with its reason.

use super::*;
use crate::chat::stored_index::NothingStored;
use crate::handover::RecordWriter;
use kind::RecordKind;

/// A connection of ann in the room tea, and what the records say of it.
#[derive(Clone, Copy)]
struct Told {
    /// The rooms that the connection has in its list.
    own_rooms: &'static [usize],
    /// The inboxes, by the numbers of their users, each with its connections.
    inboxes: &'static [(usize, &'static [usize])],
    /// The connections in the room, by the numbers of their users.
    members: &'static [(usize, &'static [usize])],
    is_leaving: bool,
    lasting_in_room: bool,
    lasting_of: &'static [&'static [usize]],
    /// The numbers of the channels that were opened.
    opened: [u64; 2],
    next_opened: u64,
    newest: u64,
    rooms: usize,
}

const ANN: usize = 0;
const BOB: usize = 1;
const TEA: usize = 2;

const RIGHT: Told = Told {
    own_rooms: &[TEA],
    inboxes: &[(ANN, &[0]), (BOB, &[])],
    members: &[(ANN, &[0])],
    is_leaving: false,
    lasting_in_room: true,
    lasting_of: &[&[TEA]],
    opened: [4, 2],
    next_opened: 5,
    newest: 1,
    rooms: 1,
};

impl Told {
    fn section(&self) -> SectionWriter {
        let mut section = SectionWriter::new();
        let mut write = |kind: RecordKind, write: &dyn Fn(&mut RecordWriter<'_>)| {
            section.record(|record| {
                record.size(kind as usize);
                write(record);
            });
        };
        write(RecordKind::Sources, &|record| {
            for field in [1, 2, 3, 4, 0, self.next_opened, 16, 9, 9, 9, 999, 999] {
                record.u64(field);
            }
        });
        for name in ["@ann", "@bob", "tea"] {
            write(RecordKind::Name, &|record| record.text(name));
        }
        write(RecordKind::Rights, &|record| record.u64(0));
        write(RecordKind::Message, &|record| {
            record.text("id");
            record.text("1");
            record.optional(Some(ANN), RecordWriter::size);
            record.optional(None, RecordWriter::size);
            record.u64(0);
        });
        write(RecordKind::Connection, &|record| {
            record.u64(64);
            record.flag(true);
            record.size(ANN);
            record.size(0);
            record.list(self.own_rooms, |record, room| record.size(*room));
        });
        for (user, connections) in self.inboxes {
            write(RecordKind::Inbox, &|record| {
                record.size(*user);
                self.write_log(record, self.opened[0], *user == BOB);
                record.list(*connections, |record, number| record.size(*number));
                record.optional(None, RecordWriter::tick);
            });
        }
        for rooms in self.lasting_of {
            write(RecordKind::Lasting, &|record| {
                record.size(ANN);
                record.list(*rooms, |record, room| record.size(*room));
            });
        }
        for _ in 0..self.rooms {
            write(RecordKind::Room, &|record| {
                record.size(TEA);
                self.write_log(record, self.opened[1], true);
                record.optional(None, RecordWriter::tick);
                record.flag(false);
                record.list(self.members, |record, (user, connections)| {
                    record.size(*user);
                    record.list(*connections, |record, number| record.size(*number));
                    let leaving = self.is_leaving.then_some(crate::base::Tick(1));
                    record.optional(leaving, RecordWriter::tick);
                    record.flag(self.lasting_in_room);
                });
            });
        }
        section
    }

    fn write_log(&self, record: &mut RecordWriter<'_>, opened: u64, is_opened: bool) {
        record.u64(9);
        record.optional(None, RecordWriter::tick);
        record.optional(is_opened.then_some(opened), |record, number| {
            record.size(ANN);
            record.u64(number);
        });
        record.flag(true);
        record.u64(self.newest);
        record.list([0], |record, message| {
            record.u64(1);
            record.size(message);
        });
        record.list([0_u64; 0], |_, _| {});
    }

    fn taken(&self) -> Result<Chat, String> {
        let section = self.section();
        let section = Section::of(CHAT_FORMAT.name, CHAT_FORMAT.version, section.as_bytes());
        let stored = Arc::new(NothingStored);
        let taken = Chat::take_over(&section, ChatSettings::default(), stored);
        taken.map_err(|error| error.to_string())
    }
}

#[test]
fn what_agrees_is_taken_over() {
    let stats = RIGHT.taken().unwrap().stats();
    assert_eq!((stats.logged_in, stats.users, stats.memberships), (1, 1, 1));
    assert_eq!((stats.inboxes, stats.rooms, stats.lasting), (2, 1, 1));
    assert_eq!((stats.channels, stats.unclaimed_lines), (2, 1));
}

#[test]
fn what_contradicts_itself_is_refused_with_its_reason() {
    let foreign_inbox = "a connection is in an inbox that isn't its own";
    let foreign_room = "a connection is in a room that it doesn't know";
    let apart = "connections and rooms don't agree";
    let lasting = "rooms and their lasting members don't agree";
    let wrong = |told: Told, reason: &str| {
        let refused = told.taken().map(drop).unwrap_err();
        assert!(refused.ends_with(reason), "{refused}, not {reason}");
    };
    let with = |change: fn(&mut Told)| {
        let mut told = RIGHT;
        change(&mut told);
        told
    };
    wrong(with(|told| told.inboxes = &[(BOB, &[0])]), foreign_inbox);
    wrong(with(|told| told.inboxes = &[(ANN, &[0, 0])]), foreign_inbox);
    wrong(
        with(|told| told.inboxes = &[(ANN, &[0]), (ANN, &[])]),
        "the user has two inboxes",
    );
    wrong(with(|told| told.own_rooms = &[]), foreign_room);
    wrong(with(|told| told.members = &[(BOB, &[0])]), foreign_room);
    wrong(with(|told| told.members = &[(ANN, &[0, 0])]), foreign_room);
    wrong(with(|told| told.members = &[(ANN, &[])]), apart);
    wrong(with(|told| told.own_rooms = &[TEA, TEA]), apart);
    wrong(
        with(|told| told.is_leaving = true),
        "a member is here and has left",
    );
    wrong(
        with(|told| told.members = &[(ANN, &[0]), (ANN, &[])]),
        "a member is none, or is it twice",
    );
    wrong(
        with(|told| {
            told.members = &[(BOB, &[])];
            told.lasting_in_room = false;
        }),
        "a member is none, or is it twice",
    );
    wrong(with(|told| told.lasting_in_room = false), lasting);
    wrong(with(|told| told.lasting_of = &[]), lasting);
    wrong(with(|told| told.lasting_of = &[&[TEA, TEA]]), lasting);
    wrong(with(|told| told.lasting_of = &[&[TEA], &[]]), lasting);
    wrong(
        with(|told| told.opened = [2, 2]),
        "two channels were opened as one",
    );
    wrong(
        with(|told| told.next_opened = 4),
        "two channels were opened as one",
    );
    wrong(
        with(|told| told.newest = 0),
        "it keeps more messages than there were",
    );
    wrong(with(|told| told.rooms = 2), "two rooms have one name");
}
