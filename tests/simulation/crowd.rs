//! Several threads on one chat: their order can't be predicted, but the invariants must hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use super::invariants::Record;
use super::random::Random;
use super::reactors::{Heard, Poster, Reactors};
use tidings::base::Tick;
use tidings::chat::{
    Actor, Chat, ChatSettings, Epoch, Keep, Login, Moment, NewMessage, Position, Recipient, Resume,
    Rights,
};
use tidings::server::Fd;

const UIDS: [&str; 4] = ["ann", "bob", "cid", "dan"];
const ROOMS: [&str; 3] = ["tea", "nut", "pub"];

/// Nobody purges it, so that its offsets must have no hole.
const WITNESSED: &str = "tea";

const THREADS: usize = 4;
const CONNECTIONS_A_THREAD: u64 = 5;

struct Crowd {
    chat: Chat,
    reactors: Reactors,
    /// Each look at the clock is a millisecond later.
    clock: AtomicU64,
}

/// One thread with connections of its own, as a worker has them.
struct Worker<'a> {
    crowd: &'a Crowd,
    random: Random,
    fds: Vec<Fd>,
    finished: Vec<Vec<Heard>>,
}

/// Lets them loose, and gives how many messages stand somewhere.
pub fn hammer(seed: u64, rounds: usize) -> usize {
    let settings = ChatSettings {
        shards: 2,
        kept_messages_max: 5,
        kept_ms_max: 2_000,
        channel_ttl_ms: 100,
        connections_per_user_max: 3,
        left_ms: 5,
        dedup_ms: 200,
        ..ChatSettings::default()
    };
    let crowd = Crowd {
        chat: Chat::new(settings, seed),
        reactors: Reactors::new(2),
        clock: AtomicU64::new(0),
    };
    // Hears everything in one room, from the beginning to the end.
    let witness = Fd(1_000);
    crowd.open(witness);
    crowd.login(witness, "eve", &[WITNESSED], &[]);
    let workers = thread::scope(|scope| {
        let crowd = &crowd;
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || Worker::new(crowd, seed, thread).work(rounds)))
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect::<Vec<_>>()
    });
    let mut inboxes = vec![crowd.close(witness)];
    inboxes.extend(workers.into_iter().flatten());
    for uid in UIDS {
        for room in ROOMS {
            let mut post = Poster::new(&crowd.reactors);
            crowd
                .chat
                .remove_member(&mut post, crowd.now(), room, uid)
                .unwrap();
        }
    }
    for _ in 0..3 {
        crowd.clock.fetch_add(1_000_000, Relaxed);
        crowd
            .chat
            .expire(&mut Poster::new(&crowd.reactors), crowd.now());
    }
    crowd.is_empty();
    let mut record = Record::default();
    for inbox in &inboxes {
        record.judge(inbox);
    }
    record.has_no_holes_in(WITNESSED);
    record.len()
}

impl Crowd {
    fn now(&self) -> Moment {
        let tick = self.clock.fetch_add(1, Relaxed);
        Moment {
            tick: Tick(tick),
            unix_ms: tick,
        }
    }

    fn open(&self, fd: Fd) {
        self.reactors.open(fd);
        self.chat.opened(fd);
    }

    /// The socket goes first; the chat is told later.
    fn close(&self, fd: Fd) -> Vec<Heard> {
        let inbox = self.reactors.close(fd);
        self.chat.closed(self.now(), fd);
        inbox
    }

    fn login(&self, fd: Fd, uid: &str, rooms: &[&str], resume: &[(&str, Resume)]) -> Option<Fd> {
        let login = Login {
            fd,
            uid,
            rights: Arc::new(Rights::Open),
            rooms,
            resume,
        };
        let mut post = Poster::wishing(&self.reactors, resume);
        let logged_in = self.chat.login(&mut post, self.now(), &login);
        logged_in.ok()?.replaced
    }

    fn is_empty(&self) {
        let stats = self.chat.stats();
        let left = [
            stats.connections,
            stats.logged_in,
            stats.users,
            stats.channels,
            stats.rooms,
            stats.inboxes,
            stats.memberships,
            stats.lasting,
            stats.kept_bytes,
            stats.dedup_entries,
        ];
        assert_eq!(left, [0; 10], "{stats:?}");
    }
}

