//! The desk at which an upgrade is asked for, and where the end of the last one lies.

use std::sync::Mutex;

use super::outcome::UpgradeOutcome;
use crate::base::sync::lock;

/// Upgrades that were asked for. While one is under way one more may wait, which is then that of all who
/// ask.
#[derive(Debug, Default)]
pub(in crate::server) struct UpgradeDesk(Mutex<UpgradeDeskState>);

#[derive(Debug, Default)]
struct UpgradeDeskState {
    is_asked: bool,
    is_under_way: bool,
    last: Option<UpgradeOutcome>,
}

impl UpgradeDesk {
    /// Asks for an upgrade.
    pub(in crate::server) fn ask(&self) {
        lock(&self.0).is_asked = true;
    }

    /// Whether one is asked for that hasn't begun.
    pub(in crate::server) fn is_asked(&self) -> bool {
        lock(&self.0).is_asked
    }

    /// Whether one is under way.
    pub(in crate::server) fn is_busy(&self) -> bool {
        lock(&self.0).is_under_way
    }

    /// Begins the upgrade that is asked for, unless one is under way; `false` where there is none.
    pub(in crate::server) fn begin(&self) -> bool {
        let mut state = lock(&self.0);
        let begins = state.is_asked && !state.is_under_way;
        if begins {
            state.is_asked = false;
            state.is_under_way = true;
        }
        begins
    }

    /// Ends the upgrade that is under way, or that an image before this one has begun.
    pub(in crate::server) fn end(&self, how: UpgradeOutcome) {
        let mut state = lock(&self.0);
        state.is_under_way = false;
        state.last = Some(how);
    }

    /// The end of the last upgrade.
    pub(in crate::server) fn last(&self) -> Option<UpgradeOutcome> {
        lock(&self.0).last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_one_is_under_way_one_more_is_remembered() {
        let desk = UpgradeDesk::default();
        assert!(!desk.begin(), "nobody has asked");
        desk.ask();
        assert!(desk.begin());
        desk.ask();
        desk.ask();
        assert!(desk.is_busy() && !desk.begin(), "one at a time");
        let refused = UpgradeOutcome::Refused {
            reason: "so it is".to_owned(),
        };
        desk.end(refused.clone());
        assert_eq!(desk.last(), Some(refused));
        assert!(desk.begin());
        assert!(!desk.is_asked(), "the two were one");
    }
}
