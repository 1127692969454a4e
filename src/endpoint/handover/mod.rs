//! The endpoint in a handover: its chat, and what it keeps beside it.
//!
//! Nothing may be carried out meanwhile, and nothing be on its way to the disk: so no callback waits for
//! an answer, and no number of a gateway for its outcome. What is left are deadlines, keys and kicks of
//! connections, replays at their positions, and links with their numbers.
//!
//! How much each client may still ask for is not kept, so somebody may have one burst more.
//!
//! The endpoint that is taken over writes nothing before it begins, which is when its server starts:
//! its threads wait until then, and its clock stands.

pub(super) mod kind;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use super::stored::{ReaderIndex, restored};
use super::{Endpoint, EndpointSettings, ParkedEndpoint, Serials};
use crate::api::auth::Authenticator;
use crate::base::{MetricKind, Tick};
use crate::chat::{CHAT_FORMAT, ChannelKind, Chat, ChatSettings, Restored};
use crate::endpoint::sessions::TakenSessions;
use crate::handover::{
    Handover, HandoverError, HandoverWriter, RecordReader, Section, SectionFormat, SectionWriter,
};
use crate::store::{JOURNAL_FORMAT, Reader, STORE_FORMAT, Store};
use kind::EndpointRecord;

/// The section of the endpoint.
pub const ENDPOINT_FORMAT: SectionFormat = SectionFormat {
    name: "endpoint",
    version: 1,
    oldest_reader: 1,
};

/// Counters of the store that belong to what is read from the files, and begin anew with it.
const COUNTED_ANEW: [&str; 2] = ["trimmed", "repeats_forgotten"];

/// The reason why an endpoint isn't taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeOverError {
    /// A section can't be read.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The system gives no thread.
    #[error("a thread can't be started")]
    Thread(#[source] io::Error),
}

impl Endpoint {
    /// Writes down the chat and the endpoint, while all stands still; and the store, where that ends with
    /// the program.
    pub fn hand_over(&self, handover: &mut HandoverWriter) {
        self.services
            .chat
            .hand_over(handover.section_of(CHAT_FORMAT));
        let section = handover.section_of(ENDPOINT_FORMAT);
        EndpointRecord::Clock.write(section, |record| {
            record.tick(self.services.tick());
            record.u64(self.serials.from);
            record.u64(self.serials.below());
            // Left out where there is none, as programs before this field did.
            if let Some(generation) = self.generation {
                record.u64(generation);
            }
        });
        self.sessions.hand_over(section);
        self.services.replays.hand_over(section);
        self.links.hand_over(section);
        for metric in self.services.reader.totals().described() {
            if metric.kind == MetricKind::Counter && !COUNTED_ANEW.contains(&metric.name) {
                EndpointRecord::count(section, "store", metric.name, metric.value);
            }
        }
        let mut store = SectionWriter::new();
        self.services.reader.hand_over(&mut store);
        if store.size() > 0 {
            let SectionFormat {
                name,
                version,
                oldest_reader,
            } = STORE_FORMAT;
            handover.insert(name, version, oldest_reader, store);
        }
        if let Some(journal) = self.services.disk.take_handed_over() {
            let SectionFormat {
                name,
                version,
                oldest_reader,
            } = JOURNAL_FORMAT;
            handover.insert(name, version, oldest_reader, journal);
        }
    }

    /// Makes the endpoint that was written down, on the store that it had, under settings that may be
    /// others. Its threads wait until its server starts.
    ///
    /// # Errors
    ///
    /// [`TakeOverError`].
    pub fn take_over(
        settings: EndpointSettings,
        chat: ChatSettings,
        access: Box<dyn Authenticator>,
        store: Box<dyn Store>,
        handover: &Handover<'_>,
    ) -> Result<Self, TakeOverError> {
        let chat_section = handover.needed(CHAT_FORMAT.name)?;
        let section = handover.needed(ENDPOINT_FORMAT.name)?;
        Self::take_sections(settings, chat, access, store, (chat_section, section))
    }

