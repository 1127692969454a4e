//! The counters of the chat.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::base::{Metric, MetricKind};

/// A number that goes up and down, shared by all shards.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicUsize);

impl Gauge {
    /// Returns the present number.
    pub(super) fn now(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Adds `by` to the number.
    pub(super) fn add(&self, by: usize) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Subtracts `by`, which was added before.
    pub(super) fn subtract(&self, by: usize) {
        let before = self.0.fetch_sub(by, Relaxed);
        debug_assert!(before >= by, "{before} - {by}");
    }

    /// Replaces `before`, which was added before, by `by`, unless that is more and would make it more
    /// than `max`.
    pub(super) fn replace_below(&self, before: usize, by: usize, max: usize) -> bool {
        let replace = |now: usize| {
            let next = now - before + by;
            (by <= before || next <= max).then_some(next)
        };
        self.0.fetch_update(Relaxed, Relaxed, replace).is_ok()
    }

    /// Adds one unless there are `max` already.
    pub(super) fn add_below(&self, max: usize) -> bool {
        self.0
            .fetch_update(Relaxed, Relaxed, |now| (now < max).then_some(now + 1))
            .is_ok()
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds `by` to the number.
    pub(super) fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Returns the present number.
    pub(super) fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number of the chat, of either kind.
trait Number {
    /// The number if it only grows.
    fn counter(&self) -> Option<&Counter>;
}

impl Number for Gauge {
    fn counter(&self) -> Option<&Counter> {
        None
    }
}

impl Number for Counter {
    fn counter(&self) -> Option<&Counter> {
        Some(self)
    }
}

macro_rules! totals {
    ($(#[doc = $doc:literal] $name:ident: $kind:ident -> $number:ty,)*) => {
        /// The numbers of all shards together.
        #[derive(Debug, Default)]
        pub(super) struct Totals { $(pub(super) $name: $kind,)* }

        /// The numbers of one moment, each exact for itself.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct ChatStats { $(#[doc = $doc] pub $name: $number,)* }

        impl ChatStats {
            /// Lists the name and the value of each number.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name as u64),)*]
            }

            /// Describes each number.
            #[must_use]
            pub fn described(&self) -> Vec<Metric> {
                vec![$(Metric {
                    name: stringify!($name),
                    kind: MetricKind::$kind,
                    help: $doc.trim_ascii_start(),
                    value: self.$name as u64,
                },)*]
            }
        }

        impl Totals {
            /// Lists the numbers that only grow, with their names.
            pub(super) fn counters(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
                let all = [$((stringify!($name), self.$name.counter()),)*];
                all.into_iter()
                    .filter_map(|(name, counter)| Some((name, counter?)))
            }

            /// Reads all numbers, one after the other.
            pub(super) fn stats(&self) -> ChatStats {
                ChatStats { $($name: self.$name.now(),)* }
            }
        }
    };
}

totals! {
    /// Open connections, logged in or not.
    connections: Gauge -> usize,
    /// Connections that are logged in.
    logged_in: Gauge -> usize,
    /// Users with a connection.
    users: Gauge -> usize,
    /// Rooms, with or without members.
    rooms: Gauge -> usize,
    /// Inboxes, of users with or without a connection.
    inboxes: Gauge -> usize,
    /// Rooms and inboxes together, against `channels_max`; inboxes of users who never came count apart.
    channels: Gauge -> usize,
    /// Inboxes of users who never came, opened by others, against `unclaimed_lines_max`.
    unclaimed_lines: Gauge -> usize,
    /// Connections in rooms, each once a room.
    memberships: Gauge -> usize,
    /// Lasting memberships, against `lasting_max`.
    lasting: Gauge -> usize,
    /// Bytes of kept messages, against `kept_bytes_max`.
    kept_bytes: Gauge -> usize,
    /// Bytes of session data, against `sessions_bytes_max`.
    session_bytes: Gauge -> usize,
    /// Remembered ids, against `dedup_entries_max`.
    dedup_entries: Gauge -> usize,
    /// Messages taken, without repeats.
    messages: Counter -> u64,
    /// Messages that had been said before.
    duplicates: Counter -> u64,
    /// Deliveries that messages were meant for: receivers, summed up.
    deliveries: Counter -> u64,
    /// Resumes without a hole.
    recovered: Counter -> u64,
    /// Resumes that couldn't be filled.
    unrecovered: Counter -> u64,
    /// `joined` that were told.
    joined: Counter -> u64,
    /// `left` that were told.
    left: Counter -> u64,
    /// Connections that gave way to a newer one of their user.
    replaced: Counter -> u64,
    /// Ids that were forgotten before their time, since the table was full.
    dedup_forgotten: Counter -> u64,
    /// Requests that were refused since a table was full.
    refused_full: Counter -> u64,
    /// Channels that were refused since their user had opened too many.
    refused_share: Counter -> u64,
    /// Inboxes of users who never came that went to make room.
    unclaimed_dropped: Counter -> u64,
}
