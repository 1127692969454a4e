//! The chat from one image of the program to the next: what is taken over is what was handed over, and
//! goes on as if nothing had happened.

use std::sync::Arc;

use super::disk::Disk;
use super::random::Random;
use super::reactors::{Heard, Poster, Reactors};
use super::world::{ROOMS, UIDS, World};
use tidings::base::Tick;
use tidings::chat::{
    Actor, CHAT_FORMAT, ChannelKind, Chat, ChatSettings, Keep, Login, Moment, NewMessage, Pattern,
    Recipient, Resume, Rights, StoredIndex,
};
use tidings::handover::{HandoverError, Section, SectionWriter};
use tidings::server::Fd;

/// A section that the first version wrote.
const EARLIER: &[u8] = include_bytes!("../handovers/chat-1.section");

pub fn handed_over(chat: &Chat) -> SectionWriter {
    let mut section = SectionWriter::new();
    chat.hand_over(&mut section);
    section
}

pub fn take_over(
    section: &SectionWriter,
    settings: ChatSettings,
    stored: Arc<dyn StoredIndex>,
) -> Result<Chat, HandoverError> {
    let section = Section::of(CHAT_FORMAT.name, CHAT_FORMAT.version, section.as_bytes());
    Chat::take_over(&section, settings, stored)
}

/// The chat as the next image has it.
pub fn next_image(chat: &Chat, stored: Arc<dyn StoredIndex>) -> Chat {
    let section = handed_over(chat);
    let next = take_over(&section, chat.settings().present(), stored).expect("it is whole");
    assert_eq!(handed_over(&next), section, "the next image knows the same");
    assert_eq!(next.stats(), chat.stats());
    next
}

fn nothing_stored() -> Arc<dyn StoredIndex> {
    Arc::new(Disk::default())
}

impl World {
    /// The next image takes over.
    pub fn hand_over(&mut self) {
        self.chat = next_image(&self.chat, nothing_stored());
    }
}

