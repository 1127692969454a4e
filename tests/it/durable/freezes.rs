//! What is answered while the server freezes and thaws, again and again, stays true: each message is
//! there once, at its place, for those who are there and for those who come back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::api::OpenAccess;
use tidings::chat::{ChannelKind, ChatSettings, Pattern};
use tidings::endpoint::{Endpoint, EndpointSettings, LimitSettings, ReplaySettings};
use tidings::server::{FreezeError, FreezeHolder, ServerSettings};
use tidings::store::{
    Appended, DiskSettings, Journal, Reader, Record, Store, StoreError, StoreSettings,
};

use crate::support::chat_client::{ChatClient, Position, assert_follows};
use crate::support::http::HttpClient;
use crate::support::nothing_else::NothingElse;
use crate::support::random::Random;
use crate::support::server::{LocalServer, Mode};
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

/// Rooms of each kind: on disk, in memory, and in memory with messages that gather.
const ROOMS: [&str; 3] = ["stored", "memory", "gathers"];

const SENDERS: usize = 8;

struct World {
    served: LocalServer,
    endpoint: Arc<Endpoint>,
    _folder: TempDir,
}

/// A disk that syncs while the test lets it.
struct Slow {
    journal: Journal,
    may_sync: Arc<Mutex<()>>,
}

impl Store for Slow {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        self.journal.append(now_ms, record)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        drop(self.may_sync.lock().unwrap());
        self.journal.commit()
    }

    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.journal.maintain(now_ms)
    }

    fn set_settings(&mut self, settings: StoreSettings) {
        self.journal.set_settings(settings);
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.journal.reader()
    }
}

impl World {
    fn start(mode: Mode) -> Self {
        Self::with(mode, 20_000, |journal| Box::new(journal))
    }

    fn with(mode: Mode, freeze_ms_max: u64, store: impl FnOnce(Journal) -> Box<dyn Store>) -> Self {
        let folder = TempDir::new().unwrap();
        let settings = EndpointSettings {
            node: "test".into(),
            message_size_max: 1_000,
            ping_s: 25,
            login_ms_max: 10_000,
            limits: LimitSettings::default(),
            sync: "always".into(),
            host_metrics: Vec::new,
            disk: DiskSettings::default(),
            lookups_max: 1_000,
            held_logins_max: 10_000,
            bindings: None,
            tables: None,
            replays: ReplaySettings {
                // So that a replay is under way at most of the freezes.
                page_bytes_max: 2_000,
                outbox_bytes_low: 1_000,
                ..ReplaySettings::default()
            },
        };
        let chat = ChatSettings {
            kinds: vec![(Pattern::new("stored"), ChannelKind::Stored)],
            gather: vec![(Pattern::new("gathers"), 20)],
            ..ChatSettings::default()
        };
        let journal = Journal::open(StoreSettings::new(folder.path())).unwrap();
        let endpoint = Endpoint::new(settings, chat, Box::new(OpenAccess), store(journal));
        let endpoint = Arc::new(endpoint.unwrap());
        let server = ServerSettings {
            freeze_ms_max,
            ..ServerSettings::default()
        };
        let builder = endpoint.attach(mode.builder(), Arc::new(NothingElse));
        Self {
            served: LocalServer::start(builder.settings(server)),
            endpoint,
            _folder: folder,
        }
    }

    fn address(&self) -> SocketAddr {
        self.served.handle.addresses()[0]
    }
}

fn login(address: SocketAddr, uid: &str, rooms: &[&str], resume: Value) -> (ChatClient, Value) {
    let client = WebSocketClient::connect(address, "/ws");
    let login = json!({"uid": uid, "rooms": rooms, "resume": resume});
    ChatClient::login_with(client, login)
}

/// The places that a sender was answered, by their rooms.
type Places = Vec<(&'static str, u64)>;

/// Says things and acknowledges others, each when the one before is answered.
fn speak(address: SocketAddr, sender: usize, ends: Arc<AtomicBool>) -> JoinHandle<Places> {
    thread::spawn(move || {
        let uid = format!("sender-{sender}");
        let (mut client, _) = login(address, &uid, &ROOMS, json!({}));
        let mut places = Vec::new();
        for room in ROOMS.iter().cycle() {
            if ends.load(SeqCst) {
                return places;
            }
            let data = format!("{sender} {}", places.len());
            let ok = client.ok(json!({"type": "say", "to": {"room": room}, "data": data}));
            let offset = ok["offset"].as_u64().unwrap();
            places.push((*room, offset));
            client.ok(json!({"type": "ack", "channel": room, "offset": offset}));
        }
        unreachable!("rooms go round")
    })
}

/// Posts by HTTP.
fn post(address: SocketAddr, sender: usize, ends: Arc<AtomicBool>) -> JoinHandle<Places> {
    thread::spawn(move || {
        let mut client = HttpClient::connect(address);
        let mut places = Vec::new();
        for room in ROOMS.iter().cycle() {
            if ends.load(SeqCst) {
                return places;
            }
            let data = format!("{sender} {}", places.len());
            let body = json!({"to": {"room": room}, "data": data});
            let (status, answer) = client.json("POST", "/v1/messages", &body);
            assert_eq!(status, 200, "{answer}");
            places.push((*room, answer["results"][0]["offset"].as_u64().unwrap()));
        }
        unreachable!("rooms go round")
    })
}

/// Hears all rooms without a hole and without a repeat, up to a message of each that says `end`.
fn listen(mut client: ChatClient, ok: &Value) -> JoinHandle<HashMap<&'static str, u64>> {
    let mut positions = ROOMS.map(|room| (room, Position::of(&ok["channels"][room])));
    thread::spawn(move || {
        let mut ended = 0;
        while ended < ROOMS.len() {
            let frame = client.hear();
            let room = frame["channel"].as_str().unwrap();
            let (room, position) = positions.iter_mut().find(|one| one.0 == room).unwrap();
            assert_follows(&frame, room, position);
            ended += usize::from(frame["data"] == "end");
        }
        positions
            .map(|(room, position)| (room, position.offset))
            .into()
    })
}

