//! The model of recently used message ids.

use super::log::At;
use tidings::chat::ChatSettings;

/// Channel, speaker and id.
pub type Same = (String, String, String);

/// The chat divides a large table into parts, and nobody outside can tell when one of them looks for
/// what is too old; a small one is whole.
#[derive(Debug, Default)]
pub struct Repeats {
    known: Vec<KnownId>,
    pub forgotten: u64,
}

#[derive(Debug)]
struct KnownId {
    at: u64,
    same: Same,
    place: Option<At>,
    sender: Option<String>,
}

impl Repeats {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn find(&mut self, now: u64, same: &Same, settings: &ChatSettings) -> Option<Option<At>> {
        self.forget_old(now, settings);
        let known = self.known.iter().find(|known| known.same == *same);
        known.map(|known| known.place)
    }

    /// Of those who said the most of what is remembered, the one who said the oldest loses that.
    pub fn remember(
        &mut self,
        now: u64,
        same: Same,
        sender: Option<&str>,
        place: Option<At>,
        settings: &ChatSettings,
    ) {
        if self.len() >= settings.dedup_entries_max {
            self.forgotten += 1;
            let count = |of: &KnownId| {
                let its = self.known.iter().filter(|known| known.sender == of.sender);
                its.count()
            };
            let most = self.known.iter().map(count).max();
            let loser = self
                .known
                .iter()
                .position(|known| Some(count(known)) == most);
            self.known.remove(loser.expect("there is one"));
        }
        self.known.push(KnownId {
            at: now,
            same,
            place,
            sender: sender.map(str::to_owned),
        });
    }

    pub fn forget_old(&mut self, now: u64, settings: &ChatSettings) {
        self.known
            .retain(|known| known.at + settings.dedup_ms > now);
    }
}
