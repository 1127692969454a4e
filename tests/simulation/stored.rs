//! The chat with a disk behind it: what is said becomes durable, and is posted, in steps of their
//! own; who comes back catches up page by page; now and then everything but the disk is lost. A
//! seed decides what happens next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, Outcome, Page, Task};
use super::invariants::Record;
use super::random::Random;
use super::reactors::{Heard, Poster, Reactors, Wishes};
use tidings::base::Tick;
use tidings::chat::{
    Actor, CatchUp, ChannelKind, Chat, ChatSettings, Epoch, Keep, Login, Missing, Moment,
    NewMessage, Notice, Position, PurgeOutcome, Recipient, ReplayPage, Restored, Resume, Rights,
    SayOutcome, Sink, Welcome,
};
use tidings::server::Fd;

const UIDS: [&str; 3] = ["ann", "bob", "cid"];
const ROOMS: [&str; 3] = ["tea", "nut", "pub"];

/// What happened, for a look whether enough did.
pub type Counts = BTreeMap<&'static str, u64>;

pub struct World {
    random: Random,
    settings: ChatSettings,
    disk: Arc<Disk>,
    chat: Chat,
    reactors: Reactors,
    /// What the chat asked for beside what is heard.
    asked: Mutex<Wanted>,
    /// Written, and to be posted.
    written: VecDeque<(Task, Outcome)>,
    /// A page on its way from the disk.
    page: Option<(Fd, Replay, Page)>,
    people: BTreeMap<Fd, &'static str>,
    /// Where somebody was in a channel when a connection ended.
    places: BTreeMap<(&'static str, String), Position>,
    /// Answered, so that it has to be there: channel, place, id.
    promised: Vec<(String, Position, String)>,
    record: Record,
    next_fd: u64,
    now: u64,
    counts: Counts,
}

#[derive(Default)]
struct Wanted {
    tasks: VecDeque<Task>,
    replays: BTreeMap<Fd, BTreeMap<Arc<str>, Replay>>,
    last_id: u64,
}

#[derive(Clone)]
struct Replay {
    id: u64,
    channel: Arc<str>,
    missing: Missing,
}

/// Takes what the chat sends, and what it asks of the disk.
struct Endpoint<'a> {
    reactors: &'a Reactors,
    poster: Poster<'a>,
    asked: &'a Mutex<Wanted>,
}

