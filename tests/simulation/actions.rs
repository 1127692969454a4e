//! Random actions of people and back ends, each applied to the chat and to the model.

use std::sync::{Arc, LazyLock};

use super::coming::wish_of;
use super::model::Answer;
use super::reactors::Poster;
use super::saying::{Author, Spoken};
use super::world::{ROOMS, UIDS, World};
use tidings::chat::{
    Actor, ChatError, Epoch, Keep, LoggedIn, Login, NewMessage, Pattern, Position, PurgeOutcome,
    Receipt, Recipient, Resume, Rights, SayOutcome, TokenUser,
};
use tidings::server::Fd;

/// Where users without a connection may speak.
static ROOMS_OF_TOKENS: LazyLock<[Pattern; 1]> = LazyLock::new(|| [Pattern::new("t*")]);

impl World {
    /// One action, and everything that it should have brought about.
    pub fn step(&mut self) {
        let ms = match self.random.below(10) {
            0..6 => 0,
            6..9 => self.random.below(200) as u64,
            _ => self.random.below(6_000) as u64,
        };
        self.wait(ms);
        match self.random.below(100) {
            0..6 => self.open(),
            6..10 => self.close(),
            10..22 => self.login(),
            22..32 => self.join(),
            32..37 => self.leave(),
            37..62 => self.say(),
            62..66 => self.say_to_each(),
            66..72 => self.ack(),
            72..76 => self.expire(),
            76..78 => self.logout(),
            78..82 => self.add_member(),
            82..85 => {
                let (room, uid) = (self.room(), self.uid());
                self.remove_member(room, uid);
            }
            85..87 => self.purge(),
            _ => self.ask(),
        }
        self.compare_heard();
        self.compare_stats();
    }

