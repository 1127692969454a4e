//! The store that keeps the messages.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use tidings::store::{Journal, MemoryStore, Store, StoreError, StoreSettings};

use crate::config::Settings;
use crate::output;

/// Opens the store that the settings ask for; makes its folder at the first start, and says so.
pub(super) fn open(settings: &Settings) -> anyhow::Result<Box<dyn Store>> {
    let Some(directory) = settings.data() else {
        return Ok(Box::new(MemoryStore::new(settings.store())));
    };
    let is_new = !directory.exists();
    let journal = open_journal(settings.store()).with_context(|| cannot_open(&directory))?;
    if is_new {
        output::announce(format_args!(
            "data: made {}, where messages are stored from now on; --data none keeps them in \
             memory only",
            directory.display()
        ));
    }
    Ok(Box::new(journal))
}

/// Opens a journal, and logs what it has restored and in what time.
pub(super) fn open_journal(settings: StoreSettings) -> Result<Journal, StoreError> {
    let began = Instant::now();
    let directory = settings.directory.clone();
    let journal = Journal::open(settings)?;
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
    Ok(journal)
}

fn cannot_open(directory: &Path) -> String {
    format!(
        "can't open the data in {}; --data DIR names another folder, --data none does without",
        directory.display()
    )
}