impl Sink for Endpoint<'_> {
    fn publish(&mut self, topic: &Arc<str>, frame: &Notice<'_>) {
        self.poster.publish(topic, frame);
    }

    fn push(&mut self, fd: Fd, frame: &Notice<'_>) -> bool {
        self.poster.push(fd, frame)
    }

    fn welcome(&mut self, fd: Fd, channels: &[Welcome]) {
        self.poster.welcome(fd, channels);
    }

    fn subscribe(&mut self, fd: Fd, topic: &Arc<str>, first: &[Notice<'_>]) {
        let asked = self.asked.lock().unwrap();
        let replays = asked.replays.get(&fd);
        match replays.is_some_and(|own| own.contains_key(topic)) {
            true => self.reactors.go_on(fd, topic, first),
            false => self.poster.subscribe(fd, topic, first),
        }
    }

    fn replay(&mut self, fd: Fd, topic: &Arc<str>, missing: Missing) {
        let asked = &mut *self.asked.lock().unwrap();
        asked.last_id += 1;
        let replay = Replay {
            id: asked.last_id,
            channel: Arc::clone(topic),
            missing,
        };
        let own = asked.replays.entry(fd).or_default();
        own.insert(Arc::clone(topic), replay);
        // From here on it hears the channel, though only what is read for it.
        self.reactors.catch_up(fd, topic);
    }

    fn forget(&mut self, topic: &Arc<str>) {
        let task = Task::Forget(Arc::clone(topic));
        self.asked.lock().unwrap().tasks.push_back(task);
    }

    fn claim(&mut self, topic: &Arc<str>) {
        assert!(topic.starts_with('@'), "{topic} has no user");
    }

    fn drop_channel(&mut self, topic: &Arc<str>, _: Epoch) {
        panic!("there was room for {topic}");
    }

    fn unsubscribe(&mut self, fd: Fd, topic: &Arc<str>) {
        if let Some(own) = self.asked.lock().unwrap().replays.get_mut(&fd) {
            own.remove(topic);
        }
        self.poster.unsubscribe(fd, topic);
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let settings = ChatSettings {
            kind: ChannelKind::Stored,
            kinds: Vec::new(),
            shards: random.pick(&[1, 3, 64]),
            kept_messages_max: random.within(0..=5),
            kept_ms_max: random.pick(&[1, 500, 60_000]),
            channel_ttl_ms: random.pick(&[0, 1_000, 20_000]),
            ..ChatSettings::default()
        };
        let disk = Arc::new(Disk::default());
        Self {
            chat: chat(&settings, random.next(), &disk),
            random,
            settings,
            disk,
            reactors: Reactors::new(2),
            asked: Mutex::default(),
            written: VecDeque::new(),
            page: None,
            people: BTreeMap::new(),
            places: BTreeMap::new(),
            promised: Vec::new(),
            record: Record::default(),
            next_fd: 1,
            now: 0,
            counts: Counts::new(),
        }
    }

    pub fn step(&mut self) {
        if self.random.one_in(4) {
            self.now += self.random.below(400) as u64;
        }
        match self.random.below(100) {
            0..12 => self.come(),
            12..16 => self.go(),
            16..22 => self.join(),
            22..26 => self.leave(),
            26..52 => self.say(),
            52..62 => self.commit(),
            62..78 => self.settle(),
            78..84 => self.read_page(),
            84..92 => self.send_page(),
            92..94 => self.let_go(),
            94 => self.purge(),
            95..97 => self.ack(),
            97..99 => self.expire(),
            _ => self.crash(),
        }
    }

    /// Everything is done that waits; everybody is where the disk is.
    pub fn end(mut self) -> Counts {
        self.settle_all();
        while self.read_page_of_someone() {
            self.send_page();
        }
        for (&fd, uid) in &self.people {
            let places = places_in(&self.reactors.inbox(fd));
            let own = format!("@{uid}");
            let rooms = self.chat.connection(fd).expect("it is open").rooms;
            let heard = rooms.iter().map(|room| &**room).chain([&*own, "*"]);
            for channel in heard {
                let Some(place) = places.get(channel) else {
                    // It came behind its last acknowledgement, and nothing has come since.
                    continue;
                };
                assert_eq!(
                    Some(*place),
                    self.chat.posted(channel),
                    "{fd} isn't where {channel} is: {:#?}",
                    self.reactors.inbox(fd)
                );
            }
        }
        self.judge_promises();
        for fd in self.people.keys().copied().collect::<Vec<_>>() {
            self.ended(fd);
        }
        assert!(self.asked.lock().unwrap().replays.is_empty());
        self.count("places", self.record.len() as u64);
        self.counts
    }

    fn count(&mut self, what: &'static str, number: u64) {
        *self.counts.entry(what).or_default() += number;
    }

    fn moment(&self) -> Moment {
        Moment {
            tick: Tick(self.now),
            unix_ms: 1_700_000_000_000 + self.now,
        }
    }

    fn door(&self, wishes: &[(&str, Resume)]) -> Endpoint<'_> {
        Endpoint {
            reactors: &self.reactors,
            poster: Poster::wishing(&self.reactors, wishes),
            asked: &self.asked,
        }
    }

    fn somebody(&mut self) -> Option<Fd> {
        let fds: Vec<Fd> = self.people.keys().copied().collect();
        (!fds.is_empty()).then(|| self.random.pick(&fds))
    }

    /// From where somebody wants to hear a channel: mostly from where it was.
    fn wish(&mut self, uid: &'static str, channel: &str) -> Resume {
        let place = self.places.get(&(uid, channel.to_owned())).copied();
        match (self.random.below(8), place) {
            (0, _) => Resume::Now,
            (1, _) => Resume::Acked,
            (2, _) | (_, None) => Resume::After(Position {
                epoch: tidings::chat::Epoch::NONE,
                offset: 0,
            }),
            (_, Some(place)) => Resume::After(place),
        }
    }

    fn come(&mut self) {
        if self.people.len() > 6 {
            return;
        }
        let (fd, uid) = (Fd(self.next_fd), self.random.pick(&UIDS));
        self.next_fd += 1;
        let mut rooms: Vec<&str> = ROOMS.to_vec();
        rooms.retain(|_| self.random.one_in(2));
        let own = format!("@{uid}");
        let channels = rooms.iter().copied().chain([&*own, "*"]);
        let wishes: Vec<(&str, Resume)> = channels
            .map(|channel| (channel, self.wish(uid, channel)))
            .collect();
        self.reactors.open(fd);
        self.chat.opened(fd);
        let login = Login {
            fd,
            uid,
            rights: Arc::new(Rights::Open),
            rooms: &rooms,
            resume: &wishes,
        };
        let mut door = self.door(&wishes);
        let come = self.chat.login(&mut door, self.moment(), &login);
        come.expect("there is room");
        self.people.insert(fd, uid);
        self.judge_welcome(fd);
    }

    fn join(&mut self) {
        let Some(fd) = self.somebody() else { return };
        let room = self.random.pick(&ROOMS);
        let wishes = [(room, self.wish(self.people[&fd], room))];
        let mut door = self.door(&wishes);
        let joined = self
            .chat
            .join(&mut door, self.moment(), fd, room, wishes[0].1);
        joined.expect("there is room");
        self.judge_welcome(fd);
    }

    /// Who was somewhere that the disk still knows is told that nothing is missing.
    fn judge_welcome(&mut self, fd: Fd) {
        let inbox = self.reactors.inbox(fd);
        let mut answers = inbox.iter().rev();
        let answer = answers.find_map(|heard| match heard {
            Heard::Welcome(channels, wishes) => Some((channels.clone(), wishes.clone())),
            _ => None,
        });
        let (channels, wishes): (Vec<Welcome>, Wishes) = answer.expect("an answer");
        let mut counted = (0, 0);
        for welcome in &channels {
            let wish = wishes.iter().find(|(name, _)| **name == *welcome.channel);
            let Some((_, Resume::After(place))) = wish else {
                continue;
            };
            let state = self.disk.state();
            let log = state.logs.get(&*welcome.channel);
            let is_there = log.is_some_and(|log| {
                log.epoch == place.epoch && place.offset >= log.floor && place.offset > 0
            });
            assert!(
                welcome.recovered || !is_there,
                "{place:?} is there, but {welcome:?}"
            );
            match welcome.recovered {
                true => counted.0 += 1,
                false => counted.1 += 1,
            }
        }
        self.count("recovered", counted.0);
        self.count("unrecovered", counted.1);
    }

    fn leave(&mut self) {
        let Some(fd) = self.somebody() else { return };
        let room = self.random.pick(&ROOMS);
        let mut door = self.door(&[]);
        // Not everybody is in there.
        let _ = self.chat.leave(&mut door, self.moment(), fd, room);
    }

    fn go(&mut self) {
        if let Some(fd) = self.somebody() {
            self.chat.closed(self.moment(), fd);
            self.ended(fd);
        }
    }

    /// A connection is no more; where it was is where its user comes back to.
    fn ended(&mut self, fd: Fd) {
        let uid = self.people.remove(&fd).expect("it was there");
        self.asked.lock().unwrap().replays.remove(&fd);
        let inbox = self.reactors.close(fd);
        self.record.judge(&inbox);
        for (channel, place) in places_in(&inbox) {
            self.places.insert((uid, channel), place);
        }
    }

    fn say(&mut self) {
        let from = self.random.pick(&UIDS);
        let to = match self.random.below(8) {
            0 => Recipient::All,
            1 | 2 => Recipient::User(self.random.pick(&UIDS)),
            _ => Recipient::Room(self.random.pick(&ROOMS)),
        };
        let id = self.random.below(40).to_string();
        let say = NewMessage {
            from: Some(from.into()),
            id: self.random.one_in(2).then(|| id.into()),
            keep: Keep::Yes,
            except: Vec::new(),
            data: "1",
        };
        let mut door = self.door(&[]);
        let saying = self
            .chat
            .say(&mut door, self.moment(), Actor::Key("shop"), to, &say);
        match saying.expect("it may be said") {
            SayOutcome::Pending(draft) => self.give(Task::Say(draft)),
            SayOutcome::Said(said) => panic!("it isn't stored: {said:?}"),
        }
    }

    fn purge(&mut self) {
        let room = self.random.pick(&ROOMS);
        let mut door = self.door(&[]);
        if let Ok(PurgeOutcome::Stored(epoch)) = self.chat.purge(&mut door, room) {
            self.give(Task::Purge(room.into(), epoch));
            self.count("purges", 1);
        }
    }

    fn give(&self, task: Task) {
        self.asked.lock().unwrap().tasks.push_back(task);
    }

    /// Writes some of what waits, all at once. The next batch comes when this one is posted; one
    /// that forgets a channel ends with that.
    fn commit(&mut self) {
        if !self.written.is_empty() {
            return;
        }
        for _ in 0..self.random.within(1..=6) {
            let Some(task) = self.asked.lock().unwrap().tasks.pop_front() else {
                return;
            };
            let outcome = self.disk.write(&self.chat, &task);
            let is_last = matches!(task, Task::Forget(_));
            self.written.push_back((task, outcome));
            if is_last {
                return;
            }
        }
    }

    /// Posts the next one that is written.
    fn settle(&mut self) {
        let Some((task, outcome)) = self.written.pop_front() else {
            return;
        };
        let (mut door, now) = (self.door(&[]), self.moment());
        match (task, outcome) {
            (Task::Say(draft), Outcome::Stored(first, second)) => {
                let said = self
                    .chat
                    .deliver_stored(&mut door, now.tick, &draft, (first, second));
                let channel = draft.channels().0.to_owned();
                assert_eq!(said.position, Some(first));
                self.promised.push((channel, first, said.id.into()));
            }
            (Task::Say(draft), Outcome::Repeat(first)) => {
                let said = self.chat.answer_repeat(&draft, first);
                assert!(said.duplicate && said.position == Some(first));
                self.count("repeats", 1);
            }
            (Task::Purge(room, epoch), _) => drop(self.chat.purged(&mut door, &room, epoch)),
            (Task::Forget(name), _) => {
                if !self.disk.state().logs.contains_key(&*name) {
                    self.chat.forget_channel(&mut door, now, &name);
                    self.count("forgotten", 1);
                }
            }
            (task, outcome) => panic!("{task:?}: {outcome:?}"),
        }
    }

    fn settle_all(&mut self) {
        loop {
            while !self.written.is_empty() {
                self.settle();
            }
            self.commit();
            if self.written.is_empty() {
                return;
            }
        }
    }

    /// Begins to read a page for somebody; what else happens until it is there is left to chance.
    fn read_page(&mut self) {
        if self.page.is_none() {
            self.read_page_of_someone();
        }
    }

    fn read_page_of_someone(&mut self) -> bool {
        let asked = self.asked.lock().unwrap();
        let replays = asked.replays.values().flat_map(BTreeMap::keys).count();
        let mut all = (asked.replays.iter())
            .flat_map(|(fd, own)| own.values().map(|replay| (*fd, replay.clone())));
        if replays == 0 {
            return false;
        }
        let (fd, replay) = all.nth(self.random.below(replays)).expect("it is counted");
        drop(all);
        drop(asked);
        let count = self.random.within(1..=4);
        let page = self.disk.page(&replay.channel, replay.missing, count);
        self.page = Some((fd, replay, page));
        true
    }

    /// The page is there.
    fn send_page(&mut self) {
        let Some((fd, replay, page)) = self.page.take() else {
            return;
        };
        let Replay {
            id,
            channel,
            missing,
        } = replay;
        let posted = self.chat.posted(&channel).unwrap_or(missing.after);
        let (frames, missing) = page.frames(&channel, missing, posted);
        let is_current = || {
            let asked = self.asked.lock().unwrap();
            let own = asked.replays.get(&fd).and_then(|own| own.get(&channel));
            own.is_some_and(|replay| replay.id == id)
        };
        let mut door = self.door(&[]);
        let page = ReplayPage {
            fd,
            channel: &channel,
            notices: &frames,
            missing,
        };
        let caught = (self.chat).catch_up(&mut door, self.moment(), page, is_current);
        let mut asked = self.asked.lock().unwrap();
        let Some(own) = asked.replays.get_mut(&fd) else {
            return;
        };
        if own.get(&channel).is_some_and(|replay| replay.id == id) {
            match caught {
                CatchUp::Behind(missing) => own.get_mut(&channel).unwrap().missing = missing,
                CatchUp::Subscribed | CatchUp::Gone => drop(own.remove(&channel)),
            }
        }
        drop(asked);
        self.count("pages", 1);
    }

    /// Time, number or size have the oldest go.
    fn let_go(&mut self) {
        let (nth, count) = (self.random.below(8), self.random.within(1..=6) as u64);
        if let Some(log) = self.disk.state().logs.values_mut().nth(nth) {
            log.let_go(count);
        }
    }

    fn ack(&mut self) {
        let Some(fd) = self.somebody() else { return };
        let (uid, room) = (self.people[&fd], self.random.pick(&ROOMS));
        let offset = self.random.below(20) as u64;
        if let Ok(Some(_)) = self.chat.ack(fd, room, offset) {
            let mut state = self.disk.state();
            if state.logs.contains_key(room) {
                let acked = state.acks.entry((room.into(), uid.into())).or_default();
                *acked = offset.max(*acked);
            }
        }
    }

    fn expire(&mut self) {
        self.now += 1_000;
        let mut door = self.door(&[]);
        self.chat.expire(&mut door, self.moment());
    }

    /// The next image takes over, once nothing is on its way to the disk.
    pub fn hand_over(&mut self) {
        self.settle_all();
        self.chat = super::handover::next_image(&self.chat, Arc::clone(&self.disk) as _);
    }

    /// Only the disk is left.
    fn crash(&mut self) {
        for fd in self.people.keys().copied().collect::<Vec<_>>() {
            self.ended(fd);
        }
        *self.asked.lock().unwrap() = Wanted::default();
        self.written.clear();
        self.page = None;
        self.chat = chat(&self.settings, self.random.next(), &self.disk);
        let state = self.disk.state();
        let known: Vec<(String, Position)> = (state.logs.iter())
            .map(|(name, log)| (name.clone(), log.newest()))
            .collect();
        let acks = state.acks.clone();
        drop(state);
        for (name, newest) in &known {
            self.chat.restore(Restored::Channel(name, *newest));
        }
        for ((channel, uid), &offset) in &acks {
            self.chat.restore(Restored::Ack {
                channel,
                uid,
                offset,
            });
        }
        self.judge_promises();
        self.count("crashes", 1);
    }

    /// What was answered is there, unless it was let go of or purged.
    fn judge_promises(&self) {
        let state = self.disk.state();
        for (channel, place, id) in &self.promised {
            let log = state.logs.get(channel);
            let Some(log) = log.filter(|log| log.epoch == place.epoch) else {
                continue;
            };
            if place.offset > log.floor {
                let there = log.at(place.offset).map(|message| message.id());
                assert_eq!(there, Some(&**id), "{channel} {place:?}");
            }
        }
    }
}

