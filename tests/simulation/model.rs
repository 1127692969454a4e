//! The chat as it should be, as plainly as it can be written: nothing shared, nothing in parts,
//! nothing put off.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{At, Life, Log, Start, Wish, Words};
use tidings::chat::{ChannelKind, ChatError, ChatSettings, ChatStats, NameProblem, Rights};
use tidings::server::Fd;

/// Who is where, and what was said.
#[derive(Debug)]
pub struct Model {
    pub settings: ChatSettings,
    pub now: u64,
    pub unix_ms: u64,
    pub connections: BTreeMap<Fd, Option<Own>>,
    /// They gave way to newer ones: the reactor closes them, and they hear nothing more. The chat
    /// hears of it later.
    pub deaf: BTreeSet<Fd>,
    pub rooms: BTreeMap<String, Room>,
    pub lines: BTreeMap<String, Line>,
    pub everyone: Log,
    pub lasting: BTreeMap<String, Vec<String>>,
    pub repeats: super::repeats::Repeats,
    /// What the chat should have counted.
    pub counted: ChatStats,
    /// What is heard by the current action.
    pub heard: Vec<(Fd, Expected)>,
    lives: u32,
}

/// What a connection is from its login on.
#[derive(Debug, Clone)]
pub struct Own {
    pub uid: String,
    pub rights: Rights,
    pub rooms: Vec<String>,
}

/// Who opens a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    BackEnd,
    User(String),
    /// A user's own line.
    Own,
}

impl Opens {
    fn user(&self) -> Option<String> {
        match self {
            Self::User(uid) => Some(uid.clone()),
            Self::BackEnd | Self::Own => None,
        }
    }

    /// By the rights of a user.
    pub fn of(rights: &Rights, uid: &str) -> Self {
        match rights {
            Rights::ApiKey { .. } => Self::BackEnd,
            Rights::Open | Rights::Token { .. } => Self::User(uid.into()),
        }
    }
}

#[derive(Debug)]
pub struct Room {
    pub log: Log,
    pub opener: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// It was told that it hears no more of who comes and goes.
    pub is_quiet: bool,
    pub touched: Touched,
}

#[derive(Debug, Default)]
pub struct Member {
    pub fds: Vec<Fd>,
    pub leaving: Option<u64>,
    pub lasting: bool,
}

#[derive(Debug)]
pub struct Line {
    pub log: Log,
    pub opener: Option<String>,
    pub fds: Vec<Fd>,
    pub touched: Touched,
}

/// When a channel got its last visitor, and when it was changed at all.
#[derive(Debug, Clone, Copy)]
pub struct Touched {
    pub empty_since: u64,
    pub at: u64,
}

/// What a connection should hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    Welcome(Vec<Greeting>),
    Message(Option<String>, Option<At>, Words),
    Gap(String, At),
    Joined(String, String),
    Left(String, String),
    Presence(String, Option<(Vec<String>, usize)>),
    Subscribed(String),
    Unsubscribed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub channel: String,
    pub at: Option<At>,
    pub recovered: bool,
    pub members: Option<usize>,
    pub is_quiet: bool,
}

pub type Answer<T> = Result<T, ChatError>;

impl Model {
    pub fn new(settings: ChatSettings) -> Self {
        Self {
            repeats: super::repeats::Repeats::default(),
            settings,
            now: 0,
            unix_ms: 0,
            connections: BTreeMap::new(),
            deaf: BTreeSet::new(),
            rooms: BTreeMap::new(),
            lines: BTreeMap::new(),
            everyone: Log::new(Life(0)),
            lasting: BTreeMap::new(),
            counted: ChatStats::default(),
            heard: Vec::new(),
            lives: 0,
        }
    }

    /// Begins an action: what is too old is gone.
    pub fn begin(&mut self) {
        let (now, settings) = (self.now, &self.settings);
        let rooms = self.rooms.values_mut().map(|room| &mut room.log);
        let lines = self.lines.values_mut().map(|line| &mut line.log);
        for log in rooms.chain(lines).chain([&mut self.everyone]) {
            log.forget_old(now, settings);
        }
        self.heard.clear();
    }