/// Does what people and back ends do, whatever it leads to.
struct Crowd {
    random: Random,
    reactors: Reactors,
    next_fd: u64,
    open: Vec<Fd>,
    now: u64,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            reactors: Reactors::new(1),
            next_fd: 1,
            open: Vec::new(),
            now: 0,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            tick: Tick(self.now),
            unix_ms: 1_700_000_000_000 + self.now,
        }
    }

    fn rights(&mut self) -> Rights {
        match self.random.below(3) {
            0 => Rights::Open,
            1 => Rights::ApiKey {
                name: "shop".into(),
            },
            _ => Rights::Token {
                rooms: [Pattern::new("t*"), Pattern::new("n*")].into(),
            },
        }
    }

    fn come(&mut self, chat: &Chat) {
        let fd = Fd(self.next_fd);
        self.next_fd += 1;
        self.reactors.open(fd);
        chat.opened(fd);
        self.open.push(fd);
        let rooms: Vec<&str> = (0..self.random.below(3))
            .map(|_| self.random.pick(&ROOMS))
            .collect();
        let login = Login {
            fd,
            uid: self.random.pick(&UIDS),
            rights: Arc::new(self.rights()),
            rooms: &rooms,
            resume: &[],
        };
        let mut sink = Poster::new(&self.reactors);
        if !self.random.one_in(6) {
            chat.login(&mut sink, self.now(), &login).ok();
        }
    }

    fn go(&mut self, chat: &Chat) {
        if self.open.is_empty() {
            return;
        }
        let fd = self.open.swap_remove(self.random.below(self.open.len()));
        self.reactors.close(fd);
        chat.closed(self.now(), fd);
    }

    fn say(&mut self, chat: &Chat) {
        let to = match self.random.below(6) {
            0 => Recipient::All,
            1 => Recipient::User(self.random.pick(&UIDS)),
            2 => Recipient::User(self.random.pick(&["eve", "fay"])),
            _ => Recipient::Room(self.random.pick(&ROOMS)),
        };
        let actor = match self.random.one_of(&self.open) {
            Some(fd) if self.random.one_in(2) => Actor::Connection(*fd),
            _ => Actor::Key("shop"),
        };
        let id = format!("m{}", self.random.below(30));
        let message = NewMessage {
            from: None,
            id: self.random.one_in(2).then(|| id.into()),
            keep: Keep::Yes,
            except: Vec::new(),
            data: "{\"text\":\"hello\"}",
        };
        let mut sink = Poster::new(&self.reactors);
        chat.say(&mut sink, self.now(), actor, to, &message).ok();
    }

    fn step(&mut self, chat: &Chat) {
        if self.random.one_in(3) {
            self.now += self.random.below(900) as u64;
        }
        let (room, uid) = (self.random.pick(&ROOMS), self.random.pick(&UIDS));
        let now = self.now();
        match self.random.below(20) {
            0..4 => self.come(chat),
            4..6 => self.go(chat),
            6..12 => self.say(chat),
            12..14 => {
                if let Some(fd) = self.random.one_of(&self.open) {
                    let mut sink = Poster::new(&self.reactors);
                    chat.join(&mut sink, now, *fd, room, Resume::Acked).ok();
                }
            }
            14 => {
                if let Some(fd) = self.random.one_of(&self.open) {
                    let mut sink = Poster::new(&self.reactors);
                    chat.leave(&mut sink, now, *fd, room).ok();
                }
            }
            15 | 16 => {
                if let Some(fd) = self.random.one_of(&self.open) {
                    chat.ack(*fd, room, self.random.below(4)).ok();
                }
            }
            17 => {
                let mut sink = Poster::new(&self.reactors);
                chat.add_member(&mut sink, now, room, uid).ok();
            }
            18 => {
                let mut sink = Poster::new(&self.reactors);
                chat.remove_member(&mut sink, now, room, uid).ok();
            }
            _ => {
                let mut sink = Poster::new(&self.reactors);
                chat.expire(&mut sink, now);
            }
        }
    }

    /// Everybody goes, everything grows old.
    fn end(&mut self, chat: &Chat) {
        while !self.open.is_empty() {
            self.go(chat);
        }
        for (room, uid) in ROOMS.iter().flat_map(|room| UIDS.map(|uid| (room, uid))) {
            let mut sink = Poster::new(&self.reactors);
            chat.remove_member(&mut sink, self.now(), room, uid).ok();
        }
        for _ in 0..3 {
            self.now += 100_000_000;
            let mut sink = Poster::new(&self.reactors);
            while chat.expire(&mut sink, self.now()) {}
        }
    }
}

/// A chat with something of everything, after so many steps.
fn busy_chat(seed: u64, steps: usize) -> (Chat, Crowd) {
    let settings = ChatSettings {
        connections_per_user_max: 3,
        presence_users_max: 2,
        ..ChatSettings::default()
    };
    let (chat, mut crowd) = (Chat::new(settings, seed), Crowd::new(seed));
    for _ in 0..steps {
        crowd.step(&chat);
    }
    (chat, crowd)
}

#[test]
fn a_chat_that_is_handed_over_again_and_again_does_what_its_model_does() {
    for seed in 0..60 {
        let (mut world, mut image) = (World::new(seed), Random::new(!seed));
        for _ in 0..250 {
            world.step();
            if image.one_in(8) {
                world.hand_over();
            }
        }
        world.end();
    }
}

#[test]
fn nobody_can_tell_a_chat_that_was_handed_over_from_one_that_never_was() {
    for seed in 0..40 {
        let mut worlds = [World::new(seed), World::new(seed)];
        let mut image = Random::new(!seed);
        for step in 0..250 {
            worlds.iter_mut().for_each(World::step);
            if image.one_in(8) {
                worlds[1].hand_over();
            }
            let [uncut, cut] = &worlds;
            let heard = |world: &World| -> Vec<Vec<Heard>> {
                let fds = (1..world.next_fd).map(Fd);
                fds.map(|fd| world.reactors.inbox(fd)).collect()
            };
            // Also the epochs, and the ids that the chat made.
            assert_eq!(heard(cut), heard(uncut), "seed {seed}, step {step}");
        }
        let [uncut, cut] = worlds;
        assert_eq!(
            handed_over(&cut.chat),
            handed_over(&uncut.chat),
            "seed {seed}"
        );
    }
}