    fn take_sections(
        settings: EndpointSettings,
        chat: ChatSettings,
        access: Box<dyn Authenticator>,
        store: Box<dyn Store>,
        (chat_section, section): (Section<'_>, Section<'_>),
    ) -> Result<Self, TakeOverError> {
        let reader = store.reader();
        let index = Arc::new(ReaderIndex(Arc::clone(&reader)));
        let mut chat = Chat::take_over(&chat_section, chat, index)?;
        if let Some(keys) = reader.shared_keys() {
            chat.hash_by(keys);
        }
        bring_to_the_disk(&chat, &*reader);
        section.check(ENDPOINT_FORMAT.version)?;
        let mut records = section.records();
        let first = read_clock(&mut records.needed()?)?;
        let parked = ParkedEndpoint::new(settings, access, store, chat, first);
        let mut sessions = TakenSessions::default();
        for record in records {
            parked.endpoint.take(&mut record?, &mut sessions)?;
        }
        parked.endpoint.sessions.take_over(sessions);
        parked.endpoint.services.replays.resume();
        parked.start_threads().map_err(TakeOverError::Thread)
    }

    fn take(
        &self,
        record: &mut RecordReader<'_>,
        sessions: &mut TakenSessions,
    ) -> Result<(), HandoverError> {
        match EndpointRecord::read(record)? {
            EndpointRecord::Clock => Err(record.refuse("the clock comes once")),
            EndpointRecord::Counter => self.take_counter(record),
            EndpointRecord::Replays => self.services.replays.take(record),
            kind @ (EndpointRecord::Link
            | EndpointRecord::Producer
            | EndpointRecord::LinkRefusal) => self.links.take(kind, record),
            kind @ (EndpointRecord::ShownKey
            | EndpointRecord::TokenKey
            | EndpointRecord::Deadline
            | EndpointRecord::Withdrawn
            | EndpointRecord::WithdrawnTokenKey
            | EndpointRecord::Kicked) => sessions.take(kind, record),
        }
    }

    /// Counts on from a number; one that this program doesn't have is passed over.
    fn take_counter(&self, record: &mut RecordReader<'_>) -> Result<(), HandoverError> {
        let (of, name, count) = (record.text()?, record.text()?, record.u64()?);
        match of {
            "links" => self.links.count_on(name, count),
            "limits" | "refusals" => self.sessions.count_on(of, name, count),
            "replays" => self.services.replays.count_on(name, count),
            "store" => self.services.reader.count_on(name, count),
            _ => {}
        }
        Ok(())
    }
}

fn read_clock(
    record: &mut RecordReader<'_>,
) -> Result<(Serials, Tick, Option<u64>), HandoverError> {
    if EndpointRecord::read(record)? != EndpointRecord::Clock {
        return Err(record.refuse("the clock has to come first"));
    }
    let (tick, from, below) = (record.tick()?, record.u64()?, record.u64()?);
    let generation = record.or(None, |record| record.u64().map(Some))?;
    Ok((Serials::take_over(from, below), tick, generation))
}

/// Has the chat go on where the disk is. Both agree, since all that was stored was delivered before the
/// handover; were it otherwise, the disk is right.
fn bring_to_the_disk(chat: &Chat, reader: &dyn Reader) {
    if chat.is_in_cluster() {
        // What was said meanwhile is read once the bus is heard.
        return;
    }
    reader.each(&mut |known| {
        if let Restored::Channel(channel, newest) = restored(known)
            && chat.settings().kind_of(channel) == ChannelKind::Stored
            && chat.posted(channel) != Some(newest)
        {
            let posted = chat.posted(channel);
            tracing::error!(
                channel,
                ?posted,
                ?newest,
                "the chat and the disk don't agree"
            );
            chat.restore(Restored::Channel(channel, newest));
        }
    });
}
