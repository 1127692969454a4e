//! The model of recently used message ids.

use std::collections::VecDeque;

use super::log::At;
use tidings::chat::ChatSettings;

/// Channel, speaker and id.
pub type Same = (String, String, String);

/// The chat has a table a shard; with one shard those are three. With more of them nobody outside
/// can tell which one is full, so the worlds that have a small bound have one shard.
#[derive(Debug, Default)]
pub struct Repeats {
    tables: [Table; 3],
    pub forgotten: u64,
}

type Table = VecDeque<(u64, Same, Option<At>)>;

impl Repeats {
    pub fn len(&self) -> usize {
        self.tables.iter().map(VecDeque::len).sum()
    }

    pub fn find(&mut self, now: u64, same: &Same, settings: &ChatSettings) -> Option<Option<At>> {
        let table = self.table(&same.0);
        forget_old(table, now, settings);
        let known = table.iter().find(|(_, known, _)| known == same);
        known.map(|(.., at)| *at)
    }

    pub fn remember(&mut self, now: u64, same: Same, at: Option<At>, settings: &ChatSettings) {
        if self.len() >= settings.dedup_entries_max {
            self.forgotten += 1;
            if self.table(&same.0).pop_front().is_none() {
                return;
            }
        }
        self.table(&same.0).push_back((now, same, at));
    }

    pub fn forget_old(&mut self, now: u64, settings: &ChatSettings) {
        for table in &mut self.tables {
            forget_old(table, now, settings);
        }
    }

    fn table(&mut self, channel: &str) -> &mut Table {
        match channel.as_bytes()[0] {
            b'@' => &mut self.tables[0],
            b'*' => &mut self.tables[1],
            _ => &mut self.tables[2],
        }
    }
}

fn forget_old(table: &mut Table, now: u64, settings: &ChatSettings) {
    table.retain(|(at, ..)| at + settings.dedup_ms > now);
}
