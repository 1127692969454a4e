//! What a call does: the same as the script of the real engine.

use std::collections::{BTreeMap, BTreeSet};

use super::super::call::{Answer, Call, Entry, Line, MessageEntry, Outcome};
use super::super::engine::{CallBounds, ChannelBounds};
use super::super::frame::Frame;
use super::state::{ModelChannel, ModelState, UserConnection};
use crate::base::{ChannelKind, Epoch, Fd, Position};

/// Messages that are let go at once, where there are too many.
const TRIM_STEP: usize = 16;

/// A frame on its way, and the generation that it goes to.
pub(super) type Posted = (u64, Vec<u8>);

/// The outcome of a call, and what it has sent.
pub(super) struct Made {
    pub(super) answer: Answer,
    pub(super) posted: Vec<Posted>,
}

/// Whether a full engine refuses a call.
pub(super) fn needs_room(call: &Call) -> bool {
    call.entries.iter().any(|entry| {
        matches!(
            entry,
            Entry::Message(_) | Entry::Member { lasting: true, .. }
        )
    })
}

impl ModelState {
    /// Makes a call; with `is_broken` it fails in the middle.
    pub(super) fn make(
        &mut self,
        call: &Call,
        bounds: &CallBounds,
        now_ms: u64,
        is_broken: bool,
    ) -> Made {
        let answer = |answer| Made {
            answer,
            posted: Vec::new(),
        };
        if self.life.as_ref().map(|life| &life.life) != Some(&call.life) {
            return answer(Answer::OtherLife);
        }
        let generation = call.caller.generation;
        let kept = self.calls.get_mut(&generation);
        let kept = kept.map(|kept| {
            kept.again += u64::from(kept.number == call.number);
            (kept.number, kept.answer.clone(), kept.is_dead)
        });
        let (number, last, is_dead) = kept.unwrap_or_default();
        if number == call.number {
            return answer(last.unwrap_or(Answer::Broken));
        }
        if is_dead || self.nodes.get(&call.caller.node) != Some(&generation) {
            return answer(Answer::Gone);
        }
        if call.number < number {
            return answer(Answer::Old);
        }
        let kept = self.calls.entry(generation).or_default();
        (kept.number, kept.answer) = (call.number, None);
        if is_broken {
            return answer(Answer::Broken);
        }
        let life = self.life.as_mut().expect("a call has a life");
        life.n += 1;
        let n = life.n;
        let mut maker = CallMaker {
            state: self,
            call,
            bounds,
            now_ms,
            n,
            posted: Vec::new(),
            reached: BTreeSet::new(),
            refused: BTreeMap::new(),
            has_windows: false,
        };
        let entries = call.entries.iter();
        let outcomes = entries.map(|entry| maker.enter(entry)).collect();
        let CallMaker {
            posted, reached, ..
        } = maker;
        let answer = Answer::Done {
            n,
            outcomes,
            reached: reached.into_iter().collect(),
        };
        let kept = self.calls.entry(generation).or_default();
        kept.answer = Some(answer.clone());
        Made { answer, posted }
    }
}

/// A call while it is made.
struct CallMaker<'a> {
    state: &'a mut ModelState,
    call: &'a Call,
    bounds: &'a CallBounds,
    now_ms: u64,
    n: u64,
    posted: Vec<Posted>,
    reached: BTreeSet<u64>,
    /// Producers of which a message was refused, and why.
    refused: BTreeMap<Box<str>, Outcome>,
    /// Whether the windows of ids were looked at.
    has_windows: bool,
}

