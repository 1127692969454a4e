//! How much one client may ask for: commands of a connection, requests of an API key or of a user.
//!
//! Without a limit nothing is kept and nothing is locked. With one, a bucket exists only for whom
//! it isn't full: who says nothing costs nothing. Events of one connection all come to one worker,
//! so that hardly anybody ever waits for a table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use super::rate::{Bucket, Rate};
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::base::Metric;
use crate::base::sync::lock;
use crate::chat::ErrorCode;

/// Parts of the table of connections, each with a lock: twice as many as workers usually are.
const PARTS: usize = 16;

/// The rates that one client may reach; 0 a second is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Commands a second of one connection without an API key; one more gets `rate_limited`. As
    /// many requests a second of one user by HTTP; one more gets 429.
    pub commands_per_s_max: u64,
    /// Commands of one connection at once.
    pub commands_burst_max: u64,
    /// Requests a second of one API key; one more gets 429. A message to each of several, or of a
    /// batch, counts as one.
    pub requests_per_s_max: u64,
    /// Requests of one API key at once.
    pub requests_burst_max: u64,
}

/// Whether a command may be carried out.
#[derive(Debug)]
pub(super) enum LimitVerdict {
    Within,
    Over(Refusal),
    /// Repeated violations: close the connection without answering.
    FarOver,
    /// The connection is being closed for that already.
    Closing,
}

/// The buckets of those who asked for something lately.
#[derive(Debug)]
pub(super) struct RateLimits {
    commands: Option<Rate>,
    requests: Option<Rate>,
    connections: [Mutex<HashMap<u64, BusyConnection, foldhash::fast::FixedState>>; PARTS],
    /// The buckets of API keys, by name; as many as there are keys.
    keys: Mutex<HashMap<Box<str>, Bucket>>,
    /// By uid: those who asked by HTTP lately, with a token.
    users: Mutex<HashMap<Box<str>, Bucket>>,
    commands_refused: AtomicU64,
    requests_refused: AtomicU64,
    connections_closed: AtomicU64,
}

/// The buckets of a connection that isn't quiet.
#[derive(Debug, Default)]
struct BusyConnection {
    commands: Bucket,
    /// Refusals are let through at the same rate: who sends more than twice as much goes.
    refusals: Bucket,
    closing: bool,
}

impl RateLimits {
    pub(super) fn new(settings: LimitSettings) -> Self {
        let LimitSettings {
            commands_per_s_max,
            commands_burst_max,
            requests_per_s_max,
            requests_burst_max,
        } = settings;
        Self {
            commands: Rate::new(commands_per_s_max, commands_burst_max),
            requests: Rate::new(requests_per_s_max, requests_burst_max),
            connections: Default::default(),
            keys: Mutex::default(),
            users: Mutex::default(),
            commands_refused: AtomicU64::new(0),
            requests_refused: AtomicU64::new(0),
            connections_closed: AtomicU64::new(0),
        }
    }

    /// Whether any limit is set.
    pub(super) fn are_any(&self) -> bool {
        self.commands.is_some() || self.requests.is_some()
    }

    /// Counts a command of a connection without an API key.
    pub(super) fn command(&self, now_ms: u64, fd: Fd) -> LimitVerdict {
        let Some(rate) = self.commands else {
            return LimitVerdict::Within;
        };
        let mut connections = self.part(fd);
        let own = connections.entry(fd.0).or_default();
        if own.closing {
            return LimitVerdict::Closing;
        }
        let Err(wait_ms) = own.commands.take(now_ms, rate) else {
            return LimitVerdict::Within;
        };
        self.commands_refused.fetch_add(1, Relaxed);
        if own.refusals.take(now_ms, rate).is_ok() {
            return LimitVerdict::Over(refusal("commands", wait_ms));
        }
        own.closing = true;
        self.connections_closed.fetch_add(1, Relaxed);
        LimitVerdict::FarOver
    }

    /// Counts a request of an API key.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::RateLimited`]; the request must not be carried out.
    pub(super) fn request(&self, now_ms: u64, key: &str) -> Result<(), Refusal> {
        let Some(rate) = self.requests else {
            return Ok(());
        };
        let taken = with_bucket(&self.keys, key, |bucket| bucket.take(now_ms, rate));
        self.note_request(taken)
    }

    /// Counts a request of a user who showed a token: at the rate of a connection's commands.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::RateLimited`]; the request must not be carried out.
    pub(super) fn user_request(&self, now_ms: u64, uid: &str) -> Result<(), Refusal> {
        let Some(rate) = self.commands else {
            return Ok(());
        };
        let taken = with_bucket(&self.users, uid, |bucket| bucket.take(now_ms, rate));
        self.note_request(taken)
    }

    fn note_request(&self, taken: Result<(), u64>) -> Result<(), Refusal> {
        taken.map_err(|wait_ms| {
            self.requests_refused.fetch_add(1, Relaxed);
            refusal("requests", wait_ms)
        })
    }

    /// Counts a request, which was counted as one, as `more` besides.
    pub(super) fn request_was(&self, now_ms: u64, key: &str, more: usize) {
        if let Some(rate) = self.requests
            && more > 0
        {
            with_bucket(&self.keys, key, |bucket| {
                bucket.owe(now_ms, rate, more as u64);
            });
        }
    }