impl<'a> Worker<'a> {
    fn new(crowd: &'a Crowd, seed: u64, thread: usize) -> Self {
        let first = thread as u64 * CONNECTIONS_A_THREAD;
        let fds: Vec<Fd> = (first..first + CONNECTIONS_A_THREAD).map(Fd).collect();
        fds.iter().for_each(|fd| crowd.open(*fd));
        Self {
            crowd,
            random: Random::new(seed ^ (thread as u64 + 1) << 32),
            fds,
            finished: Vec::new(),
        }
    }

    /// Gives what its connections got, in all their lives.
    fn work(mut self, rounds: usize) -> Vec<Vec<Heard>> {
        for _ in 0..rounds {
            self.step();
        }
        for fd in std::mem::take(&mut self.fds) {
            self.finished.push(self.crowd.close(fd));
        }
        self.finished
    }

    fn step(&mut self) {
        let (chat, now) = (&self.crowd.chat, self.crowd.now());
        let post = &mut Poster::new(&self.crowd.reactors);
        let (fd, uid) = (self.random.pick(&self.fds), self.random.pick(&UIDS));
        let room = self.random.pick(&ROOMS);
        match self.random.below(40) {
            0..20 => self.say(fd, uid, room),
            20..25 => self.login(fd, uid),
            25..30 => {
                let resume = self.resume(fd, room);
                let post = &mut Poster::wishing(&self.crowd.reactors, &[(room, resume)]);
                // Whether it may isn't the question here, nor below.
                chat.join(post, now, fd, room, resume).ok();
            }
            30..32 => drop(chat.leave(post, now, fd, room)),
            32 => drop(chat.add_member(post, now, room, uid)),
            33 => drop(chat.remove_member(post, now, room, uid)),
            34 if room != WITNESSED => drop(chat.purge(post, room)),
            35 => drop(chat.logout(post, now, self.anyones())),
            36 => drop(chat.ack(fd, room, self.random.below(20) as u64)),
            37 => self.come_back(fd),
            _ => drop(chat.expire(post, now)),
        }
    }

    /// A connection of any thread: the back end may end the binding of each.
    fn anyones(&mut self) -> Fd {
        Fd(self.random.below(THREADS * CONNECTIONS_A_THREAD as usize) as u64)
    }

    fn say(&mut self, fd: Fd, uid: &str, room: &str) {
        let post = &mut Poster::new(&self.crowd.reactors);
        let number = self.random.next().to_string();
        let id = match self.random.below(4) {
            0 => Some(self.random.pick(&["1", "2"])),
            1 => Some(&*number),
            _ => None,
        };
        let excepts = self.random.one_in(10);
        let say = NewMessage {
            from: None,
            id: id.map(Into::into),
            keep: if excepts { Keep::No } else { Keep::Yes },
            except: if excepts { vec![fd] } else { Vec::new() },
            data: &number,
        };
        let actor = match self.random.below(3) {
            0 => Actor::Key("shop"),
            _ => Actor::Connection(fd),
        };
        let to = match (self.random.below(6), actor) {
            (0, Actor::Key(_)) => Recipient::All,
            (1, _) => Recipient::User(uid),
            _ => Recipient::Room(room),
        };
        let now = self.crowd.now();
        drop(self.crowd.chat.say(post, now, actor, to, &say));
    }

    fn login(&mut self, fd: Fd, uid: &str) {
        let room = self.random.pick(&ROOMS);
        let line = format!("@{uid}");
        let channels = [room, &*line, "*"];
        let resume = channels.map(|channel| (channel, self.resume(fd, channel)));
        self.crowd.login(fd, uid, &[room], &resume);
    }

    /// From what this connection heard itself.
    fn resume(&mut self, fd: Fd, channel: &str) -> Resume {
        match self.random.below(4) {
            0 => Resume::Now,
            1 => Resume::Acked,
            2 => Resume::After(Position {
                epoch: Epoch::NONE,
                offset: 0,
            }),
            _ => {
                let inbox = self.crowd.reactors.inbox(fd);
                let positions = inbox.iter().rev().filter_map(|heard| match heard {
                    Heard::Message(line) if line.channel.as_deref() == Some(channel) => {
                        line.position
                    }
                    _ => None,
                });
                let lately: Vec<Position> = positions.take(4).collect();
                match lately[..] {
                    [] => Resume::Now,
                    _ => Resume::After(self.random.pick(&lately)),
                }
            }
        }
    }

    /// Its socket breaks, and the client comes back under another name.
    fn come_back(&mut self, fd: Fd) {
        self.finished.push(self.crowd.close(fd));
        self.fds.retain(|own| *own != fd);
        let again = Fd(fd.0 + 10_000);
        self.crowd.open(again);
        self.fds.push(again);
    }
}
