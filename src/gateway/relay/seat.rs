//! The upstreams as the relay has them: each has a number, which stays while its address does.

use std::sync::Arc;

use crate::gateway::outbox::Outbox;
use crate::gateway::target::Target;

/// The messages that an upstream waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedPage {
    /// The number before the first of them.
    pub(super) after: u64,
    /// The most messages that the upstream takes.
    pub(super) count: usize,
}

/// One upstream.
#[derive(Debug)]
pub(super) struct RelaySeat {
    pub(super) number: usize,
    pub(super) target: Target,
    /// The page that it waits for.
    pub(super) wanted: Option<WantedPage>,
}

/// All upstreams of the present settings.
#[derive(Debug, Default)]
pub(super) struct RelaySeats {
    seats: Vec<RelaySeat>,
    /// The number of the next upstream that comes.
    next: usize,
}

impl RelaySeats {
    /// Goes on with these upstreams: one whose address was among those before keeps its number. What
    /// waits for a page goes on waiting if its link stays, as `keeps_links` says and its key.
    pub(super) fn set(&mut self, targets: &[Target], keeps_links: bool) {
        let before = std::mem::take(&mut self.seats);
        let seat = |target: &Target| {
            let same = before.iter().find(|seat| seat.target.url() == target.url());
            let number = same.map(|seat| seat.number).unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            });
            let wanted = same.filter(|seat| keeps_links && seat.target == *target);
            RelaySeat {
                number,
                target: target.clone(),
                wanted: wanted.and_then(|seat| seat.wanted),
            }
        };
        self.seats = targets.iter().map(seat).collect();
    }

    /// Forgets what the upstreams wait for: the push process is another one.
    pub(super) fn begin_anew(&mut self) {
        for seat in &mut self.seats {
            seat.wanted = None;
        }
    }

    pub(super) fn find(&mut self, number: usize) -> Option<&mut RelaySeat> {
        self.seats.iter_mut().find(|seat| seat.number == number)
    }

    pub(super) fn url_of(&self, number: usize) -> Option<&str> {
        let mut seats = self.seats.iter();
        let seat = seats.find(|seat| seat.number == number)?;
        Some(seat.target.url())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut RelaySeat> {
        self.seats.iter_mut()
    }

    /// Lists the upstreams with their numbers.
    pub(super) fn targets(&self) -> Vec<(usize, Target)> {
        let seats = self.seats.iter();
        seats
            .map(|seat| (seat.number, seat.target.clone()))
            .collect()
    }

    /// Lists their numbers, names, and what they have acknowledged as far as it is written down.
    pub(super) fn acknowledged(&self, outbox: &Outbox) -> Vec<(usize, (Arc<str>, u64))> {
        let upstream = |seat: &RelaySeat| {
            let name: Arc<str> = seat.target.url().into();
            let acked = outbox.acked(&name);
            (seat.number, (name, acked))
        };
        self.seats.iter().map(upstream).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(urls: &[&str], key: &str) -> Vec<Target> {
        let target = |url: &&str| Target::new(&format!("ws://{url}/link"), key).unwrap();
        urls.iter().map(target).collect()
    }

    fn numbers(seats: &RelaySeats) -> Vec<usize> {
        seats.seats.iter().map(|seat| seat.number).collect()
    }

    #[test]
    fn an_upstream_keeps_its_number_and_nobody_gets_the_one_of_another() {
        let mut seats = RelaySeats::default();
        seats.set(&targets(&["a", "b"], "k"), true);
        assert_eq!(numbers(&seats), [0, 1]);
        seats.set(&targets(&["b", "c"], "k"), true);
        assert_eq!(numbers(&seats), [1, 2]);
        seats.set(&targets(&["a", "b"], "other"), true);
        assert_eq!(numbers(&seats), [3, 1], "a was away");
    }

    #[test]
    fn only_a_link_that_stays_goes_on_waiting_for_its_page() {
        let mut seats = RelaySeats::default();
        let wanted = |seats: &mut RelaySeats| seats.find(0).unwrap().wanted.is_some();
        for (key, keeps_links, stays) in [
            ("k", true, true),
            ("other", true, false),
            ("k", false, false),
        ] {
            seats.set(&targets(&["a"], "k"), true);
            seats.find(0).unwrap().wanted = Some(WantedPage { after: 1, count: 1 });
            seats.set(&targets(&["a"], key), keeps_links);
            assert_eq!(wanted(&mut seats), stays, "{key} {keeps_links}");
        }
    }
}