    /// Counts a request of a user, which was counted as one, as `more` besides.
    pub(super) fn user_request_was(&self, now_ms: u64, uid: &str, more: usize) {
        if let Some(rate) = self.commands
            && more > 0
        {
            with_bucket(&self.users, uid, |bucket| {
                bucket.owe(now_ms, rate, more as u64);
            });
        }
    }

    pub(super) fn forget(&self, fd: Fd) {
        if self.commands.is_some() {
            self.part(fd).remove(&fd.0);
        }
    }

    /// Drops the buckets that are full.
    pub(super) fn expire(&self, now_ms: u64) {
        if self.commands.is_none() {
            return;
        }
        for part in &self.connections {
            let mut connections = lock(part);
            let before = connections.len();
            connections.retain(|_, own| {
                own.closing || !own.commands.is_full(now_ms) || !own.refusals.is_full(now_ms)
            });
            if before > 0 && connections.is_empty() {
                connections.shrink_to_fit();
            }
        }
        let mut users = lock(&self.users);
        let before = users.len();
        users.retain(|_, bucket| !bucket.is_full(now_ms));
        if before > 0 && users.is_empty() {
            users.shrink_to_fit();
        }
    }

    /// Describes how many were refused.
    pub(super) fn described(&self) -> [Metric; 3] {
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
                "Requests by HTTP refused for coming too fast.",
                &self.requests_refused,
            ),
            counter(
                "connections_closed",
                "WebSockets closed with 4009.",
                &self.connections_closed,
            ),
        ]
    }

    fn part(
        &self,
        fd: Fd,
    ) -> MutexGuard<'_, HashMap<u64, BusyConnection, foldhash::fast::FixedState>> {
        lock(&self.connections[fd.serial() as usize % PARTS])
    }
}

fn with_bucket<T>(
    buckets: &Mutex<HashMap<Box<str>, Bucket>>,
    name: &str,
    then: impl FnOnce(&mut Bucket) -> T,
) -> T {
    let mut buckets = lock(buckets);
    if let Some(bucket) = buckets.get_mut(name) {
        return then(bucket);
    }
    then(buckets.entry(name.into()).or_default())
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
    };

    #[test]
    fn who_stays_a_little_over_is_refused_and_who_goes_on_is_closed_once() {
        let limits = RateLimits::new(SETTINGS);
        // Twice the rate, for a minute.
        for tick in 0..1_200 {
            let verdict = limits.command(tick * 50, Fd(1));
            assert!(
                matches!(verdict, LimitVerdict::Within | LimitVerdict::Over(_)),
                "{verdict:?}"
            );
        }
        let verdicts: Vec<LimitVerdict> = (0..30).map(|_| limits.command(0, Fd(2))).collect();
        let count =
            |of: fn(&LimitVerdict) -> bool| verdicts.iter().filter(|verdict| of(verdict)).count();
        assert_eq!(count(|verdict| matches!(verdict, LimitVerdict::Within)), 5);
        assert_eq!(count(|verdict| matches!(verdict, LimitVerdict::Over(_))), 5);
        assert_eq!(count(|verdict| matches!(verdict, LimitVerdict::FarOver)), 1);
        assert_eq!(
            count(|verdict| matches!(verdict, LimitVerdict::Closing)),
            19
        );
        assert!(
            matches!(limits.command(0, Fd(3)), LimitVerdict::Within),
            "others aren't touched"
        );
    }

    #[test]
    fn only_those_who_were_busy_lately_take_any_memory() {
        let limits = RateLimits::new(SETTINGS);
        for fd in 0..1_000 {
            limits.command(0, Fd(fd << 8));
        }
        let kept = || {
            limits
                .connections
                .iter()
                .map(|part| lock(part).capacity())
                .sum::<usize>()
        };
        assert!(kept() >= 1_000);
        limits.expire(99);
        assert!(kept() >= 1_000);
        limits.expire(100);
        assert_eq!(kept(), 0);
        let off = RateLimits::new(LimitSettings::default());
        assert!(matches!(off.command(0, Fd(1)), LimitVerdict::Within));
        assert!(off.connections.iter().all(|part| lock(part).is_empty()));
    }

    #[test]
    fn a_key_pays_for_all_that_it_sent_at_once() {
        let limits = RateLimits::new(SETTINGS);
        limits.request(0, "shop").unwrap();
        limits.request_was(0, "shop", 9);
        let refusal = limits.request(0, "shop").unwrap_err();
        assert_eq!((refusal.status, refusal.retry_after_s), (429, 5));
        limits.request(0, "game").unwrap();
        limits.request(4_500, "shop").unwrap();
    }

    #[test]
    fn a_user_by_http_has_the_rate_of_a_connection_and_is_forgotten_once_quiet() {
        let limits = RateLimits::new(SETTINGS);
        let taken = (0..9).filter(|_| limits.user_request(0, "ann").is_ok());
        assert_eq!(taken.count(), 5);
        limits.user_request(0, "bob").unwrap();
        limits.user_request_was(0, "bob", 9);
        assert_eq!(limits.user_request(0, "bob").unwrap_err().status, 429);
        limits.request(0, "ann").expect("a key of the same name");
        limits.expire(999);
        assert_eq!(lock(&limits.users).len(), 1);
        limits.expire(1_000);
        assert_eq!(lock(&limits.users).capacity(), 0);
    }
}