    pub fn room(&mut self) -> &'static str {
        match self.random.below(60) {
            0 => "@ann",
            1 => "",
            _ => self.random.pick(&ROOMS),
        }
    }

    pub fn uid(&mut self) -> &'static str {
        match self.random.below(60) {
            0 => "a\nb",
            1 => "",
            _ => self.random.pick(&UIDS),
        }
    }

    /// A connection, now and then one that isn't there.
    pub fn fd(&mut self) -> Fd {
        let count = self.model.connections.len();
        if count == 0 || self.random.one_in(40) {
            return Fd(1_000_000);
        }
        let nth = self.random.below(count);
        *self
            .model
            .connections
            .keys()
            .nth(nth)
            .expect("it is counted")
    }

    /// A channel, as history and ack name it.
    pub fn channel(&mut self) -> String {
        match self.random.below(6) {
            0 => "*".into(),
            1 | 2 => format!("@{}", self.uid()),
            _ => self.room().into(),
        }
    }

    fn resume(&mut self, channel: &str) -> Resume {
        match self.random.below(8) {
            0 | 1 => Resume::Now,
            2 | 3 => Resume::Acked,
            4 => Resume::After(Position {
                epoch: self.epoch(),
                offset: self.random.below(5) as u64,
            }),
            _ => {
                let seen = self.seen.iter().rev().filter(|(name, _)| name == channel);
                let lately: Vec<Position> = seen.take(5).map(|(_, position)| *position).collect();
                match lately[..] {
                    [] => Resume::Now,
                    _ => Resume::After(self.random.pick(&lately)),
                }
            }
        }
    }

    fn epoch(&mut self) -> Epoch {
        let known = self.epochs.known();
        match self.random.below(3) {
            0 => Epoch::NONE,
            1 => Epoch::of("zzzzzz"),
            _ if known.is_empty() => Epoch::NONE,
            _ => self.random.pick(&known),
        }
    }

    pub fn rights(&mut self) -> Rights {
        match self.random.below(5) {
            0 | 1 => Rights::Open,
            2 => Rights::ApiKey {
                name: self.random.pick(&["shop", "game"]).into(),
            },
            _ => {
                let pattern = self.random.pick(&["*", "team-*", "t*"]);
                Rights::Token {
                    rooms: [Pattern::new(pattern)].into(),
                }
            }
        }
    }

    fn open(&mut self) {
        if self.model.connections.len() < 8 {
            let fd = Fd(self.next_fd);
            self.next_fd += 1;
            self.reactors.open(fd);
            self.chat.opened(fd);
            self.model.opened(fd);
        }
    }

    fn close(&mut self) {
        let deaf: Vec<Fd> = self.model.deaf.iter().copied().collect();
        let fd = match deaf[..] {
            [] => self.fd(),
            _ => self.random.pick(&deaf),
        };
        self.closed(fd);
    }

    fn login(&mut self) {
        let fd = self.fd();
        let own = self.model.own(fd).ok().map(|own| own.uid.clone());
        let uid = match own {
            // Nearly always it is a renewal then.
            Some(own) if !self.random.one_in(5) => own,
            _ => self.uid().to_owned(),
        };
        let rights = self.rights();
        let rooms: Vec<&str> = (0..self.random.below(4)).map(|_| self.room()).collect();
        let mut resume: Vec<(String, Resume)> = Vec::new();
        for _ in 0..self.random.below(5) {
            let channel = match self.random.below(3) {
                0 => format!("@{uid}"),
                _ => self.channel(),
            };
            let wish = self.resume(&channel);
            if !resume.iter().any(|(name, _)| *name == channel) {
                resume.push((channel, wish));
            }
        }
        let resume: Vec<(&str, Resume)> =
            resume.iter().map(|(name, wish)| (&**name, *wish)).collect();
        let wishes: Vec<_> = resume
            .iter()
            .map(|(name, wish)| (*name, wish_of(&self.epochs, *wish)))
            .collect();
        let expected = self.model.login(fd, &uid, &rights, &rooms, &wishes);
        let login = Login {
            fd,
            uid: &uid,
            rights: Arc::new(rights),
            rooms: &rooms,
            resume: &resume,
        };
        let mut post = Poster::wishing(&self.reactors, &resume);
        let actual = self.chat.login(&mut post, self.now(), &login);
        assert_eq!(actual, expected, "{login:?}");
        self.compare_heard();
        if let Ok(LoggedIn {
            replaced: Some(oldest),
            ..
        }) = actual
        {
            self.cut(oldest);
        }
    }

    fn logout(&mut self) {
        let fd = self.fd();
        let expected = self.model.logout(fd);
        let mut post = Poster::new(&self.reactors);
        let actual = self.chat.logout(&mut post, self.now(), fd);
        assert_eq!(actual.map(|user| user.uid().to_owned()), expected);
    }

    fn join(&mut self) {
        let (fd, room) = (self.fd(), self.room());
        let resume = self.resume(room);
        let wish = wish_of(&self.epochs, resume);
        let expected = self.model.join(fd, room, wish);
        let mut post = Poster::wishing(&self.reactors, &[(room, resume)]);
        let actual = self.chat.join(&mut post, self.now(), fd, room, resume);
        assert_eq!(actual, expected, "{fd} joins {room:?} with {resume:?}");
    }

    fn leave(&mut self) {
        let (fd, room) = (self.fd(), self.room());
        let expected = self.model.leave(fd, room);
        let mut post = Poster::new(&self.reactors);
        let actual = self.chat.leave(&mut post, self.now(), fd, room);
        assert_eq!(actual, expected, "{fd} leaves {room:?}");
    }

    fn add_member(&mut self) {
        let (room, uid) = (self.room(), self.uid());
        let expected = self.model.add_member(room, uid);
        let mut post = Poster::new(&self.reactors);
        let actual = self.chat.add_member(&mut post, self.now(), room, uid);
        assert_eq!(actual, expected, "{uid:?} lasts in {room:?}");
    }

    pub fn remove_member(&mut self, room: &str, uid: &str) {
        let expected = self.model.remove_member(room, uid);
        let mut post = Poster::new(&self.reactors);
        let actual = self.chat.remove_member(&mut post, self.now(), room, uid);
        assert_eq!(actual, expected, "{uid:?} lasts no more in {room:?}");
    }

    fn purge(&mut self) {
        let channel = self.channel();
        let expected = self.model.purge(&channel);
        let mut post = Poster::new(&self.reactors);
        match (self.chat.purge(&mut post, &channel), expected) {
            (Ok(PurgeOutcome::Stored(_)), _) => panic!("nothing is stored here"),
            (Ok(PurgeOutcome::Done(actual)), Ok(expected)) => {
                assert!(
                    self.epochs.are_same(Some(expected), Some(actual)),
                    "{channel}"
                );
            }
            (actual, expected) => assert_eq!(actual.err(), expected.err(), "{channel}"),
        }
    }

    fn ack(&mut self) {
        let (fd, channel) = (self.fd(), self.channel());
        let newest = self.model.log(&channel).map_or(0, |log| log.newest);
        let offset = self.random.below(newest as usize + 2) as u64;
        let expected = self.model.ack(fd, &channel, offset);
        let actual = self.chat.ack(fd, &channel, offset);
        assert_eq!(
            actual.map(|to_store| assert_eq!(to_store, None)),
            expected,
            "{fd} acks {offset} of {channel:?}"
        );
    }

    pub fn expire(&mut self) {
        self.model.expire();
        let mut post = Poster::new(&self.reactors);
        self.chat.expire(&mut post, self.now());
        self.compare_gone();
    }

    fn to(&mut self) -> Target {
        match self.random.below(10) {
            0..5 => Target::Room(self.room()),
            5..8 => Target::User(self.uid()),
            8 => Target::Fd(self.fd()),
            _ => Target::All,
        }
    }

    fn say(&mut self) {
        // Now and then as before: that may be a repeat.
        let last = self.last.filter(|_| self.random.one_in(3));
        let opening = last.unwrap_or_else(|| Opening {
            to: self.to(),
            ..self.opening()
        });
        self.last = Some(opening);
        self.with_words(opening, |world, actor, say| {
            world.say_one(actor, opening.to.as_to(), say);
        });
    }

    fn say_one(&mut self, actor: Actor<'_>, to: Recipient<'_>, say: &NewMessage<'_>) {
        let author = self.model.author(actor, to, say);
        let mut post = Poster::new(&self.reactors);
        let actual = self.chat.say(&mut post, self.now(), actor, to, say);
        let actual = actual.map(said);
        match author {
            Ok(author) => self.check_said(&author, to, say, actual),
            Err(error) => assert_eq!(actual, Err(error), "{actor:?} to {to:?}: {say:?}"),
        }
    }

    fn say_to_each(&mut self) {
        let to: Vec<Target> = (0..self.random.below(6)).map(|_| self.to()).collect();
        let opening = self.opening();
        self.with_words(opening, |world, actor, say| {
            let to: Vec<Recipient<'_>> = to.iter().map(Target::as_to).collect();
            let max = world.model.settings.receivers_max;
            let authors: Answer<Vec<Author>> = match (1..=max).contains(&to.len()) {
                true => to
                    .iter()
                    .map(|to| world.model.author(actor, *to, say))
                    .collect(),
                false => Err(ChatError::Receivers(max)),
            };
            let mut post = Poster::new(&world.reactors);
            let actual = world
                .chat
                .say_to_each(&mut post, world.now(), actor, &to, say);
            match (authors, actual) {
                (Ok(authors), Ok(actual)) => {
                    assert_eq!(actual.len(), to.len());
                    for ((author, to), actual) in authors.iter().zip(to).zip(actual) {
                        world.check_said(author, to, say, actual.map(said));
                    }
                }
                (authors, actual) => assert_eq!(actual.err(), authors.err(), "{to:?}: {say:?}"),
            }
        });
    }

    /// Makes up who says something.
    fn opening(&mut self) -> Opening {
        let fd = self.fd();
        let actor = match self.random.below(6) {
            0 => Actor::Key("shop"),
            1 => Actor::Key(""),
            2 => Actor::User(TokenUser {
                uid: self.uid(),
                rooms: &*ROOMS_OF_TOKENS,
            }),
            _ => Actor::Connection(fd),
        };
        let id = match self.random.below(40) {
            0 => Some(""),
            1 => Some(TOO_LONG),
            2..22 => Some(self.random.pick(&["1", "2", "3"])),
            _ => None,
        };
        let is_key = matches!(actor, Actor::Key(_));
        let names = self.random.one_in(8) || (is_key && self.random.one_in(2));
        Opening {
            actor,
            from: names.then(|| self.uid()),
            id,
            to: Target::All,
        }
    }

    /// Makes up the rest of a message.
    fn with_words(
        &mut self,
        Opening {
            actor, from, id, ..
        }: Opening,
        say_it: impl FnOnce(&mut Self, Actor<'_>, &NewMessage<'_>),
    ) {
        let keep = match self.random.one_in(5) {
            true => Keep::No,
            false => Keep::Yes,
        };
        let except = keep == Keep::No && self.random.one_in(2) || self.random.one_in(30);
        let except: Vec<Fd> = (0..if except { self.random.within(1..=3) } else { 0 })
            .map(|_| self.fd())
            .collect();
        let data = format!("\"{}\"", "d".repeat(self.random.below(30)));
        let say = NewMessage {
            from: from.map(Into::into),
            id: id.map(Into::into),
            keep,
            except,
            data: &data,
        };
        say_it(self, actor, &say);
    }

    fn check_said(
        &mut self,
        author: &Author,
        to: Recipient<'_>,
        say: &NewMessage<'_>,
        actual: Result<Receipt<'_>, ChatError>,
    ) {
        let id = actual.as_ref().map_or("", |said| &*said.id).to_owned();
        if say.id.is_none() && actual.is_ok() {
            assert!(id.len() == 13 && self.ids.insert(id.clone()), "id {id:?}");
        }
        let expected = self.model.say(author, to, say, &id);
        match (actual, expected) {
            (Ok(said), Ok(expected)) => {
                let Receipt {
                    channel,
                    position,
                    duplicate,
                    receivers,
                    id,
                } = said;
                assert!(say.id.as_ref().is_none_or(|own| **own == *id));
                let at = expected.at;
                assert!(
                    self.epochs.are_same(at, position),
                    "{position:?}, not {at:?}"
                );
                let actual = Spoken {
                    channel: channel.map(|name| (*name).into()),
                    at,
                    duplicate,
                    receivers,
                };
                assert_eq!(actual, expected, "{author:?} to {to:?}: {say:?}");
            }
            (actual, expected) => {
                assert_eq!(
                    actual.err(),
                    expected.err(),
                    "{author:?} to {to:?}: {say:?}"
                );
            }
        }
    }
}

/// An id of 65 bytes.
const TOO_LONG: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Who says something to whom.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    actor: Actor<'static>,
    from: Option<&'static str>,
    id: Option<&'static str>,
    to: Target,
}

/// Recipient whom, as far as it can be made up in advance.
#[derive(Debug, Clone, Copy)]
enum Target {
    Room(&'static str),
    User(&'static str),
    Fd(Fd),
    All,
}

impl Target {
    fn as_to(&self) -> Recipient<'static> {
        match *self {
            Self::Room(room) => Recipient::Room(room),
            Self::User(uid) => Recipient::User(uid),
            Self::Fd(fd) => Recipient::Fd(fd),
            Self::All => Recipient::All,
        }
    }
}

/// What was said at once: no channel is stored here.
fn said(saying: SayOutcome) -> Receipt<'static> {
    match saying {
        SayOutcome::Said(said) => said,
        SayOutcome::Pending(draft) => panic!("nothing is stored here: {draft:?}"),
    }
}