#[test]
fn who_comes_back_to_a_stored_channel_behind_a_handover_hears_everything_once() {
    for seed in 0..80 {
        let (mut world, mut image) = (super::stored::World::new(seed), Random::new(!seed));
        for _ in 0..400 {
            world.step();
            if image.one_in(12) {
                world.hand_over();
            }
        }
        world.end();
    }
}

#[test]
fn a_sweep_that_was_broken_off_goes_on_where_it_was() {
    const ROOMS: usize = 1_500;
    let (chat, reactors) = (Chat::new(ChatSettings::default(), 1), Reactors::new(1));
    let at = |tick| Moment {
        tick: Tick(tick),
        unix_ms: 0,
    };
    let message = NewMessage {
        from: None,
        id: None,
        keep: Keep::Yes,
        except: Vec::new(),
        data: "1",
    };
    for room in 0..ROOMS {
        let (to, mut sink) = (format!("r{room}"), Poster::new(&reactors));
        let (shop, to) = (Actor::Key("shop"), Recipient::Room(&to));
        chat.say(&mut sink, at(1), shop, to, &message).unwrap();
    }
    let (late, mut sink) = (at(100 * 86_400_000), Poster::new(&reactors));
    assert!(chat.expire(&mut sink, late), "it is too much for one call");
    let next = next_image(&chat, nothing_stored());
    while next.expire(&mut sink, late) {}
    assert!(chat.stats().rooms > 0 && next.stats().rooms == 0);
}

#[test]
fn ids_are_forgotten_in_their_time_also_in_a_table_of_another_size() {
    let (chat, reactors) = (Chat::new(ChatSettings::default(), 1), Reactors::new(1));
    let at = |tick| Moment {
        tick: Tick(tick),
        unix_ms: 0,
    };
    for number in 0..200 {
        let message = NewMessage {
            from: None,
            id: Some(format!("m{number}").into()),
            keep: Keep::No,
            except: Vec::new(),
            data: "1",
        };
        let (shop, tea) = (Actor::Key("shop"), Recipient::Room("tea"));
        let mut sink = Poster::new(&reactors);
        chat.say(&mut sink, at(number), shop, tea, &message)
            .unwrap();
    }
    let small = ChatSettings {
        dedup_entries_max: 1_500,
        ..ChatSettings::default()
    };
    let next = take_over(&handed_over(&chat), small, nothing_stored()).unwrap();
    assert_eq!(next.stats().dedup_entries, 200);
    let half = at(99 + next.settings().dedup_ms());
    while next.expire(&mut Poster::new(&reactors), half) {}
    assert_eq!(next.stats().dedup_entries, 100);
}