/// Comes back again and again to all that was ever stored, and leaves politely or not.
fn come_back(address: SocketAddr, seed: u64, ends: Arc<AtomicBool>) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut random = Random::new(seed);
        let uid = format!("visitor-{seed}");
        let (first, ok) = login(address, &uid, &["stored"], json!({}));
        first.client.leave();
        let beginning = Position::of(&ok["channels"]["stored"]).beginning();
        let mut heard = 0;
        while !ends.load(SeqCst) {
            let resume = json!({"stored": beginning.json()});
            let (mut client, ok) = login(address, &uid, &["stored"], resume);
            let newest = ok["channels"]["stored"]["offset"].as_u64().unwrap();
            let through = random.within(1..=newest.max(1) as usize) as u64;
            let mut position = beginning.clone();
            heard += client
                .follow("stored", &mut position, through.min(newest))
                .len();
            match random.one_in(2) {
                true => client.client.leave(),
                false => client.client.reset(),
            }
        }
        heard
    })
}

fn freezes_under_load(mode: Mode) {
    const FREEZES: usize = 30;
    let world = World::start(mode);
    let address = world.address();
    let listeners: Vec<_> = (0..6)
        .map(|number| {
            let uid = format!("listener-{number}");
            let (client, ok) = login(address, &uid, &ROOMS, json!({}));
            listen(client, &ok)
        })
        .collect();
    let ends = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| match sender % 2 {
            0 => speak(address, sender, Arc::clone(&ends)),
            _ => post(address, sender, Arc::clone(&ends)),
        })
        .collect();
    let visitors = [1, 2].map(|seed| come_back(address, seed, Arc::clone(&ends)));
    for _ in 0..FREEZES {
        world.served.handle.freeze_trial(|_| {}).unwrap();
    }
    ends.store(true, SeqCst);
    let mut answered: HashMap<&str, Vec<u64>> = HashMap::new();
    for sender in senders {
        for (room, offset) in sender.join().unwrap() {
            answered.entry(room).or_default().push(offset);
        }
    }
    for visitor in visitors {
        assert!(visitor.join().unwrap() > 0, "nothing was replayed");
    }
    let mut http = HttpClient::connect(address);
    for room in ROOMS {
        let body = json!({"to": {"room": room}, "data": "end"});
        assert_eq!(http.json("POST", "/v1/messages", &body).0, 200);
    }
    for listener in listeners {
        for (room, newest) in listener.join().unwrap() {
            let mut offsets = answered[room].clone();
            offsets.sort_unstable();
            // Each answer names a message of its own, and all but `end` were answered.
            let all: Vec<u64> = (1..newest).collect();
            assert_eq!(offsets, all, "{room}");
        }
    }
    drop(http);
    until_no_connection_is_left(&world);
    let World {
        served, endpoint, ..
    } = world;
    assert!(served.stop().is_clean());
    endpoint.finish();
}

/// Waits until nothing of a connection is left; the endpoint's own timer stays.
fn until_no_connection_is_left(world: &World) {
    let handle = &world.served.handle;
    until("the connections have ended", || {
        let stats = handle.stats();
        stats.totals.slots == 0 && stats.outbox_bytes == 0 && stats.totals.gathered_waiting == 0
    });
}

#[test]
fn freezes_under_load_of_every_kind_lose_and_double_nothing() {
    for (workers, reactors) in [(1, 1), (2, 2), (0, 2)] {
        eprintln!("{workers} workers, {reactors} reactors");
        freezes_under_load(Mode { workers, reactors });
    }
}

#[test]
fn a_disk_that_takes_too_long_is_named_and_what_it_was_given_is_still_answered() {
    for (workers, reactors) in [(1, 1), (0, 2)] {
        let may_sync = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&may_sync);
        let world = World::with(Mode { workers, reactors }, 200, |journal| {
            Box::new(Slow {
                journal,
                may_sync: theirs,
            })
        });
        let (mut client, _) = login(world.address(), "ann", &["stored"], json!({}));
        let holds = may_sync.lock().unwrap();
        client.send(json!({"type": "say", "to": {"room": "stored"}, "data": 1}));
        let handle = &world.served.handle;
        until("it was read", || handle.stats().totals.messages_in == 2);
        // On a busy machine another one may have been late before it.
        until("the disk is named", || {
            let error = handle.freeze_trial(|_| {}).unwrap_err();
            let FreezeError::Late { holder, .. } = &error else {
                panic!("{error}");
            };
            *holder == FreezeHolder::Part("the disk")
        });
        drop(holds);
        let frame = client.hear();
        assert_eq!(frame["data"], 1, "{frame}");
        assert_eq!(client.hear()["type"], "ok");
        until("it has time for one", || {
            handle.freeze_trial(|_| {}).is_ok()
        });
        client.client.leave();
        assert!(world.served.stop().is_clean());
        world.endpoint.finish();
    }
}
