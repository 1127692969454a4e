//! How much one client may ask for: commands of a user, requests of an API key.
//!
//! Without a limit nothing is kept and nothing is locked. With one, a bucket exists only for whom
//! it isn't full: who says nothing costs nothing. A bucket belongs to somebody and not to a
//! connection, so that coming again gives nothing new.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use foldhash::fast::RandomState;

use super::rate::{Bucket, ChangingRate, Rate};
use super::refusal::Refusal;
use crate::base::sync::lock;
use crate::base::{AddressBlock, Metric};
use crate::chat::ErrorCode;

/// Parts of the table, each with a lock: twice as many as workers usually are.
const PARTS: usize = 16;

/// Buckets of one part that a look at what is due goes through: 40 microseconds' work under its lock,
/// and half a millisecond for all parts. With ten looks a second, 64,000 buckets a second are dropped.
const LOOKED_AT_MAX: usize = 400;

/// How much is let through; 0 a second is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Commands a second of one user, on all connections without an API key together; before the
    /// login, of one address. One more gets `rate_limited`.
    pub commands_per_s_max: u64,
    /// Commands of one user at once.
    pub commands_burst_max: u64,
    /// Requests a second of one API key, or where none is asked for, of one address; one more gets
    /// 429. A message to each of several, or of a batch, counts as one.
    pub requests_per_s_max: u64,
    /// Requests of one API key at once.
    pub requests_burst_max: u64,
    /// Users, addresses and keys that asked lately, at the most; one more, and the one whose
    /// bucket is the next to be full is forgotten, and counted. Default 1,000,000, of some 60 bytes
    /// each.
    pub askers_max: usize,
}

impl LimitSettings {
    fn commands(self) -> Option<Rate> {
        Rate::new(self.commands_per_s_max, self.commands_burst_max)
    }

    fn requests(self) -> Option<Rate> {
        Rate::new(self.requests_per_s_max, self.requests_burst_max)
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            commands_per_s_max: 0,
            commands_burst_max: 100,
            requests_per_s_max: 0,
            requests_burst_max: 1_000,
            askers_max: 1_000_000,
        }
    }
}

