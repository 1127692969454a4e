//! The store that keeps the messages.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use tidings::handover::Handover;
use tidings::server::upgrade::kernel::heeding_signals;
use tidings::store::{Journal, MemoryStore, STORE_FORMAT, Store, StoreError, StoreSettings};

use crate::config::Settings;
use crate::output;

/// A store, and a second descriptor of its lock.
pub(super) type OpenStore = (Box<dyn Store>, Option<OwnedFd>);

/// Goes on with the store of an image of the program before this one, whose lock this process has.
pub(super) fn take_over(
    settings: &Settings,
    lock: Option<OwnedFd>,
    handover: &Handover<'_>,
) -> anyhow::Result<OpenStore> {
    match settings.data() {
        None => Ok((Box::new(in_memory(settings, handover)?), None)),
        Some(_) => open(settings, lock),
    }
}

/// Makes the store in memory that was handed over, or an empty one where there was none.
pub(super) fn in_memory(
    settings: &Settings,
    handover: &Handover<'_>,
) -> anyhow::Result<MemoryStore> {
    Ok(match handover.section(STORE_FORMAT.name) {
        Some(section) => MemoryStore::take_over(&section, settings.store())?,
        None => MemoryStore::new(settings.store()),
    })
}

/// Opens the store that the settings ask for, whose lock this process may have already; makes its folder
/// at the first start, and says so.
pub(super) fn open(settings: &Settings, lock: Option<OwnedFd>) -> anyhow::Result<OpenStore> {
    let Some(directory) = settings.data() else {
        return Ok((Box::new(MemoryStore::new(settings.store())), None));
    };
    let is_new = !directory.exists();
    let (journal, lock) =
        open_journal(settings.store(), lock).with_context(|| cannot_open(&directory))?;
    if is_new {
        output::announce(format_args!(
            "data: made {}, where messages are stored from now on; --data none keeps them in \
             memory only",
            directory.display()
        ));
    }
    Ok((Box::new(journal), lock))
}

/// Opens a journal, whose lock this process may have already, and logs what it has restored and in what
/// time; gives a second descriptor of the lock, too.
pub(super) fn open_journal(
    settings: StoreSettings,
    lock: Option<OwnedFd>,
) -> Result<(Journal, Option<OwnedFd>), StoreError> {
    let began = Instant::now();
    let directory = settings.directory.clone();
    let journal = match lock {
        Some(lock) => Journal::open_with_lock(settings, lock),
        // To read large files takes long, and a start that does so can be ended.
        None => heeding_signals(|| Journal::open(settings)),
    };
    let journal = journal?;
    let totals = journal.reader().totals();
    tracing::info!(
        directory = %directory.display(),
        channels = totals.channels,
        messages = totals.messages,
        bytes = totals.bytes,
        torn_bytes = totals.torn_bytes,
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
