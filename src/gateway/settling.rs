//! How far each upstream is, as a pure value: what to write down, and what may go.
//!
//! An upstream's refusal settles a message as an acknowledgement does, but only once the dead
//! letter is on disk: until then its mark stays before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Its URL, which is its name as a reader of the outbox.
    pub(super) name: Arc<str>,
    /// It has settled everything up to here.
    settled: u64,
    /// The mark that was given to the disk.
    given: u64,
    /// Refused, and not on disk yet: why.
    unburied: BTreeMap<u64, String>,
    /// Refused and on disk, behind the mark.
    buried: BTreeSet<u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Settling {
    upstreams: Vec<Upstream>,
    /// Everything up to here was let go.
    trimmed: u64,
}

impl Settling {
    /// Names of the upstreams with what they have settled; everything up to `floor` is gone.
    pub(super) fn new(upstreams: impl IntoIterator<Item = (Arc<str>, u64)>, floor: u64) -> Self {
        let upstreams = upstreams.into_iter().map(|(name, settled)| Upstream {
            name,
            settled,
            given: settled,
            unburied: BTreeMap::new(),
            buried: BTreeSet::new(),
        });
        Self {
            upstreams: upstreams.collect(),
            trimmed: floor,
        }
    }

    pub(super) fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// An upstream has everything up to `n`.
    pub(super) fn settle(&mut self, upstream: usize, n: u64) {
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.settled = upstream.settled.max(n);
        }
    }

    /// An upstream refused `n` for good; whether that is news.
    pub(super) fn refuse(&mut self, upstream: usize, n: u64, code: &str) -> bool {
        let Some(upstream) = self.upstreams.get_mut(upstream) else {
            return false;
        };
        let is_known = upstream.unburied.contains_key(&n) || upstream.buried.contains(&n);
        let is_news = n > upstream.mark() && !is_known;
        if is_news {
            upstream.unburied.insert(n, code.to_owned());
        }
        is_news
    }

    /// The dead letter of `n` is on disk.
    pub(super) fn buried(&mut self, upstream: usize, n: u64) {
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.unburied.remove(&n);
            upstream.buried.insert(n);
        }
    }

    /// Why `n` was refused, while its dead letter isn't on disk.
    pub(super) fn unburied(&self, upstream: usize, n: u64) -> Option<&str> {
        Some(self.upstreams.get(upstream)?.unburied.get(&n)?)
    }

    /// Marks that have to be written down, each once.
    pub(super) fn marks_to_give(&mut self) -> Vec<(Arc<str>, u64)> {
        let mut marks = Vec::new();
        for upstream in &mut self.upstreams {
            let mark = upstream.mark();
            upstream.buried = upstream.buried.split_off(&(mark + 1));
            if mark > upstream.given {
                upstream.given = mark;
                marks.push((Arc::clone(&upstream.name), mark));
            }
        }
        marks
    }

    /// What all have settled and may go, once; those marks have to be given before.
    pub(super) fn trim_to_give(&mut self) -> Option<u64> {
        let through = self.upstreams.iter().map(|upstream| upstream.given).min()?;
        let is_news = through > self.trimmed;
        self.trimmed = self.trimmed.max(through);
        is_news.then_some(through)
    }

    /// The disk didn't take what was given: all of it is to be given again.
    pub(super) fn give_again(&mut self, floor: u64) {
        for upstream in &mut self.upstreams {
            upstream.given = floor;
        }
        self.trimmed = floor;
    }
}

impl Upstream {
    /// Everything up to here is settled for good.
    pub(super) fn mark(&self) -> u64 {
        match self.unburied.first_key_value() {
            Some((n, _)) => self.settled.min(n - 1),
            None => self.settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settling(settled: &[u64], floor: u64) -> Settling {
        let names = ["a", "b", "c"].map(Arc::from);
        Settling::new(names.into_iter().zip(settled.iter().copied()), floor)
    }

    fn marks(settling: &mut Settling) -> Vec<(String, u64)> {
        let marks = settling.marks_to_give().into_iter();
        marks.map(|(name, mark)| (name.to_string(), mark)).collect()
    }

    #[test]
    fn only_what_all_have_settled_goes_and_one_doesnt_hold_up_the_others() {
        let mut settling = settling(&[0, 0], 0);
        settling.settle(0, 5);
        assert_eq!(marks(&mut settling), [("a".into(), 5)]);
        assert_eq!(settling.trim_to_give(), None, "b has nothing yet");
        settling.settle(1, 3);
        assert_eq!(marks(&mut settling), [("b".into(), 3)]);
        assert_eq!(settling.trim_to_give(), Some(3));
        settling.settle(0, 4);
        assert_eq!(marks(&mut settling), [], "an older one changes nothing");
        assert_eq!(settling.trim_to_give(), None, "said once");
    }

    #[test]
    fn whoever_left_the_settings_holds_nothing_back() {
        let mut settling = settling(&[7], 2);
        assert_eq!(settling.trim_to_give(), Some(7));
    }

    #[test]
    fn a_refused_message_is_settled_once_its_dead_letter_is_on_disk() {
        let mut settling = settling(&[0], 0);
        assert!(settling.refuse(0, 2, "bad_request"));
        assert!(!settling.refuse(0, 2, "bad_request"), "no news");
        settling.settle(0, 4);
        assert_eq!(marks(&mut settling), [("a".into(), 1)]);
        assert_eq!(settling.unburied(0, 2), Some("bad_request"));
        settling.buried(0, 2);
        assert_eq!(marks(&mut settling), [("a".into(), 4)]);
        assert!(!settling.refuse(0, 2, "bad_request"), "it is settled");
    }

    #[test]
    fn a_refusal_that_is_told_again_has_one_dead_letter() {
        let mut settling = settling(&[0], 0);
        assert!(settling.refuse(0, 2, "bad_request") && settling.refuse(0, 3, "bad_request"));
        settling.buried(0, 3);
        assert!(
            !settling.refuse(0, 3, "bad_request"),
            "2 is still before it"
        );
        settling.settle(0, 3);
        settling.buried(0, 2);
        assert_eq!(marks(&mut settling), [("a".into(), 3)]);
        assert!(settling.upstreams()[0].buried.is_empty());
    }

    #[test]
    fn what_the_disk_refused_is_given_again() {
        let mut settling = settling(&[0], 0);
        settling.settle(0, 4);
        assert_eq!(marks(&mut settling), [("a".into(), 4)]);
        assert_eq!(settling.trim_to_give(), Some(4));
        settling.give_again(0);
        assert_eq!(marks(&mut settling), [("a".into(), 4)]);
        assert_eq!(settling.trim_to_give(), Some(4));
    }

    #[test]
    fn nobody_knows_an_upstream_that_isnt_there() {
        let mut settling = settling(&[0], 0);
        settling.settle(9, 4);
        settling.buried(9, 4);
        assert!(!settling.refuse(9, 4, "x"));
        assert_eq!(
            (marks(&mut settling), settling.unburied(9, 4)),
            (vec![], None)
        );
    }
}
