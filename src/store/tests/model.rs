//! What a store should be, in the plainest way; and random things to do with it.

use std::collections::{BTreeMap, BTreeSet};

use super::common::{ALL, NOW, epoch};
use super::dice::Dice;
use crate::base::{Epoch, Position};
use crate::store::{
    Appended, Channel, MessageBody, MessageRecord, Reader, Record, Retention, StateRecord, Store,
    StoreError,
};

pub(super) const CHANNELS: [&str; 7] = ["tea", "pot", "@ann", "@bob", "few3", "few1", "old"];
const USERS: [&str; 3] = ["ann", "bob", "cy"];
/// For how long a repeat is known.
pub(super) const DEDUP_MS: u64 = 20_000;
const OLD_MS: u64 = 30_000;

pub(super) fn retention(name: &str) -> Retention {
    match name {
        "few3" => Retention {
            messages_max: 3,
            ..Retention::UNBOUNDED
        },
        "few1" => Retention {
            messages_max: 1,
            ..Retention::UNBOUNDED
        },
        "old" => Retention {
            age_ms_max: OLD_MS,
            ..Retention::UNBOUNDED
        },
        _ => Retention::UNBOUNDED,
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Model {
    channels: BTreeMap<String, Log>,
    members: BTreeSet<(String, String)>,
    marks: BTreeMap<String, u64>,
    sames: BTreeMap<u128, (u64, Position)>,
    serials_below: u64,
    forgotten: u64,
    now: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Log {
    epoch: Epoch,
    newest: u64,
    floor: u64,
    messages: BTreeMap<u64, (u64, String)>,
    acks: BTreeMap<String, u64>,
}

impl Log {
    fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            newest: 0,
            floor: 0,
            messages: BTreeMap::new(),
            acks: BTreeMap::new(),
        }
    }

    fn trim(&mut self, through: u64) {
        self.floor = through.min(self.newest).max(self.floor);
        self.messages.retain(|offset, _| *offset > self.floor);
    }
}

/// A record that owns its texts.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Say {
        channel: &'static str,
        second: Option<&'static str>,
        epoch: Epoch,
        data: String,
        idempotency_key: Option<u128>,
        mark: Option<u64>,
    },
    Purge(&'static str, Epoch),
    Trim(&'static str, u64),
    Forget(&'static str),
    Ack(&'static str, &'static str, u64),
    Member(&'static str, &'static str, bool),
    Mark(u64),
    Serials(u64),
}

impl Step {
    pub(super) fn random(dice: &mut Dice, number: u64) -> Self {
        let channel = *dice.pick(&CHANNELS);
        let user = *dice.pick(&USERS);
        match dice.below(20) {
            0 => Self::Purge(channel, epoch(dice.below(1_000) as u32 + 1_000)),
            1 | 2 => Self::Trim(channel, dice.below(40)),
            3 => Self::Forget(channel),
            4 | 5 => Self::Ack(channel, user, dice.below(40)),
            6 => Self::Member(channel, user, dice.below(2) == 0),
            7 => Self::Mark(dice.below(60)),
            8 => Self::Serials(dice.below(1_000)),
            _ => Self::Say {
                channel,
                second: Some(*dice.pick(&CHANNELS)).filter(|_| dice.below(4) == 0),
                epoch: epoch(dice.below(1_000) as u32),
                data: format!("{number} {}", "x".repeat(dice.below(60) as usize)),
                idempotency_key: Some(dice.below(60).into()).filter(|_| dice.below(2) == 0),
                mark: Some(dice.below(60)).filter(|_| dice.below(6) == 0),
            },
        }
    }

    pub(super) fn without_sameness(mut self) -> Self {
        if let Self::Say {
            idempotency_key, ..
        } = &mut self
        {
            *idempotency_key = None;
        }
        self
    }

    fn with<T>(&self, ts: u64, act: impl FnOnce(&Record<'_>) -> T) -> T {
        act(&match *self {
            Self::Say {
                channel,
                second,
                epoch,
                ref data,
                idempotency_key,
                mark,
            } => Record::Message(MessageRecord {
                channel: Channel::stored(channel, epoch),
                second: second.map(|name| Channel::stored(name, epoch_of_second(epoch))),
                body: MessageBody {
                    id: data,
                    from: None,
                    to: second,
                    ts,
                    data,
                },
                idempotency_key,
                id_owner: 0,
                opens: false,
                mark: mark.map(|number| ("gate", number)),
                except: &[],
            }),
            Self::Purge(channel, epoch) => Record::Purge { channel, epoch },
            Self::Trim(channel, through) => Record::Trim { channel, through },
            Self::Forget(channel) => Record::Forget { channel },
            Self::Ack(channel, reader, offset) => Record::Ack {
                channel,
                reader,
                offset,
            },
            Self::Member(room, user, lasting) => Record::Member {
                room,
                user,
                lasting,
            },
            Self::Mark(number) => Record::Mark {
                producer: "gate",
                number,
            },
            Self::Serials(below) => Record::Serials { below },
        })
    }

    pub(super) fn append(&self, store: &mut dyn Store, now: u64) -> Result<Appended, StoreError> {
        self.with(now, |record| store.append(now, record))
    }
}

impl Model {
    /// Does what the store should do.
    pub(super) fn take(&mut self, step: &Step, now: u64) -> Appended {
        self.now = now;
        self.sames.retain(|_, (at, _)| *at + DEDUP_MS >= now);
        match step {
            Step::Say {
                channel,
                second,
                epoch,
                data,
                idempotency_key,
                mark,
            } => {
                if mark.is_some_and(|mark| self.marks.get("gate").is_some_and(|at| mark <= *at)) {
                    return Appended::Settled;
                }
                if let Some(mark) = mark {
                    self.marks.insert("gate".into(), *mark);
                }
                if let Some((_, position)) = idempotency_key.and_then(|same| self.sames.get(&same))
                {
                    return Appended::Repeat(*position);
                }
                let first = self.say(channel, *epoch, data, now);
                let second = second
                    .filter(|second| second != channel)
                    .map(|second| self.say(second, epoch_of_second(*epoch), data, now));
                if let Some(idempotency_key) = idempotency_key {
                    self.sames.insert(*idempotency_key, (now, first));
                }
                return Appended::Message(first, second);
            }
            Step::Purge(channel, epoch) => {
                self.channels.insert((*channel).into(), Log::new(*epoch));
            }
            Step::Trim(channel, through) => {
                if let Some(log) = self.channels.get_mut(*channel) {
                    log.trim(*through);
                }
            }
            Step::Forget(channel) => {
                if (self.channels.get(*channel)).is_some_and(|log| log.messages.is_empty()) {
                    self.channels.remove(*channel);
                    self.forgotten += 1;
                }
            }
            Step::Ack(channel, reader, offset) => {
                if let Some(log) = self.channels.get_mut(*channel) {
                    let acked = log.acks.entry((*reader).into()).or_insert(*offset);
                    *acked = (*acked).max(*offset);
                }
            }
            Step::Member(room, user, lasting) => {
                let member = ((*room).into(), (*user).into());
                if *lasting {
                    self.members.insert(member);
                } else {
                    self.members.remove(&member);
                }
            }
            Step::Mark(number) => {
                let mark = self.marks.entry("gate".into()).or_insert(*number);
                *mark = (*mark).max(*number);
            }
            Step::Serials(below) => self.serials_below = self.serials_below.max(*below),
        }
        Appended::Noted
    }

    fn say(&mut self, channel: &str, epoch: Epoch, data: &str, now: u64) -> Position {
        let logs = &mut self.channels;
        let log = logs
            .entry(channel.into())
            .or_insert_with(|| Log::new(epoch));
        log.newest += 1;
        log.messages.insert(log.newest, (now, data.into()));
        Position {
            epoch: log.epoch,
            offset: log.newest,
        }
    }

    /// What retention does at the end of a batch.
    pub(super) fn settle(&mut self) {
        for (name, log) in &mut self.channels {
            let max = retention(name).messages_max;
            log.trim(log.newest.saturating_sub(max));
        }
    }

    /// What retention does as time goes by.
    pub(super) fn expire(&mut self, now: u64) {
        if let Some(log) = self.channels.get_mut("old") {
            let old = (log.messages.iter()).filter(|(_, (ts, _))| ts + OLD_MS <= now);
            if let Some(newest) = old.map(|(offset, _)| *offset).max() {
                log.trim(newest);
            }
        }
    }

    /// What the store says of itself, as a model.
    pub(super) fn of(reader: &dyn Reader, model: &Self) -> Self {
        let mut seen = Self {
            serials_below: reader.serials_below(),
            forgotten: reader.forgotten(),
            now: model.now,
            sames: model.sames.clone(),
            ..Self::default()
        };
        if model.marks.contains_key("gate") || reader.mark("gate") > 0 {
            seen.marks.insert("gate".into(), reader.mark("gate"));
        }
        reader.each(&mut |known| match known {
            StateRecord::Channel(name, state) => {
                let page = reader.page(name, ALL).unwrap();
                assert_eq!(page.state, Some(state), "nobody writes meanwhile");
                let mut log = Log::new(state.epoch);
                (log.newest, log.floor) = (state.newest, state.floor);
                for message in page.messages {
                    assert_eq!(
                        (&message.body.id, message.position.epoch),
                        (&message.body.data, state.epoch)
                    );
                    let what = (message.body.ts, message.body.data.into());
                    log.messages.insert(message.position.offset, what);
                }
                assert!(log.messages.keys().copied().eq(log.floor + 1..=log.newest));
                assert!(
                    seen.channels.insert(name.into(), log).is_none(),
                    "told once"
                );
            }
            StateRecord::Ack {
                channel,
                reader: user,
                offset,
            } => {
                assert_eq!(reader.acked(channel, user), Some(offset));
                let log = seen.channels.get_mut(channel).unwrap();
                log.acks.insert(user.into(), offset);
            }
            StateRecord::Opener { channel, .. } => panic!("nobody opened {channel}"),
            StateRecord::Member { room, user } => {
                seen.members.insert((room.into(), user.into()));
            }
        });
        let messages: usize = seen.channels.values().map(|log| log.messages.len()).sum();
        let totals = reader.totals();
        assert_eq!(totals.messages as usize, messages);
        assert_eq!(totals.channels as usize, seen.channels.len());
        seen
    }

    /// Lets go of what the store had to let go of, since all files together were too large.
    pub(super) fn let_go(&mut self, seen: &Self) {
        for (name, log) in &mut self.channels {
            if let Some(seen) = seen.channels.get(name)
                && seen.epoch == log.epoch
            {
                log.trim(seen.floor);
            }
        }
    }

    pub(super) fn first_moment() -> u64 {
        NOW
    }
}

/// The epoch of a message's second channel, where the store doesn't know that one yet.
fn epoch_of_second(first: Epoch) -> Epoch {
    epoch(first.bits() + 5_000)
}