/// Whose commands or requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asker<'a> {
    /// A user, whichever the connection.
    User(&'a str),
    /// The logins of a user, on new connections.
    Login(&'a str),
    /// An API key, by its name.
    Key(&'a str),
    /// Whoever comes from there and has shown neither a token nor a key.
    Address(AddressBlock),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum LimitKind {
    Commands,
    Requests,
}

/// Whether a command may be carried out.
#[derive(Debug)]
pub(crate) enum LimitVerdict {
    Within,
    Over(Refusal),
    /// Repeated violations: close the connection without answering.
    FarOver,
}

/// The buckets of those who asked for something lately.
#[derive(Debug)]
pub(crate) struct RateLimits {
    commands: ChangingRate,
    requests: ChangingRate,
    settings: Mutex<LimitSettings>,
    /// Servers that share what is let through of a key.
    nodes: AtomicUsize,
    askers_max: AtomicUsize,
    /// Random, so that nobody can choose a name that shares another one's bucket.
    hash: RandomState,
    parts: [Mutex<BusyAskers>; PARTS],
    count: AtomicUsize,
    forgotten: AtomicU64,
    commands_refused: AtomicU64,
    requests_refused: AtomicU64,
    connections_closed: AtomicU64,
}

/// The buckets of one part, by the hash of their askers.
#[derive(Debug, Default)]
struct BusyAskers {
    buckets: HashMap<u64, AskerBuckets, foldhash::fast::FixedState>,
    /// Each of them once, by a time before which it isn't full.
    due: BinaryHeap<Reverse<(u64, u64)>>,
}

/// The buckets of somebody who isn't quiet.
#[derive(Debug, Default)]
struct AskerBuckets {
    taken: Bucket,
    /// Refusals are let through at the same rate: who sends more than twice as much goes.
    refusals: Bucket,
}

impl AskerBuckets {
    fn full_at_ms(&self) -> u64 {
        self.taken.full_at_ms().max(self.refusals.full_at_ms())
    }
}

impl BusyAskers {
    /// Removes the next one if it is full by now; `None` when nothing is due.
    fn look_at_next(&mut self, now_ms: u64) -> Option<Looked> {
        let Reverse((due_ms, _)) = *self.due.peek()?;
        if due_ms > now_ms {
            return None;
        }
        let Reverse((_, asker)) = self.due.pop()?;
        let full_at_ms = self.buckets.get(&asker)?.full_at_ms();
        if full_at_ms > now_ms {
            self.due.push(Reverse((full_at_ms, asker)));
            return Some(Looked::Stays);
        }
        self.buckets.remove(&asker);
        Some(Looked::Gone)
    }

    /// Removes the one that is the next to be full, or nearly so; whether there was one.
    fn forget_next(&mut self) -> bool {
        // A time in the heap may be out of date: of a few the first that is right goes.
        for _ in 0..8 {
            let Some(Reverse((due_ms, asker))) = self.due.pop() else {
                return false;
            };
            let full_at_ms = self.buckets.get(&asker).map_or(0, AskerBuckets::full_at_ms);
            if full_at_ms <= due_ms {
                self.buckets.remove(&asker);
                return true;
            }
            self.due.push(Reverse((full_at_ms, asker)));
        }
        let next = self.due.pop();
        next.is_some_and(|Reverse((_, asker))| self.buckets.remove(&asker).is_some())
    }
}

/// What became of a bucket that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Gone,
    Stays,
}

impl RateLimits {
    pub(crate) fn new(settings: LimitSettings) -> Self {
        Self {
            commands: ChangingRate::new(settings.commands()),
            requests: ChangingRate::new(settings.requests()),
            settings: Mutex::new(settings),
            nodes: AtomicUsize::new(1),
            askers_max: AtomicUsize::new(settings.askers_max),
            hash: RandomState::default(),
            parts: Default::default(),
            count: AtomicUsize::new(0),
            forgotten: AtomicU64::new(0),
            commands_refused: AtomicU64::new(0),
            requests_refused: AtomicU64::new(0),
            connections_closed: AtomicU64::new(0),
        }
    }

    /// Changes the limits; who has used up the old ones waits as long as before.
    pub(crate) fn set(&self, settings: LimitSettings) {
        self.commands.set(settings.commands());
        *lock(&self.settings) = settings;
        self.requests.set(self.share(settings).requests());
        self.askers_max.store(settings.askers_max, Relaxed);
    }

    /// Shares what is let through of a key evenly among the nodes of a cluster, of which each is asked its
    /// part; at least one request a second stays.
    pub(crate) fn share_among(&self, nodes: usize) {
        if self.nodes.swap(nodes.max(1), Relaxed) != nodes.max(1) {
            let settings = *lock(&self.settings);
            self.requests.set(self.share(settings).requests());
        }
    }

    fn share(&self, settings: LimitSettings) -> LimitSettings {
        let nodes = self.nodes.load(Relaxed) as u64;
        let share = |limit: u64| match limit {
            0 => 0,
            limit => (limit / nodes).max(1),
        };
        LimitSettings {
            requests_per_s_max: share(settings.requests_per_s_max),
            requests_burst_max: share(settings.requests_burst_max),
            ..settings
        }
    }

    /// Whether any limit is set.
    pub(crate) fn are_any(&self) -> bool {
        self.commands.get().is_some() || self.requests.get().is_some()
    }

    /// Counts a command.
    pub(crate) fn command(&self, now_ms: u64, asker: Asker<'_>) -> LimitVerdict {
        let Some(rate) = self.commands.get() else {
            return LimitVerdict::Within;
        };
        self.with_buckets(LimitKind::Commands, asker, |own| {
            let Err(wait_ms) = own.taken.take(now_ms, rate) else {
                return LimitVerdict::Within;
            };
            self.commands_refused.fetch_add(1, Relaxed);
            if own.refusals.take(now_ms, rate).is_ok() {
                return LimitVerdict::Over(refusal("commands", wait_ms));
            }
            self.connections_closed.fetch_add(1, Relaxed);
            LimitVerdict::FarOver
        })
    }

    /// Counts a request.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::RateLimited`]; the request must not be carried out.
    pub(crate) fn request(&self, now_ms: u64, asker: Asker<'_>) -> Result<(), Refusal> {
        let Some(rate) = self.requests.get() else {
            return Ok(());
        };
        let taken = self.with_buckets(LimitKind::Requests, asker, |own| {
            own.taken.take(now_ms, rate)
        });
        taken.map_err(|wait_ms| {
            self.requests_refused.fetch_add(1, Relaxed);
            refusal("requests", wait_ms)
        })
    }

    /// Counts a request of a user by HTTP, who has the rate of commands.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::RateLimited`]; the request must not be carried out.
    pub(crate) fn user_request(&self, now_ms: u64, uid: &str) -> Result<(), Refusal> {
        let Some(rate) = self.commands.get() else {
            return Ok(());
        };
        let taken = self.with_buckets(LimitKind::Commands, Asker::User(uid), |own| {
            own.taken.take(now_ms, rate)
        });
        taken.map_err(|wait_ms| {
            self.requests_refused.fetch_add(1, Relaxed);
            refusal("requests", wait_ms)
        })
    }

    /// Counts a request of a user, which was counted as one, as `more` besides.
    pub(crate) fn user_request_was(&self, now_ms: u64, uid: &str, more: usize) {
        if let Some(rate) = self.commands.get()
            && more > 0
        {
            self.with_buckets(LimitKind::Commands, Asker::User(uid), |own| {
                own.taken.owe(now_ms, rate, more as u64);
            });
        }
    }

    /// Counts a request, which was counted as one, as `more` besides.
    pub(crate) fn request_was(&self, now_ms: u64, asker: Asker<'_>, more: usize) {
        if let Some(rate) = self.requests.get()
            && more > 0
        {
            self.with_buckets(LimitKind::Requests, asker, |own| {
                own.taken.owe(now_ms, rate, more as u64);
            });
        }
    }

    /// Drops buckets that are full, so many at a time.
    pub(crate) fn expire(&self, now_ms: u64) {
        if !self.are_any() {
            return;
        }
        for part in &self.parts {
            let mut askers = lock(part);
            let looked_at = std::iter::from_fn(|| askers.look_at_next(now_ms)).take(LOOKED_AT_MAX);
            let gone = looked_at.filter(|looked| *looked == Looked::Gone).count();
            self.count.fetch_sub(gone, Relaxed);
            if gone > 0 && askers.buckets.is_empty() {
                *askers = BusyAskers::default();
            }
        }
    }

    /// Describes how many were refused.
    pub(crate) fn described(&self) -> [Metric; 5] {
        let counter =
            |name, help, value: &AtomicU64| Metric::counter(name, help, value.load(Relaxed));
        [
            counter(
                "commands_refused",
                "Commands of WebSockets refused for coming too fast.",
                &self.commands_refused,
            ),
            counter(
                "requests_refused",
                "Requests refused for coming too fast.",
                &self.requests_refused,
            ),
            counter(
                "connections_closed",
                "WebSockets closed with 4009.",
                &self.connections_closed,
            ),
            Metric::gauge(
                "askers",
                "Users, addresses and keys that asked lately, against askers_max.",
                self.count.load(Relaxed) as u64,
            ),
            counter(
                "askers_forgotten",
                "Those that were forgotten early, since there were too many.",
                &self.forgotten,
            ),
        ]
    }

    /// Counts on from a number of an earlier image, as [`RateLimits::described`] names it; one that isn't
    /// there any more is passed over.
    pub(crate) fn count_on(&self, name: &str, from: u64) {
        let count = match name {
            "commands_refused" => &self.commands_refused,
            "requests_refused" => &self.requests_refused,
            "connections_closed" => &self.connections_closed,
            "askers_forgotten" => &self.forgotten,
            _ => return,
        };
        count.fetch_add(from, Relaxed);
    }

    /// The buckets of an asker for commands or for requests: an address may ask for both.
    fn with_buckets<T>(
        &self,
        kind: LimitKind,
        asker: Asker<'_>,
        then: impl FnOnce(&mut AskerBuckets) -> T,
    ) -> T {
        let asker = self.hash.hash_one((kind, asker));
        let mut askers = self.part(asker);
        if let Some(own) = askers.buckets.get_mut(&asker) {
            return then(own);
        }
        let part_max = self.askers_max.load(Relaxed).div_ceil(PARTS).max(1);
        if askers.buckets.len() >= part_max && askers.forget_next() {
            self.forgotten.fetch_add(1, Relaxed);
            self.count.fetch_sub(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        let mut own = AskerBuckets::default();
        let taken = then(&mut own);
        askers.due.push(Reverse((own.full_at_ms(), asker)));
        askers.buckets.insert(asker, own);
        taken
    }

    fn part(&self, asker: u64) -> MutexGuard<'_, BusyAskers> {
        lock(&self.parts[(asker >> 32) as usize % PARTS])
    }
}

fn refusal(what: &str, wait_ms: u64) -> Refusal {
    let message = format!("{what} come too fast; wait {wait_ms} ms");
    Refusal {
        retry_after_s: wait_ms.div_ceil(1_000).max(1),
        ..Refusal::new(ErrorCode::RateLimited, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LimitSettings = LimitSettings {
        commands_per_s_max: 10,
        commands_burst_max: 5,
        requests_per_s_max: 2,
        requests_burst_max: 2,
        askers_max: 100_000,
    };

    fn kept(limits: &RateLimits) -> usize {
        let parts = limits.parts.iter().map(|part| {
            let part = lock(part);
            assert_eq!(part.due.len(), part.buckets.len());
            part.buckets.len()
        });
        parts.sum()
    }

    fn metric(limits: &RateLimits, name: &str) -> u64 {
        let metrics = limits.described();
        let found = metrics.iter().find(|metric| metric.name == name);
        found.unwrap().value
    }

    #[test]
    fn who_stays_a_little_over_is_refused_and_who_goes_on_is_far_over() {
        let limits = RateLimits::new(SETTINGS);
        // Twice the rate, for a minute.
        for tick in 0..1_200 {
            let verdict = limits.command(tick * 50, Asker::User("ann"));
            assert!(
                matches!(verdict, LimitVerdict::Within | LimitVerdict::Over(_)),
                "{verdict:?}"
            );
        }
        let verdicts: Vec<LimitVerdict> = (0..30)
            .map(|_| limits.command(0, Asker::User("bob")))
            .collect();
        let count =
            |of: fn(&LimitVerdict) -> bool| verdicts.iter().filter(|verdict| of(verdict)).count();
        assert_eq!(count(|verdict| matches!(verdict, LimitVerdict::Within)), 5);
        assert_eq!(count(|verdict| matches!(verdict, LimitVerdict::Over(_))), 5);
        assert_eq!(
            count(|verdict| matches!(verdict, LimitVerdict::FarOver)),
            20
        );
        for other in [
            Asker::User("cid"),
            Asker::Login("bob"),
            Asker::Address(AddressBlock::V4(1)),
        ] {
            assert!(
                matches!(limits.command(0, other), LimitVerdict::Within),
                "others aren't touched: {other:?}"
            );
        }
    }

    #[test]
    fn only_those_who_were_busy_lately_take_any_memory() {
        let limits = RateLimits::new(SETTINGS);
        for number in 0..1_000 {
            limits.command(0, Asker::User(&number.to_string()));
        }
        limits.command(50, Asker::User("0"));
        assert_eq!(kept(&limits), 1_000);
        limits.expire(99);
        assert_eq!((kept(&limits), metric(&limits, "askers")), (1_000, 1_000));
        limits.expire(199);
        assert_eq!((kept(&limits), metric(&limits, "askers")), (1, 1));
        limits.expire(200);
        assert_eq!(kept(&limits), 0);
        let off = RateLimits::new(LimitSettings::default());
        let verdict = off.command(0, Asker::User("ann"));
        assert!(matches!(verdict, LimitVerdict::Within) && kept(&off) == 0);
    }

    #[test]
    fn one_look_passes_over_a_bounded_number_of_those_that_are_due() {
        let limits = RateLimits::new(SETTINGS);
        for number in 0..20_000 {
            limits.command(0, Asker::User(&number.to_string()));
        }
        limits.expire(1_000);
        assert_eq!(kept(&limits), 20_000 - PARTS * LOOKED_AT_MAX);
        for _ in 0..4 {
            limits.expire(1_000);
        }
        assert_eq!(kept(&limits), 0);
    }

    #[test]
    fn with_too_many_askers_those_that_are_nearly_quiet_are_forgotten_and_a_busy_one_isnt() {
        let limits = RateLimits::new(LimitSettings {
            askers_max: 16 * 8,
            ..SETTINGS
        });
        for _ in 0..6 {
            limits.command(0, Asker::User("mallory"));
        }
        for number in 0..10_000 {
            limits.command(1, Asker::Address(AddressBlock::V4(number)));
        }
        assert!(kept(&limits) <= 16 * 8, "{}", kept(&limits));
        assert_eq!(metric(&limits, "askers"), kept(&limits) as u64);
        assert!(metric(&limits, "askers_forgotten") >= 10_000 - 16 * 8);
        let verdict = limits.command(2, Asker::User("mallory"));
        assert!(matches!(verdict, LimitVerdict::Over(_)), "{verdict:?}");
    }

    #[test]
    fn what_a_user_posts_by_http_counts_with_the_commands_of_that_user() {
        let limits = RateLimits::new(SETTINGS);
        let taken = (0..9).filter(|_| limits.user_request(0, "ann").is_ok());
        assert_eq!(taken.count(), 5);
        let verdict = limits.command(0, Asker::User("ann"));
        assert!(matches!(verdict, LimitVerdict::Over(_)), "{verdict:?}");
        limits.user_request(0, "bob").unwrap();
        limits.user_request_was(0, "bob", 9);
        assert_eq!(limits.user_request(0, "bob").unwrap_err().status, 429);
        (limits.request(0, Asker::Key("ann"))).expect("a key of the same name");
    }

    #[test]
    fn a_key_pays_for_all_that_it_sent_at_once() {
        let limits = RateLimits::new(SETTINGS);
        limits.request(0, Asker::Key("shop")).unwrap();
        limits.request_was(0, Asker::Key("shop"), 9);
        let refusal = limits.request(0, Asker::Key("shop")).unwrap_err();
        assert_eq!((refusal.status, refusal.retry_after_s), (429, 5));
        limits.request(0, Asker::Key("game")).unwrap();
        limits.request(4_500, Asker::Key("shop")).unwrap();
    }
}
