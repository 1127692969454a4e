//! The store that keeps the messages.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use tidings::handover::{Handover, Section};
use tidings::server::upgrade::kernel::heeding_signals;
use tidings::store::{
    JOURNAL_FORMAT, Journal, MemoryStore, STORE_FORMAT, Store, StoreError, StoreSettings,
};

use crate::config::Settings;
use crate::output;

/// A store, and a second descriptor of its lock.
pub(super) type OpenStore = (Box<dyn Store>, Option<OwnedFd>);

/// What an image of the program has of the journal of the one before it.
#[derive(Debug)]
pub(super) struct KeptJournal<'a> {
    /// The lock.
    pub(super) lock: OwnedFd,
    /// What was written down of it; without that its files are read.
    pub(super) section: Option<Section<'a>>,
}

/// Goes on with the store of an image of the program before this one, whose lock this process has.
pub(super) fn take_over(
    settings: &Settings,
    lock: Option<OwnedFd>,
    handover: &Handover<'_>,
) -> anyhow::Result<OpenStore> {
    let section = handover.section(JOURNAL_FORMAT.name);
    match settings.data() {
        None => Ok((Box::new(in_memory(settings, handover)?), None)),
        Some(_) => open(settings, lock.map(|lock| KeptJournal { lock, section })),
    }
}

/// Makes the store that was handed over, as far as that can be tried without its files: one in memory.
/// `compares` whether its index would be written down as the same.
pub(super) fn rehearsed(
    settings: &Settings,
    handover: &Handover<'_>,
    compares: bool,
) -> anyhow::Result<MemoryStore> {
    Ok(match handover.section(JOURNAL_FORMAT.name) {
        Some(section) => Journal::rehearse(&section, settings.store(), compares)?,
        None => in_memory(settings, handover)?,
    })
}

/// Makes the store in memory that was handed over, or an empty one where there was none.
fn in_memory(settings: &Settings, handover: &Handover<'_>) -> anyhow::Result<MemoryStore> {
    Ok(match handover.section(STORE_FORMAT.name) {
        Some(section) => MemoryStore::take_over(&section, settings.store())?,
        None => MemoryStore::new(settings.store()),
    })
}

/// Opens the store that the settings ask for, or goes on with what was `kept` of it; makes its folder at
/// the first start, and says so.
pub(super) fn open(
    settings: &Settings,
    kept: Option<KeptJournal<'_>>,
) -> anyhow::Result<OpenStore> {
    let Some(directory) = settings.data() else {
        return Ok((Box::new(MemoryStore::new(settings.store())), None));
    };
    let is_new = !directory.exists();
    let (journal, lock) =
        open_journal(settings.store(), kept).with_context(|| cannot_open(&directory))?;
    if is_new {
        output::announce(format_args!(
            "data: made {}, where messages are stored from now on; --data none keeps them in \
             memory only",
            directory.display()
        ));
    }
    Ok((Box::new(journal), lock))
}

/// Opens a journal, or goes on with what was `kept` of it, and logs what it has restored and in what time;
/// gives a second descriptor of the lock, too.
pub(super) fn open_journal(
    settings: StoreSettings,
    kept: Option<KeptJournal<'_>>,
) -> Result<(Journal, Option<OwnedFd>), StoreError> {
    let began = Instant::now();
    let directory = settings.directory.clone();
    let (journal, is_resumed) = match kept {
        Some(kept) => Journal::resume(settings, kept.lock, kept.section.as_ref())?,
        // To read large files takes long, and a start that does so can be ended.
        None => (heeding_signals(|| Journal::open(settings))?, false),
    };
    let totals = journal.reader().totals();
    tracing::info!(
        directory = %directory.display(),
        channels = totals.channels,
        messages = totals.messages,
        bytes = totals.bytes,
        torn_bytes = totals.torn_bytes,
        files_read = !is_resumed,
        ms = began.elapsed().as_millis() as u64,
        "the data is restored"
    );
    let lock = journal.second_lock();
    Ok((journal, lock))
}

fn cannot_open(directory: &Path) -> String {
    format!(
        "can't open the data in {}; --data DIR names another folder, --data none does without",
        directory.display()
    )
}