fn chat(settings: &ChatSettings, seed: u64, disk: &Arc<Disk>) -> Chat {
    Chat::with_stored_index(settings.clone(), seed, Arc::clone(disk) as _, [7, 9])
}

/// Where somebody is in each channel that it heard.
pub fn places_in(inbox: &[Heard]) -> BTreeMap<String, Position> {
    let mut places = BTreeMap::new();
    let mut told: BTreeMap<&str, (Position, Resume, bool)> = BTreeMap::new();
    for heard in inbox {
        match heard {
            Heard::Welcome(channels, wishes) => {
                for welcome in channels {
                    let wish = wishes.iter().find(|(name, _)| **name == *welcome.channel);
                    let wish = wish.map_or(Resume::Now, |(_, wish)| *wish);
                    let newest = welcome.position.expect("it is stored");
                    told.insert(&welcome.channel, (newest, wish, welcome.recovered));
                }
            }
            Heard::Subscribed { channel, answered } => {
                match told.remove(&**channel).filter(|_| *answered) {
                    Some((newest, Resume::After(at), true)) => {
                        let offset = at.offset;
                        places.insert(channel.clone(), Position { offset, ..newest });
                    }
                    Some((newest, Resume::Now | Resume::After(_), _)) => {
                        places.insert(channel.clone(), newest);
                    }
                    // Only the server knows from where on.
                    Some((_, Resume::Acked, _)) | None => drop(places.remove(channel)),
                }
            }
            Heard::Gap { channel, position } => drop(places.insert(channel.clone(), *position)),
            Heard::Message(line) => {
                let (channel, position) = (line.channel.clone(), line.position);
                places.extend(channel.zip(position));
            }
            Heard::Unsubscribed(_)
            | Heard::Joined { .. }
            | Heard::Left { .. }
            | Heard::Presence { .. } => {}
        }
    }
    places
}
