//! Who opened which channel, so that nobody opens more than a share of them.
//!
//! A room counts for the user who opened it until it is gone. The line of a user who never came
//! counts for the one who said the first thing in it, until that user comes or a back end speaks to
//! it. What a back end opened, and a user's own line, is nobody's here. Beside the counts this knows
//! which line goes first: the oldest of whoever opened the most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::name::User;
use crate::base::sync::lock;

/// The channels that users opened, by name and by user.
#[derive(Debug, Default)]
pub(super) struct Openers(Mutex<OpenerTable>);

#[derive(Debug, Default)]
struct OpenerTable {
    opened: HashMap<Arc<str>, OpenedChannel>,
    users: BTreeMap<User, OpenedByUser>,
    /// Those who opened lines, by the number of these.
    by_lines: BTreeSet<(usize, User)>,
    /// The number of the next channel: they are numbered in the order in which they were opened.
    next: u64,
    lines: usize,
}

#[derive(Debug)]
struct OpenedChannel {
    opener: User,
    number: u64,
}

#[derive(Debug, Default)]
struct OpenedByUser {
    rooms: usize,
    /// By their numbers, so that the oldest comes first.
    lines: BTreeMap<u64, Arc<str>>,
}

/// Why a user may not open one more channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenRefusal {
    /// The user's share is used up.
    Share,
    /// There are too many lines of users who never came.
    Lines,
}

/// The kind of a channel that somebody opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenedKind {
    Room,
    /// The line of a user who never came.
    Line,
}

impl OpenedKind {
    /// The kind of a channel by its name.
    pub(super) fn of(channel: &str) -> Self {
        match channel.starts_with('@') {
            true => Self::Line,
            false => Self::Room,
        }
    }
}

impl Openers {
    /// Notes that a user opens a channel.
    ///
    /// # Errors
    ///
    /// [`OpenRefusal`]; the channel must not be made.
    pub(super) fn open(
        &self,
        opener: &User,
        channel: &Arc<str>,
        share_max: usize,
        lines_max: usize,
    ) -> Result<(), OpenRefusal> {
        let mut table = lock(&self.0);
        let own = table.users.get(opener);
        if own.map_or(0, |own| own.rooms + own.lines.len()) >= share_max {
            return Err(OpenRefusal::Share);
        }
        if OpenedKind::of(channel) == OpenedKind::Line && table.lines >= lines_max {
            return Err(OpenRefusal::Lines);
        }
        table.insert(opener, channel);
        Ok(())
    }

    /// Who opened a channel, and the number that it got then.
    pub(super) fn opener_of(&self, channel: &str) -> Option<(User, u64)> {
        let table = lock(&self.0);
        let OpenedChannel { opener, number } = table.opened.get(channel)?;
        Some((opener.clone(), *number))
    }

    /// The number of the next channel.
    pub(super) fn next_number(&self) -> u64 {
        lock(&self.0).next
    }

    /// Brings back all that was opened, with the numbers it had, and goes on behind `next`; `false` if
    /// two have one number, or one has a number that is still to come.
    pub(super) fn take_over(&self, mut opened: Vec<(u64, User, Arc<str>)>, next: u64) -> bool {
        opened.sort_unstable_by_key(|(number, ..)| *number);
        let mut table = lock(&self.0);
        for (number, opener, channel) in opened {
            if number < table.next || number >= next {
                return false;
            }
            table.next = number;
            table.insert(&opener, &channel);
        }
        table.next = next;
        true
    }

    /// Brings back what the disk knows, whatever the bounds are.
    pub(super) fn restore(&self, opener: &User, channel: &Arc<str>) {
        let mut table = lock(&self.0);
        if !table.opened.contains_key(channel) {
            table.insert(opener, channel);
        }
    }

    /// Forgets who opened a channel; gives its kind if anybody had.
    pub(super) fn remove(&self, channel: &str) -> Option<OpenedKind> {
        lock(&self.0).remove(channel)
    }

    /// The lines that go so that no more than `max` are left: the oldest ones of those who opened
    /// the most. At most `count_max` of them.
    pub(super) fn lines_over(&self, max: usize, count_max: usize) -> Vec<Arc<str>> {
        let table = lock(&self.0);
        let over = table.lines.saturating_sub(max).min(count_max);
        let mut rest = over;
        let mut lines = Vec::with_capacity(over);
        // Down to the next one's number, and then both, would be fairer by a few lines only.
        for (count, user) in table.by_lines.iter().rev() {
            if rest == 0 {
                break;
            }
            let fair = table.lines / table.by_lines.len();
            let take = rest.min((count - fair.min(*count)).max(1));
            lines.extend(table.users[user].lines.values().take(take).cloned());
            rest -= take;
        }
        lines
    }
}

