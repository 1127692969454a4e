//! Writes the records of the chat's section, and gives numbers to what other records speak of.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::kind::RecordKind;
use crate::base::Fd;
use crate::chat::message::KeptMessage;
use crate::chat::name::User;
use crate::chat::rights::Rights;
use crate::handover::{RecordWriter, SectionWriter};

/// The section, and the numbers given so far.
pub(super) struct ChatWriter<'a> {
    section: &'a mut SectionWriter,
    names: HashMap<Arc<str>, usize, RandomState>,
    rights: HashMap<Arc<Rights>, usize, RandomState>,
    /// Those of messages that may stand in a second channel, by their addresses.
    messages: HashMap<*const KeptMessage, usize, RandomState>,
    next_message: usize,
    connections: HashMap<Fd, usize, RandomState>,
}

impl<'a> ChatWriter<'a> {
    pub(super) fn new(section: &'a mut SectionWriter) -> Self {
        Self {
            section,
            names: HashMap::default(),
            rights: HashMap::default(),
            messages: HashMap::default(),
            next_message: 0,
            connections: HashMap::default(),
        }
    }

    pub(super) fn record(&mut self, kind: RecordKind, write: impl FnOnce(&mut RecordWriter<'_>)) {
        self.section.record(|record| {
            record.size(kind as usize);
            write(record);
        });
    }

    /// The number of a room's name, or of that of an inbox.
    pub(super) fn name(&mut self, name: &Arc<str>) -> usize {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.record(RecordKind::Name, |record| record.text(name));
        self.names.insert(Arc::clone(name), number);
        number
    }

    pub(super) fn user(&mut self, user: &User) -> usize {
        self.name(user.inbox())
    }

    pub(super) fn rights(&mut self, rights: &Arc<Rights>) -> usize {
        if let Some(number) = self.rights.get(rights) {
            return *number;
        }
        let number = self.rights.len();
        self.record(RecordKind::Rights, |record| match &**rights {
            Rights::Open => record.u64(RIGHTS_OPEN),
            Rights::Token { rooms } => {
                record.u64(RIGHTS_TOKEN);
                record.list(rooms, |record, room| record.text(room.as_str()));
            }
            Rights::ApiKey { name } => {
                record.u64(RIGHTS_API_KEY);
                record.text(name);
            }
        });
        self.rights.insert(Arc::clone(rights), number);
        number
    }

    pub(super) fn message(&mut self, message: &Arc<KeptMessage>) -> usize {
        let address = Arc::as_ptr(message);
        let may_come_again = Arc::strong_count(message) > 1;
        if may_come_again && let Some(number) = self.messages.get(&address) {
            return *number;
        }
        let from = message.from.as_ref().map(|user| self.user(user));
        let to = message.to.as_ref().map(|user| self.user(user));
        self.record(RecordKind::Message, |record| {
            record.text(message.id());
            record.text(message.data());
            record.optional(from, RecordWriter::size);
            record.optional(to, RecordWriter::size);
            record.u64(message.ts);
        });
        let number = self.next_message;
        self.next_message += 1;
        if may_come_again {
            self.messages.insert(address, number);
        }
        number
    }

    /// Gives a connection the next number.
    pub(super) fn number_connection(&mut self, fd: Fd) {
        self.connections.insert(fd, self.connections.len());
    }

    /// The numbers of connections. One that is nowhere else isn't any.
    pub(super) fn connections(&self, fds: &[Fd]) -> Vec<usize> {
        let numbers = fds.iter().map(|fd| self.connections.get(fd).copied());
        debug_assert!(numbers.clone().all(|number| number.is_some()), "{fds:?}");
        numbers.flatten().collect()
    }
}

/// The numbers of the kinds of rights.
pub(super) const RIGHTS_OPEN: u64 = 0;
pub(super) const RIGHTS_TOKEN: u64 = 1;
pub(super) const RIGHTS_API_KEY: u64 = 2;
