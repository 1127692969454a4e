//! Where the messages are kept.

use std::path::Path;

use anyhow::Context;
use tidings::store::{Journal, MemoryStore, Store};

use crate::config::Settings;

/// Opens the store that the settings ask for; makes its folder at the first start, and says so.
pub(super) fn open(settings: &Settings) -> anyhow::Result<Box<dyn Store>> {
    let Some(directory) = settings.data() else {
        return Ok(Box::new(MemoryStore::new(settings.store())));
    };
    let is_new = !directory.exists();
    let journal = Journal::open(settings.store()).with_context(|| cannot_open(&directory))?;
    if is_new {
        println!(
            "data: made {}, where messages are stored from now on; --data none keeps them in \
             memory only",
            directory.display()
        );
    }
    Ok(Box::new(journal))
}

fn cannot_open(directory: &Path) -> String {
    format!(
        "can't open the data in {}; --data DIR names another folder, --data none does without",
        directory.display()
    )
}
