//! Random calls: few names, so that they meet.

use std::sync::Arc;

use tidings::base::{ChannelKind, Epoch, Fd};
use tidings::cluster::call::{Call, Caller, Entry, Life, Line, MessageEntry, Sameness};
use tidings::cluster::engine::{CallBounds, ChannelBounds};
use tidings::store::PageRange;

use super::support::random::Random;
use super::world::payload;

/// The names of nodes; the first generation of each is its place here.
pub const NODES: [&str; 3] = ["one", "two", "three"];

/// Channels, one of them with a line feed in its name.
pub const CHANNELS: [&str; 6] = ["tea", "milk", "@ann", "@bob", "*", "a\nb c"];
const UIDS: [&str; 3] = ["ann", "bob", "eve"];
const PRODUCERS: [&str; 2] = ["g1", "g2"];

/// What calls are made of.
#[derive(Debug)]
pub struct Chance {
    pub random: Random,
    /// A time before which messages were said.
    pub now_ms: u64,
    next_fd: u64,
}

impl Chance {
    pub fn new(seed: u64, now_ms: u64) -> Self {
        Self {
            random: Random::new(seed),
            now_ms,
            next_fd: 1,
        }
    }

    pub fn bounds(&mut self) -> CallBounds {
        let random = &mut self.random;
        let mut channel = || ChannelBounds {
            messages_max: random.pick(&[1, 4, 1_000]),
            size_max: random.pick(&[40, 300, 1 << 20]),
            age_ms_max: random.pick(&[0, 100_000]),
        };
        CallBounds {
            stored: channel(),
            memory: channel(),
            repeat_ms: self.random.pick(&[0, 3_600_000]),
            ids_max: self.random.pick(&[2, 8, 100]),
            ids_per_sender_max: self.random.pick(&[1, 2, 100]),
        }
    }

    pub fn call(&mut self, life: &Life, caller: Caller, number: u64) -> Call {
        let alive: Vec<u64> = (1..=4).filter(|_| !self.random.one_in(4)).collect();
        let count = match self.random.one_in(8) {
            true => self.random.within(20..=60),
            false => self.random.within(1..=6),
        };
        Call {
            life: life.clone(),
            caller,
            number,
            alive: alive.into(),
            entries: match count >= 20 && self.random.one_in(2) {
                true => self.crowd(count),
                false => (0..count).map(|_| self.entry()).collect(),
            },
        }
    }

    /// Messages to one channel, so that it is over its bounds.
    fn crowd(&mut self, count: usize) -> Vec<Entry> {
        let channel = self.channel();
        let line = |new_epoch| Line {
            channel: channel.clone(),
            kind: ChannelKind::Stored,
            new_epoch,
        };
        // Some of them with so many ids that there are too many, of one owner or of all.
        let has_ids = self.random.one_in(2);
        let message = |_| {
            Entry::Message(MessageEntry {
                first: line(self.epoch()),
                second: None,
                payload: payload(1, 0),
                sameness: has_ids.then(|| self.sameness(40)),
                mark: None,
            })
        };
        (0..count).map(message).collect()
    }

    fn sameness(&mut self, keys: u64) -> Sameness {
        Sameness {
            key: self.random.below(keys).into(),
            owner: self.random.below(2_u64),
        }
    }

    pub fn channel(&mut self) -> Box<str> {
        self.random.pick(&CHANNELS).into()
    }

    fn uid(&mut self) -> Box<str> {
        self.random.pick(&UIDS).into()
    }

    fn epoch(&mut self) -> Epoch {
        Epoch::from_bits(self.random.next() as u32)
    }

    fn line(&mut self) -> Line {
        let channel = self.channel();
        // A channel is of one kind, but for one whose settings changed.
        let kind = match &*channel {
            "milk" => ChannelKind::Memory,
            "a\nb c" => ChannelKind::None,
            _ if self.random.one_in(12) => ChannelKind::Memory,
            _ if self.random.one_in(12) => ChannelKind::None,
            _ => ChannelKind::Stored,
        };
        Line {
            channel,
            kind,
            new_epoch: self.epoch(),
        }
    }

    fn message(&mut self) -> Entry {
        let first = self.line();
        let second = self.random.one_in(4).then(|| self.line());
        let second = second.filter(|second| second.channel != first.channel);
        let size = self.random.pick(&[0, 10, 100]);
        let said_ms = self.now_ms - self.random.pick(&[0, 200_000]);
        let sameness = self.random.one_in(3);
        let mark = self.random.one_in(4);
        Entry::Message(MessageEntry {
            first,
            second,
            payload: payload(said_ms, size),
            sameness: sameness.then(|| self.sameness(12)),
            mark: mark.then(|| {
                let producer = self.random.pick(&PRODUCERS).into();
                (producer, self.random.below(20_u64) + 1)
            }),
        })
    }

    fn login(&mut self) -> Entry {
        // Sometimes a connection that is there already.
        if !self.random.one_in(6) {
            self.next_fd += 1;
        }
        let lines = self.random.within(0..=3);
        Entry::Login {
            fd: Fd(self.next_fd),
            uid: self.uid(),
            now_ms: self.random.below(4_u64),
            connections_max: self.random.within(1..=3),
            lines: (0..lines).map(|_| self.line()).collect(),
            bits: self.random.next(),
            asks_acks: self.random.one_in(2),
        }
    }

    fn entry(&mut self) -> Entry {
        match self.random.below(16_u8) {
            0 if self.random.one_in(3) => Entry::Purge {
                channel: self.channel(),
                epoch: self.epoch(),
            },
            1 => Entry::Trim {
                channel: self.channel(),
                through: self.random.below(40_u64),
            },
            2 => Entry::Ack {
                channel: self.channel(),
                uid: self.uid(),
                epoch: self.random.one_in(5).then(|| self.epoch()),
                offset: self.random.below(10_u64),
            },
            3 => Entry::Member {
                room: self.channel(),
                uid: self.uid(),
                lasting: !self.random.one_in(3),
            },
            4 => Entry::Mark {
                producer: self.random.pick(&PRODUCERS).into(),
                number: self.random.below(9_u64),
            },
            5 | 6 => Entry::Attach {
                line: self.line(),
                reader: self.random.one_in(2).then(|| self.uid()),
            },
            7 => Entry::Detach {
                channel: self.channel(),
            },
            8 | 9 => self.login(),
            10 => Entry::Nothing,
            _ => self.message(),
        }
    }

    pub fn range(&mut self) -> PageRange {
        let mut bound = || {
            let is_given = self.random.one_in(2);
            is_given.then(|| self.random.below(12_u64))
        };
        PageRange {
            after: bound(),
            before: bound(),
            limit: self.random.within(1..=70),
            bytes_max: self.random.pick(&[1, 250, 1 << 20]),
        }
    }

    pub fn alike(&mut self) -> [u64; 2] {
        [self.random.next(), self.random.next()]
    }

    pub fn names(&mut self) -> Vec<&'static str> {
        let mut names = CHANNELS.to_vec();
        names.push("nowhere");
        names
    }
}

/// What a call of a node carries.
pub fn caller(node: usize, generation: u64) -> Caller {
    Caller {
        node: NODES[node].into(),
        generation,
    }
}

/// A frame of a test.
pub fn frame(number: u64) -> Arc<[u8]> {
    format!("t {number}\n").into_bytes().into()
}