impl OpenerTable {
    fn insert(&mut self, opener: &User, channel: &Arc<str>) {
        let number = self.next;
        self.next += 1;
        let own = self.users.entry(opener.clone()).or_default();
        match OpenedKind::of(channel) {
            OpenedKind::Room => own.rooms += 1,
            OpenedKind::Line => {
                let before = own.lines.len();
                own.lines.insert(number, Arc::clone(channel));
                self.lines += 1;
                self.by_lines.remove(&(before, opener.clone()));
                self.by_lines.insert((before + 1, opener.clone()));
            }
        }
        let opener = opener.clone();
        let opened = OpenedChannel { opener, number };
        self.opened.insert(Arc::clone(channel), opened);
    }

    fn remove(&mut self, channel: &str) -> Option<OpenedKind> {
        let OpenedChannel { opener, number } = self.opened.remove(channel)?;
        let kind = OpenedKind::of(channel);
        let own = self.users.get_mut(&opener)?;
        match kind {
            OpenedKind::Room => own.rooms -= 1,
            OpenedKind::Line => {
                let before = own.lines.len();
                own.lines.remove(&number);
                self.lines -= 1;
                self.by_lines.remove(&(before, opener.clone()));
                if before > 1 {
                    self.by_lines.insert((before - 1, opener.clone()));
                }
            }
        }
        if own.rooms == 0 && own.lines.is_empty() {
            self.users.remove(&opener);
        }
        if self.opened.is_empty() {
            *self = Self::default();
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Arc<str> {
        format!("@{number}").into()
    }

    fn open(openers: &Openers, opener: &str, channel: &str) -> Result<(), OpenRefusal> {
        openers.open(&User::new(opener), &channel.into(), 3, 5)
    }

    #[test]
    fn a_share_is_of_rooms_and_lines_together_and_comes_back_when_they_go() {
        let openers = Openers::default();
        for channel in ["tea", "@x", "@y"] {
            assert_eq!(open(&openers, "ann", channel), Ok(()));
        }
        assert_eq!(open(&openers, "ann", "@z"), Err(OpenRefusal::Share));
        assert_eq!(open(&openers, "ann", "lobby"), Err(OpenRefusal::Share));
        assert_eq!(open(&openers, "bob", "@z"), Ok(()));
        assert_eq!(openers.remove("tea"), Some(OpenedKind::Room));
        assert_eq!(openers.remove("tea"), None);
        assert_eq!(open(&openers, "ann", "lobby"), Ok(()));
        assert_eq!(openers.remove("@x"), Some(OpenedKind::Line));
        assert_eq!(open(&openers, "ann", "@w"), Ok(()));
    }

    #[test]
    fn lines_of_all_are_bounded_and_rooms_arent_by_that() {
        let openers = Openers::default();
        for number in 0..5 {
            let opener = format!("u{}", number / 3);
            assert_eq!(open(&openers, &opener, &line(number)), Ok(()));
        }
        assert_eq!(open(&openers, "cid", "@9"), Err(OpenRefusal::Lines));
        assert_eq!(open(&openers, "cid", "tea"), Ok(()));
    }

    #[test]
    fn the_oldest_lines_of_whoever_has_the_most_go_first() {
        let openers = Openers::default();
        let open = |opener: &str, numbers: std::ops::Range<usize>| {
            for number in numbers {
                openers
                    .open(&User::new(opener), &line(number), 100, 100)
                    .unwrap();
            }
        };
        open("bob", 0..2);
        open("mallory", 10..30);
        open("cid", 40..43);
        assert_eq!(openers.lines_over(25, 100), [] as [Arc<str>; 0]);
        assert_eq!(openers.lines_over(20, 100), [10, 11, 12, 13, 14].map(line));
        assert_eq!(openers.lines_over(0, 3), [10, 11, 12].map(line));
        for gone in openers.lines_over(20, 100) {
            openers.remove(&gone);
        }
        assert_eq!(openers.lines_over(19, 100), [15].map(line));
    }

    #[test]
    fn nothing_is_kept_of_those_who_opened_nothing_that_is_there() {
        let openers = Openers::default();
        for number in 0..3 {
            open(&openers, "ann", &line(number)).unwrap();
        }
        for number in 0..3 {
            openers.remove(&line(number));
        }
        let table = lock(&openers.0);
        assert!(table.users.is_empty() && table.by_lines.is_empty() && table.lines == 0);
    }
}