impl CallMaker<'_> {
    fn enter(&mut self, entry: &Entry) -> Outcome {
        match entry {
            Entry::Message(message) => return self.message(message),
            Entry::Attach { line, reader } => {
                self.attach(line);
                let reader = reader.as_deref();
                return self.entered(vec![line.channel.clone()], reader, Vec::new(), None);
            }
            Entry::Login {
                fd,
                uid,
                now_ms,
                connections_max,
                lines,
                bits,
                asks_acks,
            } => {
                let replaced = self.connect(*fd, uid, *now_ms, *connections_max);
                let reader = asks_acks.then_some(&**uid);
                return self.login(uid, lines, *bits, reader, replaced);
            }
            Entry::Purge { channel, epoch } => self.purge(channel, *epoch),
            Entry::Trim { channel, through } => {
                if let Some(channel) = self.state.channels.get_mut(&**channel) {
                    let count = through.saturating_sub(channel.floor());
                    channel.drop_oldest(usize::try_from(count).unwrap_or(usize::MAX));
                }
            }
            Entry::Ack {
                channel,
                uid,
                epoch,
                offset,
            } => self.ack(channel, uid, *epoch, *offset),
            Entry::Member { room, uid, lasting } => self.member(room, uid, *lasting),
            Entry::Mark { producer, number } => {
                self.raise_mark(producer, *number);
            }
            Entry::Detach { channel } => {
                let generation = self.call.caller.generation;
                self.state.take_route(channel, generation);
            }
            Entry::Nothing => {}
        }
        Outcome::Done
    }

    fn message(&mut self, message: &MessageEntry) -> Outcome {
        let channel = &message.first.channel;
        if let Some((producer, number)) = &message.mark {
            if let Some(why) = self.refused.get(producer) {
                return why.clone();
            }
            let known = self.state.channels.get(channel);
            let settled = known.and_then(|known| known.producers.get(producer));
            if settled.is_some_and(|settled| number <= settled) {
                return Outcome::Settled;
            }
        }
        if let Some(sameness) = message.sameness {
            if !std::mem::replace(&mut self.has_windows, true) {
                let repeat_ms = self.bounds.repeat_ms;
                self.state.change_windows(self.now_ms, repeat_ms);
            }
            if let Some(position) = self.state.repeat_of(sameness.key) {
                self.settle(message);
                return Outcome::Repeat(position);
            }
            if let Some(why) = self.state.refusal_of(sameness.owner, self.bounds) {
                let producer = message.mark.as_ref().map(|(producer, _)| producer.clone());
                (self.refused).extend(producer.map(|producer| (producer, why.clone())));
                return why;
            }
        }
        let first = self.append(&message.first, &message.payload);
        let second = message.second.as_ref();
        let second_at = second.and_then(|line| self.append(line, &message.payload));
        self.settle(message);
        if let Some(sameness) = message.sameness {
            self.state.remember(sameness, first, self.bounds);
        }
        self.post_message(channel, first, &message.payload);
        if let Some(line) = second {
            self.post_message(&line.channel, second_at, &message.payload);
        }
        Outcome::Sent {
            first,
            second: second_at,
            receivers: self.receivers(channel),
        }
    }

    fn settle(&mut self, message: &MessageEntry) {
        if let Some((producer, number)) = &message.mark {
            let channel = self.state.channel(&message.first);
            channel.producers.insert(producer.clone(), *number);
            self.raise_mark(producer, *number);
        }
    }

    /// A producer's numbers come in order, so a mark says that all up to it are settled.
    fn raise_mark(&mut self, producer: &str, number: u64) {
        let mark = self.state.marks.entry(producer.into()).or_insert(0);
        *mark = (*mark).max(number);
    }

    fn append(&mut self, line: &Line, payload: &std::sync::Arc<[u8]>) -> Option<Position> {
        let bounds = match line.kind {
            ChannelKind::Stored => self.bounds.stored,
            ChannelKind::Memory => self.bounds.memory,
            ChannelKind::None => return None,
        };
        let channel = self.state.channel(line);
        channel.newest += 1;
        channel.size += payload.len() as u64;
        channel.messages.push_back(std::sync::Arc::clone(payload));
        trim(channel, &bounds);
        Some(channel.position())
    }

    fn post_message(&mut self, channel: &str, position: Option<Position>, payload: &[u8]) {
        let frame = Frame::Message {
            n: position.map_or(0, |_| self.n),
            position,
            channel,
            payload,
        };
        let hearers = self.state.hearers(channel);
        self.post(&frame, &hearers, position.is_some());
    }

    /// Sends a frame, which waits for its mark if it is `held`.
    fn post(&mut self, frame: &Frame<'_>, hearers: &[u64], held: bool) {
        for generation in hearers {
            self.posted.push((*generation, frame.bytes()));
            if held {
                self.reached.insert(*generation);
            }
        }
    }

    fn receivers(&self, channel: &str) -> u64 {
        let routes = self.state.routes.get(channel).into_iter().flatten();
        let alive = routes.filter(|(generation, _)| self.is_alive(**generation));
        alive.map(|(_, count)| count).sum()
    }

    fn is_alive(&self, generation: u64) -> bool {
        generation == self.call.caller.generation || self.call.alive.contains(&generation)
    }

    fn purge(&mut self, channel: &str, epoch: Epoch) {
        let new = ModelChannel::new(epoch, self.state.era());
        let before = self.state.channels.insert(channel.into(), new);
        if let Some(before) = before.filter(|before| before.is_memory)
            && let Some(channel) = self.state.channels.get_mut(channel)
        {
            channel.is_memory = before.is_memory;
        }
        self.state.acks.remove(channel);
        let frame = Frame::Purged {
            n: self.n,
            epoch,
            channel,
        };
        let hearers = self.state.hearers(channel);
        self.post(&frame, &hearers, true);
    }

    fn ack(&mut self, channel: &str, uid: &str, epoch: Option<Epoch>, offset: u64) {
        let Some(known) = self.state.channels.get(channel) else {
            return;
        };
        let is_other = epoch.is_some_and(|epoch| epoch != known.epoch);
        if is_other || offset > known.newest {
            return;
        }
        let epoch = known.epoch;
        let acks = self.state.acks.entry(channel.into()).or_default();
        let is_older = |(old, at): &(Epoch, u64)| *old == epoch && offset <= *at;
        if !acks.get(uid).is_some_and(is_older) {
            acks.insert(uid.into(), (epoch, offset));
        }
    }

    fn member(&mut self, room: &str, uid: &str, lasting: bool) {
        let state = &mut *self.state;
        let members = state.members.entry(room.into()).or_default();
        let memberships = state.memberships.entry(uid.into()).or_default();
        if lasting {
            members.insert(uid.into());
            memberships.insert(room.into());
        } else {
            members.remove(uid);
            memberships.remove(room);
        }
        state.members.retain(|_, members| !members.is_empty());
        state.memberships.retain(|_, rooms| !rooms.is_empty());
        let mut hearers = state.hearers(room);
        hearers.extend(state.hearers(&format!("@{uid}")));
        hearers.sort_unstable();
        hearers.dedup();
        self.post(&Frame::Member { room, uid, lasting }, &hearers, false);
    }

    fn attach(&mut self, line: &Line) {
        self.state.channel(line);
        let generation = self.call.caller.generation;
        self.state.add_route(&line.channel, generation);
    }

    /// Writes a connection down; returns the oldest one, which it takes out, if there are too many.
    fn connect(&mut self, fd: Fd, uid: &str, now_ms: u64, connections_max: usize) -> Option<Fd> {
        let generation = self.call.caller.generation;
        let mut connections = self.state.users.remove(uid).unwrap_or_default();
        connections.retain(|_, connection| self.is_alive(connection.generation));
        let others = connections.iter().filter(|(other, _)| **other != fd);
        let is_full = others.clone().count() >= connections_max;
        let oldest = others.min_by_key(|(other, connection)| (connection.since_ms, other.0));
        let replaced = oldest.map(|(other, _)| *other).filter(|_| is_full);
        if let Some(replaced) = replaced {
            connections.remove(&replaced);
        }
        let connection = UserConnection {
            generation,
            since_ms: now_ms,
            session: "".into(),
        };
        connections.insert(fd, connection);
        self.state.users.insert(uid.into(), connections);
        let own = self.state.connections.entry(generation).or_default();
        own.insert(fd, uid.into());
        replaced
    }

    fn login(
        &mut self,
        uid: &str,
        lines: &[Line],
        bits: u64,
        reader: Option<&str>,
        replaced: Option<Fd>,
    ) -> Outcome {
        let lasting = self.state.memberships.get(uid);
        let lasting: Vec<Box<str>> = lasting.into_iter().flatten().cloned().collect();
        for line in lines {
            self.attach(line);
        }
        for room in &lasting {
            if lines.iter().all(|line| line.channel != *room) {
                self.attach(&Line {
                    channel: room.clone(),
                    kind: ChannelKind::None,
                    new_epoch: epoch_of(bits, room),
                });
            }
        }
        let channels = lines.iter().map(|line| &line.channel).chain(&lasting);
        self.entered(
            channels.cloned().collect(),
            reader,
            lasting.clone(),
            replaced,
        )
    }

    fn entered(
        &self,
        mut names: Vec<Box<str>>,
        reader: Option<&str>,
        lasting: Vec<Box<str>>,
        replaced: Option<Fd>,
    ) -> Outcome {
        names.sort_unstable();
        names.dedup();
        let mut acks = Vec::new();
        let mut channels = Vec::new();
        for name in names {
            let state = self.state.channels[&name].state();
            let acked = self.state.acks.get(&name);
            let acked = acked.and_then(|acked| acked.get(reader?));
            if let Some((_, offset)) = acked.filter(|(epoch, _)| *epoch == state.epoch) {
                acks.push((name.clone(), *offset));
            }
            channels.push((name, state));
        }
        Outcome::Entered {
            channels,
            lasting,
            acks,
            replaced,
        }
    }
}

/// Lets go of what is beyond the bounds after a message was appended.
fn trim(channel: &mut ModelChannel, bounds: &ChannelBounds) {
    let messages_max = bounds.messages_max.max(1);
    if channel.messages.len() as u64 >= messages_max + TRIM_STEP as u64 {
        channel.drop_oldest(TRIM_STEP);
    }
    while channel.size > bounds.size_max && channel.messages.len() > 1 {
        channel.drop_oldest(1);
    }
}

/// The epoch of a lasting room that is new, out of the random bits of its login: the same sum as the
/// script's, in which no product is above 2^53.
fn epoch_of(bits: u64, room: &str) -> Epoch {
    let range = 1 << 30;
    let sum = room.bytes().fold(bits % range, |sum, byte| {
        (sum * 31 + u64::from(byte)) % range
    });
    Epoch::from_bits(u32::try_from(sum).expect("below 2^30"))
}
