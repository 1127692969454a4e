//! The settings of a chat that runs: numbers that every thread reads without waiting, and that may change
//! at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::pattern::Pattern;
use super::settings::{ChannelKind, ChatSettings};

/// How the messages of a channel reach its members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelWay {
    /// Milliseconds for which deliveries wait for more; `None` for a channel that never waits.
    pub gather_ms: Option<u16>,
    /// Whether a slow reader gets only the newest message.
    pub is_latest: bool,
}

/// The rules for the ways of all channels.
#[derive(Debug, Default)]
struct WayRules {
    gather: Vec<(Pattern, u16)>,
    latest: Vec<Pattern>,
}

impl WayRules {
    fn way_of(&self, channel: &str) -> ChannelWay {
        let mut gather = self.gather.iter();
        let found = gather.find(|(pattern, _)| pattern.matches(channel));
        ChannelWay {
            gather_ms: found.map(|(_, delay_ms)| *delay_ms),
            is_latest: self.latest.iter().any(|pattern| pattern.matches(channel)),
        }
    }
}

macro_rules! live_settings {
    ($($field:ident: $plain:ty as $atomic:ty,)+) => {
        /// The settings of a chat that runs. The kinds of channels stay what they were at its start, and
        /// so does the number of shards.
        #[derive(Debug)]
        pub struct LiveChatSettings {
            /// Those of the start, by which the kinds of channels go.
            first: ChatSettings,
            /// Whether any channel has a way of its own: most servers have none.
            has_ways: AtomicBool,
            ways: ArcSwap<WayRules>,
            $($field: $atomic,)+
        }

        impl LiveChatSettings {
            pub(super) fn new(settings: &ChatSettings) -> Self {
                let live = Self {
                    first: settings.clone(),
                    has_ways: AtomicBool::new(false),
                    ways: ArcSwap::default(),
                    $($field: <$atomic>::new(settings.$field),)+
                };
                live.set_ways(settings);
                live
            }

            /// Changes the settings; whether less is kept than before, or for a shorter time.
            pub(super) fn set(&self, settings: &ChatSettings) -> bool {
                let keeps_less = self.keeps_more_than(settings);
                $(self.$field.store(settings.$field, Relaxed);)+
                self.set_ways(settings);
                keeps_less
            }

            /// Returns the settings of this moment.
            #[must_use]
            pub fn present(&self) -> ChatSettings {
                let ways = self.ways.load();
                ChatSettings {
                    gather: ways.gather.clone(),
                    latest: ways.latest.clone(),
                    $($field: self.$field(),)+
                    ..self.first.clone()
                }
            }

            $(
                #[doc = concat!("The present [`ChatSettings::", stringify!($field), "`].")]
                #[must_use]
                #[inline]
                pub fn $field(&self) -> $plain {
                    self.$field.load(Relaxed)
                }
            )+
        }
    };
}

live_settings! {
    channels_max: usize as AtomicUsize,
    channels_per_user_max: usize as AtomicUsize,
    unclaimed_lines_max: usize as AtomicUsize,
    channel_ttl_ms: u64 as AtomicU64,
    kept_messages_max: usize as AtomicUsize,
    kept_ms_max: u64 as AtomicU64,
    kept_channel_bytes_max: usize as AtomicUsize,
    kept_bytes_max: usize as AtomicUsize,
    dedup_ms: u64 as AtomicU64,
    dedup_entries_max: usize as AtomicUsize,
    connections_per_user_max: usize as AtomicUsize,
    rooms_per_connection_max: usize as AtomicUsize,
    session_bytes_max: usize as AtomicUsize,
    sessions_bytes_max: usize as AtomicUsize,
    lasting_rooms_per_user_max: usize as AtomicUsize,
    lasting_max: usize as AtomicUsize,
    acks_per_channel_max: usize as AtomicUsize,
    presence_users_max: usize as AtomicUsize,
    left_ms: u64 as AtomicU64,
    receivers_max: usize as AtomicUsize,
    page_messages_max: usize as AtomicUsize,
    page_bytes_max: usize as AtomicUsize,
    list_max: usize as AtomicUsize,
}

impl LiveChatSettings {
    /// Returns the kind of the channel of this name.
    #[must_use]
    pub fn kind_of(&self, channel: &str) -> ChannelKind {
        self.first.kind_of(channel)
    }

    /// Returns the way of the channel of this name.
    #[must_use]
    pub fn way_of(&self, channel: &str) -> ChannelWay {
        match self.has_ways.load(Relaxed) {
            false => ChannelWay::default(),
            true => self.ways.load().way_of(channel),
        }
    }

    fn keeps_more_than(&self, settings: &ChatSettings) -> bool {
        settings.channel_ttl_ms < self.channel_ttl_ms()
            || settings.kept_ms_max < self.kept_ms_max()
            || settings.kept_messages_max < self.kept_messages_max()
            || settings.kept_channel_bytes_max < self.kept_channel_bytes_max()
            || settings.kept_bytes_max < self.kept_bytes_max()
    }

    fn set_ways(&self, settings: &ChatSettings) {
        let (gather, latest) = (settings.gather.clone(), settings.latest.clone());
        let has_ways = !(gather.is_empty() && latest.is_empty());
        self.ways.store(Arc::new(WayRules { gather, latest }));
        self.has_ways.store(has_ways, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_goes_by_the_first_rule_that_matches_and_by_other_rules_at_once() {
        let rules = |gather: &[(&str, u16)], latest: &[&str]| ChatSettings {
            gather: gather
                .iter()
                .map(|(one, ms)| (Pattern::new(one), *ms))
                .collect(),
            latest: latest.iter().map(|one| Pattern::new(one)).collect(),
            ..ChatSettings::default()
        };
        let way = |gather_ms, is_latest| ChannelWay {
            gather_ms,
            is_latest,
        };
        let live = LiveChatSettings::new(&rules(&[("live-*", 20), ("*", 5)], &["price-*"]));
        assert_eq!(live.way_of("live-1"), way(Some(20), false));
        assert_eq!(live.way_of("price-1"), way(Some(5), true));
        live.set(&rules(&[], &["live-*"]));
        assert_eq!(live.way_of("live-1"), way(None, true));
        live.set(&rules(&[], &[]));
        assert_eq!(live.way_of("live-1"), way(None, false));
    }

    #[test]
    fn numbers_change_and_kinds_stay() {
        let live = LiveChatSettings::new(&ChatSettings::default());
        let next = ChatSettings {
            kind: ChannelKind::None,
            left_ms: 7,
            list_max: 8,
            kept_ms_max: 1,
            ..ChatSettings::default()
        };
        assert!(live.set(&next), "less is kept");
        assert!(!live.set(&next));
        assert_eq!((live.left_ms(), live.list_max()), (7, 8));
        assert_eq!(live.kind_of("tea"), ChannelKind::Memory);
    }
}
