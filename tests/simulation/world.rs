//! A chat, the model beside it, and a clock that only the seed moves.

use std::collections::{BTreeMap, BTreeSet};

use super::invariants::Record;
use super::log::Epochs;
use super::model::{Expected, Model};
use super::random::Random;
use super::reactors::{Heard, Reactors};
use tidings::base::Tick;
use tidings::chat::{
    Actor, ChannelKind, Chat, ChatSettings, HistoryRange, Moment, Pattern, Position,
};
use tidings::server::Fd;

pub const UIDS: [&str; 4] = ["ann", "bob", "cid", "dan"];
pub const ROOMS: [&str; 6] = ["tea", "nut", "nap", "team-a", "team-b", "pub"];

/// As good as for ever, and still a number that times can be added to.
const EVER_MS: u64 = 1_000_000_000_000;

/// Longer than anything is kept.
const AGES_MS: u64 = 2 * EVER_MS;

pub struct World {
    pub random: Random,
    pub chat: Chat,
    pub reactors: Reactors,
    pub model: Model,
    pub epochs: Epochs,
    /// Positions that somebody heard of.
    pub seen: Vec<(String, Position)>,
    /// Ids that the chat made.
    pub ids: BTreeSet<String>,
    pub next_fd: u64,
    /// What was said last, to be said again.
    pub last: Option<super::actions::Opening>,
    /// How much of each inbox has been compared.
    read: BTreeMap<Fd, usize>,
    /// What connections got that are closed.
    pub finished: Vec<Vec<Heard>>,
    /// Whether the ids are in one table a kind of channel, so that the model knows which is full.
    one_shard: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let settings = settings(&mut random);
        Self {
            chat: Chat::new(settings.clone(), random.next()),
            reactors: Reactors::new(2),
            one_shard: settings.shards == 1,
            model: Model::new(settings),
            epochs: Epochs::default(),
            seen: Vec::new(),
            ids: BTreeSet::new(),
            next_fd: 1,
            last: None,
            read: BTreeMap::new(),
            finished: Vec::new(),
            random,
        }
    }

    pub fn now(&self) -> Moment {
        Moment {
            tick: Tick(self.model.now),
            unix_ms: self.model.unix_ms,
        }
    }

    /// Lets time go on.
    pub fn wait(&mut self, ms: u64) {
        self.model.now += ms;
        self.model.unix_ms = 1_700_000_000_000 + self.model.now;
        self.model.begin();
    }

    /// Compares what everybody got from the last action with what they should have got.
    pub fn compare_heard(&mut self) {
        let mut expected: BTreeMap<Fd, Vec<Expected>> = BTreeMap::new();
        for (fd, heard) in self.model.heard.drain(..) {
            expected.entry(fd).or_default().push(heard);
        }
        let fds: Vec<Fd> = self.model.connections.keys().copied().collect();
        for fd in fds {
            let read = self.read.entry(fd).or_default();
            let actual = self.reactors.inbox_from(fd, *read);
            *read += actual.len();
            for heard in &actual {
                self.seen.extend(position_in(heard));
            }
            let expected = expected.remove(&fd).unwrap_or_default();
            self.compare(fd, expected, actual);
        }
        assert!(expected.is_empty(), "nobody got {expected:?}");
    }

    /// Rooms aren't ordered against each other: what is due in several may come in any order. An
    /// answer comes before all of them.
    fn compare(&mut self, fd: Fd, mut expected: Vec<Expected>, mut actual: Vec<Heard>) {
        let late = actual
            .iter()
            .skip(1)
            .any(|heard| matches!(heard, Heard::Welcome(..)));
        assert!(!late, "{fd}: an answer came late: {actual:#?}");
        expected.sort_by_key(|expected| expected_in(expected).to_owned());
        actual.sort_by_key(|heard| heard_in(heard).to_owned());
        let same = expected.len() == actual.len()
            && expected
                .iter()
                .zip(&actual)
                .all(|(expected, actual)| same(&mut self.epochs, expected, actual));
        assert!(
            same,
            "{fd} should hear {expected:#?}\nbut heard {actual:#?}"
        );
    }

    /// A connection's socket is closed; the chat hears of it now or later.
    pub fn cut(&mut self, fd: Fd) {
        if self.reactors.is_open(fd) {
            self.finished.push(self.reactors.close(fd));
            self.read.insert(fd, 0);
        }
    }

    pub fn closed(&mut self, fd: Fd) {
        self.cut(fd);
        self.chat.closed(self.now(), fd);
        self.model.closed(fd);
    }

    /// Channels that nobody needs go away, neither too early nor never.
    pub fn compare_gone(&mut self) {
        for (channel, overdue) in self.model.doomed() {
            if self.exists(&channel) {
                assert!(!overdue, "{channel} should be gone");
            } else {
                self.model.gone(&channel);
            }
        }
    }

    fn exists(&self, channel: &str) -> bool {
        let range = HistoryRange {
            after: None,
            before: None,
            limit: 1,
        };
        let history = self
            .chat
            .history(self.now(), Actor::Key("look"), channel, range);
        history.is_ok()
    }

    /// All the numbers, after each action.
    pub fn compare_stats(&self) {
        let (model, actual) = (&self.model, self.chat.stats());
        let mut expected = model.counted;
        expected.rooms = model.rooms.len();
        expected.inboxes = model.lines.len();
        expected.unclaimed_lines = model.unclaimed();
        expected.channels = expected.rooms + expected.inboxes - expected.unclaimed_lines;
        // Resumes are counted when they are planned, also those of a login that then fails.
        expected.recovered = actual.recovered;
        expected.unrecovered = actual.unrecovered;
        expected.dedup_forgotten = model.repeats.forgotten;
        expected.dedup_entries = model.repeats.len();
        if !self.one_shard {
            expected.dedup_entries = actual.dedup_entries;
        }
        // What is too old may stay until somebody looks.
        expected.kept_bytes = model.kept_bytes();
        if model.settings.kept_ms_max < EVER_MS {
            assert!(actual.kept_bytes >= expected.kept_bytes);
            expected.kept_bytes = actual.kept_bytes;
        }
        assert_eq!(actual, expected, "the chat's numbers, and the model's");
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let (stats, settings) = (self.chat.stats(), self.chat.settings());
        assert!(stats.kept_bytes <= settings.kept_bytes_max());
        assert!(stats.rooms <= settings.channels_max());
        assert!(stats.unclaimed_lines <= settings.unclaimed_lines_max());
        assert!(stats.lasting <= settings.lasting_max());
        assert!(stats.dedup_entries <= settings.dedup_entries_max());
        let rooms_max = settings.rooms_per_connection_max() + settings.lasting_rooms_per_user_max();
        for fd in self.model.connections.keys() {
            let rooms = self.chat.connection(*fd).expect("it is open").rooms;
            assert!(rooms.len() <= rooms_max, "{fd} is in {rooms:?}");
        }
    }

    /// Everybody goes, everything grows old: nothing may be left. Gives what had been counted.
    pub fn end(mut self) -> Vec<(&'static str, u64)> {
        self.model.begin();
        for fd in self.model.connections.keys().copied().collect::<Vec<_>>() {
            self.closed(fd);
        }
        for (uid, rooms) in self.model.lasting.clone() {
            for room in rooms {
                self.remove_member(&room, &uid);
            }
        }
        for _ in 0..3 {
            self.wait(AGES_MS);
            self.expire();
        }
        let stats = self.chat.stats();
        let left = [
            stats.connections,
            stats.logged_in,
            stats.users,
            stats.rooms,
            stats.inboxes,
            stats.channels,
            stats.memberships,
            stats.lasting,
            stats.kept_bytes,
            stats.dedup_entries,
        ];
        assert_eq!(left, [0; 10], "{stats:?}");
        let mut record = Record::default();
        for inbox in &self.finished {
            record.judge(inbox);
        }
        let all = self.finished.iter().flatten();
        let gaps = all
            .filter(|heard| matches!(heard, Heard::Gap { .. }))
            .count();
        let mut counted = stats.named();
        counted.push(("gaps", gaps as u64));
        counted.push(("places", record.len() as u64));
        counted
    }
}