    pub fn keeps(&self, channel: &str) -> bool {
        self.settings.kind_of(channel) == ChannelKind::Memory
    }

    pub fn new_life(&mut self) -> Life {
        self.lives += 1;
        Life(self.lives)
    }

    pub fn kept_bytes(&self) -> usize {
        let rooms = self.rooms.values().map(|room| room.log.bytes());
        let lines = self.lines.values().map(|line| line.log.bytes());
        rooms.chain(lines).sum::<usize>() + self.everyone.bytes()
    }

    pub fn own(&self, fd: Fd) -> Answer<&Own> {
        let connection = self.connections.get(&fd);
        let connection = connection.ok_or(ChatError::NoConnection(fd))?;
        connection.as_ref().ok_or(ChatError::NotLoggedIn)
    }

    pub fn own_mut(&mut self, fd: Fd) -> &mut Own {
        let connection = self.connections.get_mut(&fd).expect("it is open");
        connection.as_mut().expect("it is logged in")
    }

    /// Lines that count for others than their users.
    pub fn unclaimed(&self) -> usize {
        let lines = self.lines.values();
        lines.filter(|line| line.opener.is_some()).count()
    }

    /// Counts one more channel, if there may be one.
    fn new_log(&mut self, opens: &Opens, is_line: bool) -> Answer<Log> {
        let settings = &self.settings;
        let mut max = settings.channels_max;
        if let Opens::User(uid) = opens {
            let share_max = settings.channels_per_user_max;
            let rooms = self.rooms.values().map(|room| &room.opener);
            let lines = self.lines.values().map(|line| &line.opener);
            let own = rooms
                .chain(lines)
                .filter(|opener| opener.as_ref() == Some(uid));
            if own.count() >= share_max {
                self.counted.refused_share += 1;
                return Err(ChatError::ChannelsOfUser(share_max));
            }
            if is_line {
                if self.unclaimed() >= settings.unclaimed_lines_max {
                    self.counted.refused_full += 1;
                    return Err(ChatError::LinesFull(settings.unclaimed_lines_max));
                }
                return Ok(Log::new(self.new_life()));
            }
            max -= max / 10;
        }
        let count = self.rooms.len() + self.lines.len() - self.unclaimed();
        if *opens != Opens::Own && count >= max {
            self.counted.refused_full += 1;
            return Err(ChatError::ChannelsFull(self.settings.channels_max.min(max)));
        }
        Ok(Log::new(self.new_life()))
    }

    pub fn ensure_room(&mut self, name: &str, opens: &Opens) -> Answer<()> {
        if !self.rooms.contains_key(name) {
            let room = Room {
                log: self.new_log(opens, false)?,
                opener: opens.user(),
                members: BTreeMap::new(),
                is_quiet: false,
                touched: self.touched(),
            };
            self.rooms.insert(name.into(), room);
        }
        Ok(())
    }

    pub fn ensure_line(&mut self, uid: &str, opens: &Opens) -> Answer<()> {
        let own = Opens::User(uid.into());
        let opens = if *opens == own { &Opens::Own } else { opens };
        if !self.lines.contains_key(uid) {
            let line = Line {
                log: self.new_log(opens, true)?,
                opener: opens.user(),
                fds: Vec::new(),
                touched: self.touched(),
            };
            self.lines.insert(uid.into(), line);
        }
        Ok(())
    }

    fn touched(&self) -> Touched {
        Touched {
            empty_since: self.now,
            at: self.now,
        }
    }

    /// All who are logged in and still hear.
    fn listeners(&self) -> impl Iterator<Item = (Fd, &Own)> {
        let all = self.connections.iter();
        let logged_in = all.filter_map(|(fd, own)| Some((*fd, own.as_ref()?)));
        logged_in.filter(|(fd, _)| !self.deaf.contains(fd))
    }

