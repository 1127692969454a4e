//! The chat in a handover: all that it knows, written down by one image of the program and taken over
//! by the next.
//!
//! The section is a row of records, each with its kind first. A record speaks of names, rights, kept
//! messages and connections by their numbers, in the order in which each was written: so a name stands
//! in the section once, in front of the first record that needs it.
//!
//! Left out is what follows from the rest, such as the gauges. Nobody may call the chat meanwhile, and
//! no message may be on its way to the disk.
//!
//! Settings may be others than before. They come into force as by a reload, once everything is there:
//! what is over a bound that has become smaller goes in its own time. Of remembered ids as many as
//! there are too many are forgotten at once, of whoever has the most.
//!
//! Invariant: what is taken over agrees with itself, or is refused: whoever is in a room has it in the
//! own list, and the other way round.

mod channels;
mod connections;
mod kind;
mod logs;
mod numbered;
mod recent_ids;
mod sources;
mod taken;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use super::Chat;
use super::settings::ChatSettings;
use super::stored_index::StoredIndex;
use crate::base::sync::lock;
use crate::handover::{HandoverError, Section, SectionFormat, SectionWriter};
use taken::TakenChat;
use writer::ChatWriter;

/// The section of the chat.
pub const CHAT_FORMAT: SectionFormat = SectionFormat {
    name: "chat",
    version: 1,
    oldest_reader: 1,
};

impl Chat {
    /// Writes down all that the chat knows; to be called while nobody else calls it.
    pub fn hand_over(&self, section: &mut SectionWriter) {
        let writer = &mut ChatWriter::new(section);
        sources::write(writer, self);
        for part in 0..self.connections.len() {
            connections::write(writer, &self.connections.lock_part(part));
        }
        let openers = &self.common.openers;
        for part in 0..self.inboxes.len() {
            let shard = self.inboxes.lock_part(part);
            for inbox in shard.channels.in_order() {
                channels::write_inbox(writer, openers, inbox);
            }
            channels::write_lasting(writer, &shard.lasting);
        }
        for part in 0..self.rooms.len() {
            for room in self.rooms.lock_part(part).channels.in_order() {
                channels::write_room(writer, openers, room);
            }
        }
        channels::write_everyone(writer, &lock(&self.everyone).log);
        recent_ids::write(writer, &self.recent_ids);
    }

    /// Makes the chat that was written down, under settings that may be others.
    ///
    /// # Errors
    ///
    /// The section is one that this program can't read, or contradicts itself.
    pub fn take_over(
        section: &Section<'_>,
        settings: ChatSettings,
        stored: Arc<dyn StoredIndex>,
    ) -> Result<Self, HandoverError> {
        section.check(CHAT_FORMAT.version)?;
        let mut records = section.records();
        let mut first = records.needed()?;
        let sources = sources::Sources::read(&mut first)?;
        let mut taken = TakenChat::new(sources.begin(settings.clone(), stored));
        for record in records {
            taken.take(&mut record?)?;
        }
        let chat = taken.finish(&first, &sources)?;
        chat.set_settings(&settings);
        Ok(chat)
    }
}