#[test]
fn bounds_that_are_smaller_in_the_next_image_refuse_what_is_new_and_nothing_is_left_in_the_end() {
    let small = || ChatSettings {
        kind: ChannelKind::Memory,
        shards: 3,
        channels_max: 1,
        channels_per_user_max: 1,
        unclaimed_lines_max: 1,
        channel_ttl_ms: 10,
        kept_messages_max: 1,
        kept_ms_max: 100,
        kept_channel_bytes_max: 1,
        kept_bytes_max: 1,
        dedup_ms: 50,
        dedup_entries_max: 2,
        connections_per_user_max: 1,
        rooms_per_connection_max: 1,
        lasting_rooms_per_user_max: 1,
        lasting_max: 1,
        acks_per_channel_max: 1,
        presence_users_max: 1,
        left_ms: 1,
        receivers_max: 1,
        page_messages_max: 1,
        page_bytes_max: 1,
        list_max: 1,
        ..ChatSettings::default()
    };
    for seed in 0..20 {
        let (chat, mut crowd) = busy_chat(seed, 300);
        let before = chat.stats();
        let next = take_over(&handed_over(&chat), small(), nothing_stored()).unwrap();
        assert_eq!(next.stats().memberships, before.memberships);
        assert_eq!(next.stats().kept_bytes, before.kept_bytes);
        assert_eq!(next.stats().dedup_entries, before.dedup_entries);
        for _ in 0..300 {
            crowd.step(&next);
        }
        let unkept = ChatSettings {
            kind: ChannelKind::None,
            ..small()
        };
        let last = take_over(&handed_over(&next), unkept, nothing_stored()).unwrap();
        for _ in 0..100 {
            crowd.step(&last);
        }
        crowd.end(&last);
        let stats = last.stats();
        let left = [
            stats.connections,
            stats.logged_in,
            stats.users,
            stats.channels,
            stats.unclaimed_lines,
            stats.memberships,
            stats.lasting,
            stats.kept_bytes,
            stats.dedup_entries,
        ];
        assert_eq!(left, [0; 9], "seed {seed}: {stats:?}");
    }
}

#[test]
fn whatever_byte_of_a_section_is_another_one_the_section_is_refused_or_agrees_with_itself() {
    let (chat, _) = busy_chat(3, 60);
    let bytes = handed_over(&chat).as_bytes().to_vec();
    let mut taken = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let section = Section::of(CHAT_FORMAT.name, CHAT_FORMAT.version, &damaged);
        if let Ok(chat) = Chat::take_over(&section, ChatSettings::default(), nothing_stored()) {
            next_image(&chat, nothing_stored());
            taken += 1;
        }
    }
    assert!(taken > bytes.len() / 10, "{taken}: texts can be others");
    for cut in 0..bytes.len() {
        let section = Section::of(CHAT_FORMAT.name, CHAT_FORMAT.version, &bytes[..cut]);
        // Cut between two records it may say less, and never something else.
        if let Ok(chat) = Chat::take_over(&section, ChatSettings::default(), nothing_stored()) {
            next_image(&chat, nothing_stored());
        }
    }
}

#[test]
fn the_section_of_an_earlier_version_is_taken_over_and_written_again_byte_for_byte() {
    let section = Section::of(CHAT_FORMAT.name, 1, EARLIER);
    let settings = ChatSettings::default();
    let chat = Chat::take_over(&section, settings, nothing_stored()).unwrap();
    assert_eq!(handed_over(&chat).as_bytes(), EARLIER);
    let stats = chat.stats();
    assert!(stats.logged_in > 0 && stats.memberships > 0 && stats.lasting > 0);
    assert!(stats.kept_bytes > 0 && stats.dedup_entries > 0 && stats.messages > 0);
    assert!(stats.unclaimed_lines > 0 && stats.connections > stats.logged_in);
}

#[test]
fn an_idle_connection_in_a_room_takes_60_bytes_and_its_name() {
    const COUNT: u64 = 2_000;
    let chat = Chat::new(ChatSettings::default(), 1);
    let reactors = Reactors::new(1);
    let now = Moment {
        tick: Tick(86_400_000),
        unix_ms: 0,
    };
    for number in 1..=COUNT {
        // As the server names them after years.
        let fd = Fd((1 << 52) + 64 * number);
        chat.opened(fd);
        let uid = format!("user{number:06}");
        let login = Login {
            fd,
            uid: &uid,
            rights: Arc::new(Rights::Open),
            rooms: &[ROOMS[number as usize % 2]],
            resume: &[],
        };
        let mut sink = Poster::new(&reactors);
        chat.login(&mut sink, now, &login).unwrap();
    }
    let each = handed_over(&chat).size() as u64 / COUNT;
    println!("{each} bytes a connection");
    assert!(each <= 60 + 11, "{each}");
}
