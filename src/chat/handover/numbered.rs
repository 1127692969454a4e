//! What the records so far have given numbers to.

use std::sync::Arc;

use super::writer::{RIGHTS_API_KEY, RIGHTS_OPEN, RIGHTS_TOKEN};
use crate::base::MessageBody;
use crate::chat::message::KeptMessage;
use crate::chat::name::User;
use crate::chat::pattern::Pattern;
use crate::chat::rights::Rights;
use crate::handover::{HandoverError, RecordReader};

/// Names, rights and messages in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Numbered {
    names: Vec<Arc<str>>,
    rights: Vec<Arc<Rights>>,
    messages: Vec<Arc<KeptMessage>>,
}

impl Numbered {
    /// Takes a record that gives a name the next number.
    pub(super) fn take_name(&mut self, record: &mut RecordReader<'_>) -> Result<(), HandoverError> {
        self.names.push(record.text()?.into());
        Ok(())
    }

    /// Takes a record that gives rights the next number.
    pub(super) fn take_rights(
        &mut self,
        record: &mut RecordReader<'_>,
    ) -> Result<(), HandoverError> {
        let rights = match record.u64()? {
            RIGHTS_OPEN => Rights::Open,
            RIGHTS_TOKEN => Rights::Token {
                rooms: (record.list(|record| Ok(Pattern::new(record.text()?))))?.into(),
            },
            RIGHTS_API_KEY => Rights::ApiKey {
                name: record.text()?.into(),
            },
            _ => return Err(record.refuse("there are no such rights")),
        };
        self.rights.push(Arc::new(rights));
        Ok(())
    }

    /// Takes a record that gives a message the next number.
    pub(super) fn take_message(
        &mut self,
        record: &mut RecordReader<'_>,
    ) -> Result<(), HandoverError> {
        let (id, data) = (record.text()?, record.text()?);
        let from = record.optional(|record| self.user(record))?;
        let to = record.optional(|record| self.user(record))?;
        let body = MessageBody {
            id,
            from: None,
            to: None,
            ts: record.u64()?,
            data,
        };
        let message = KeptMessage::new(&body, from, to);
        self.messages.push(Arc::new(message));
        Ok(())
    }

    /// Reads the number of a name.
    pub(super) fn name(&self, record: &mut RecordReader<'_>) -> Result<Arc<str>, HandoverError> {
        find(&self.names, record, "no name has this number")
    }

    /// Reads the number of a room's name.
    pub(super) fn room(&self, record: &mut RecordReader<'_>) -> Result<Arc<str>, HandoverError> {
        let name = self.name(record)?;
        match name.starts_with(['@', '*']) {
            true => Err(record.refuse("no room has such a name")),
            false => Ok(name),
        }
    }

    /// Reads the number of a user's name.
    pub(super) fn user(&self, record: &mut RecordReader<'_>) -> Result<User, HandoverError> {
        let user = User::of_inbox(self.name(record)?);
        user.ok_or_else(|| record.refuse("the name is no user's"))
    }

    pub(super) fn rights(
        &self,
        record: &mut RecordReader<'_>,
    ) -> Result<Arc<Rights>, HandoverError> {
        find(&self.rights, record, "no rights have this number")
    }

    pub(super) fn message(
        &self,
        record: &mut RecordReader<'_>,
    ) -> Result<Arc<KeptMessage>, HandoverError> {
        find(&self.messages, record, "no message has this number")
    }
}

fn find<T: ?Sized>(
    known: &[Arc<T>],
    record: &mut RecordReader<'_>,
    otherwise: &'static str,
) -> Result<Arc<T>, HandoverError> {
    let number = record.size()?;
    let found = known.get(number).map(Arc::clone);
    found.ok_or_else(|| record.refuse(otherwise))
}