    /// Whoever hears a channel.
    pub fn hearers(&self, channel: &str) -> BTreeSet<Fd> {
        let hears = |own: &Own| match channel.strip_prefix('@') {
            Some(uid) => own.uid == uid,
            None => channel == "*" || own.rooms.iter().any(|room| room == channel),
        };
        let listeners = self.listeners().filter(|(_, own)| hears(own));
        listeners.map(|(fd, _)| fd).collect()
    }

    pub fn tell(&mut self, fd: Fd, expected: Expected) {
        if !self.deaf.contains(&fd) {
            self.heard.push((fd, expected));
        }
    }

    pub fn tell_all(&mut self, channel: &str, expected: &Expected) {
        for fd in self.hearers(channel) {
            self.heard.push((fd, expected.clone()));
        }
    }

    /// What somebody gets first who begins to hear a channel.
    pub fn subscribe(&mut self, fd: Fd, channel: &str, start: Start) {
        let log = self.log(channel).expect("it is there");
        let life = log.life;
        let at = |offset| Some((life, offset));
        let name = || channel.to_owned();
        let mut first = vec![Expected::Subscribed(name())];
        if start.gap {
            first.push(Expected::Gap(name(), (life, start.after)));
        }
        first.extend(
            log.after(start.after)
                .map(|(offset, words)| Expected::Message(Some(name()), at(offset), words.clone())),
        );
        for expected in first {
            self.tell(fd, expected);
        }
    }

    pub fn log(&self, channel: &str) -> Option<&Log> {
        match channel.strip_prefix('@') {
            Some(uid) => self.lines.get(uid).map(|line| &line.log),
            None if channel == "*" => Some(&self.everyone),
            None => self.rooms.get(channel).map(|room| &room.log),
        }
    }

    pub fn log_mut(&mut self, channel: &str) -> Option<&mut Log> {
        match channel.strip_prefix('@') {
            Some(uid) => self.lines.get_mut(uid).map(|line| &mut line.log),
            None if channel == "*" => Some(&mut self.everyone),
            None => self.rooms.get_mut(channel).map(|room| &mut room.log),
        }
    }

    pub fn greet(&self, channel: &str, uid: &str, wish: Wish) -> (Greeting, Start) {
        let log = self.log(channel).expect("it is there");
        let start = log.start(uid, wish);
        let keeps = self.keeps(channel);
        let members = self.rooms.get(channel).map(|room| {
            let others = room.members.iter().filter(|(own, _)| *own != uid);
            others.filter(|(_, member)| member.is_present()).count() + 1
        });
        let greeting = Greeting {
            channel: channel.into(),
            at: keeps.then(|| log.at()),
            recovered: start.recovered && (keeps || wish == Wish::Now),
            members,
            is_quiet: members.is_some_and(|users| users > self.settings.presence_users_max)
                || self.rooms.get(channel).is_some_and(|room| room.is_quiet),
        };
        (greeting, start)
    }
}

impl Room {
    /// Users who are here, or went a moment ago.
    pub fn present(&self) -> usize {
        self.members
            .values()
            .filter(|member| member.is_present())
            .count()
    }

    pub fn connections(&self) -> usize {
        self.members.values().map(|member| member.fds.len()).sum()
    }
}

impl Member {
    pub fn is_present(&self) -> bool {
        !self.fds.is_empty() || self.leaving.is_some()
    }
}

/// What is wrong with a name, if anything is.
pub fn check_name(field: &'static str, name: &str, is_room: bool) -> Answer<()> {
    let bytes_max = if is_room { 255 } else { 254 };
    let problem = if is_room && (name.starts_with('@') || name.starts_with('*')) {
        NameProblem::Reserved
    } else if name.is_empty() {
        NameProblem::Empty
    } else if name.len() > bytes_max {
        NameProblem::TooLong(bytes_max)
    } else if name.chars().any(char::is_control) {
        NameProblem::Control
    } else {
        return Ok(());
    };
    Err(ChatError::Name { field, problem })
}