/// Bounds that are hit all the time.
fn settings(random: &mut Random) -> ChatSettings {
    let mut kinds = Vec::new();
    for pattern in ["n*", "@c*", "*", "@*"] {
        if random.one_in(4) {
            let kind = random.pick(&[ChannelKind::Memory, ChannelKind::None]);
            kinds.push((Pattern::new(pattern), kind));
        }
    }
    let shards = random.pick(&[1, 1, 3, 64]);
    // When bytes are short nothing grows old, and the other way round: what has grown old counts
    // until somebody looks, and when that is, is left open.
    let short_of_bytes = random.one_in(3);
    ChatSettings {
        kinds,
        gather: Vec::new(),
        latest: Vec::new(),
        kind: ChannelKind::Memory,
        shards,
        channels_max: random.pick(&[3, 6, 12, 100]),
        channels_per_user_max: random.pick(&[1, 2, 4, 100]),
        // So few that none of them is dropped to make room for others.
        unclaimed_lines_max: random.pick(&[1, 2, 4, 7]),
        cluster_linger_ms: None,
        channel_ttl_ms: random.pick(&[0, 100, 2_000, 20_000]),
        kept_messages_max: random.within(1..=6),
        kept_ms_max: if short_of_bytes {
            EVER_MS
        } else {
            random.pick(&[1, 500, 5_000, 60_000])
        },
        kept_channel_bytes_max: random.pick(&[170, 400, 100_000]),
        kept_bytes_max: if short_of_bytes {
            random.within(200..=2_000)
        } else {
            usize::MAX
        },
        dedup_ms: random.pick(&[0, 300, 10_000]),
        dedup_entries_max: if shards == 1 {
            random.within(1..=8)
        } else {
            1_000_000
        },
        connections_per_user_max: random.within(1..=4),
        rooms_per_connection_max: random.within(1..=4),
        session_bytes_max: 100,
        sessions_bytes_max: 1_000,
        lasting_rooms_per_user_max: random.within(1..=3),
        lasting_max: random.within(1..=6),
        acks_per_channel_max: random.within(1..=3),
        presence_users_max: random.within(0..=4),
        left_ms: random.pick(&[0, 50, 3_000]),
        receivers_max: random.within(1..=4),
        page_messages_max: random.within(1..=5),
        page_bytes_max: random.pick(&[170, 500, 100_000]),
        list_max: random.within(1..=5),
    }
}

fn position_in(heard: &Heard) -> Vec<(String, Position)> {
    match heard {
        Heard::Message(line) => line
            .channel
            .clone()
            .zip(line.position)
            .into_iter()
            .collect(),
        Heard::Gap { channel, position } => vec![(channel.clone(), *position)],
        Heard::Welcome(channels, _) => channels
            .iter()
            .filter_map(|welcome| Some(((*welcome.channel).into(), welcome.position?)))
            .collect(),
        _ => Vec::new(),
    }
}

fn heard_in(heard: &Heard) -> &str {
    match heard {
        Heard::Welcome(..) => "",
        Heard::Message(line) => line.channel.as_deref().unwrap_or_default(),
        Heard::Gap { channel: name, .. }
        | Heard::Joined { room: name, .. }
        | Heard::Left { room: name, .. }
        | Heard::Presence { room: name, .. }
        | Heard::Subscribed { channel: name, .. }
        | Heard::Unsubscribed(name) => name,
    }
}

fn expected_in(expected: &Expected) -> &str {
    match expected {
        Expected::Welcome(_) => "",
        Expected::Message(channel, ..) => channel.as_deref().unwrap_or_default(),
        Expected::Gap(name, _)
        | Expected::Joined(name, _)
        | Expected::Left(name, _)
        | Expected::Presence(name, _)
        | Expected::Subscribed(name)
        | Expected::Unsubscribed(name) => name,
    }
}

fn same(epochs: &mut Epochs, expected: &Expected, actual: &Heard) -> bool {
    match (expected, actual) {
        (Expected::Welcome(greetings), Heard::Welcome(welcomes, _)) => {
            greetings.len() == welcomes.len()
                && greetings.iter().zip(welcomes).all(|(greeting, welcome)| {
                    greeting.channel == *welcome.channel
                        && greeting.recovered == welcome.recovered
                        && greeting.members == welcome.members
                        && greeting.is_quiet == welcome.is_quiet
                        && epochs.are_same(greeting.at, welcome.position)
                })
        }
        (Expected::Message(channel, at, words), Heard::Message(line)) => {
            *channel == line.channel
                && epochs.are_same(*at, line.position)
                && (&words.id, &words.from, &words.to) == (&line.id, &line.from, &line.to)
                && (words.ts, &words.data) == (line.ts, &line.data)
        }
        (Expected::Gap(name, at), Heard::Gap { channel, position }) => {
            name == channel && epochs.are_same(Some(*at), Some(*position))
        }
        (Expected::Joined(name, who), Heard::Joined { room, uid })
        | (Expected::Left(name, who), Heard::Left { room, uid }) => (name, who) == (room, uid),
        (Expected::Presence(name, expected), Heard::Presence { room, users }) => {
            (name, expected) == (room, users)
        }
        (Expected::Subscribed(name), Heard::Subscribed { channel, .. }) => name == channel,
        (Expected::Unsubscribed(name), Heard::Unsubscribed(channel)) => name == channel,
        _ => false,
    }
}
