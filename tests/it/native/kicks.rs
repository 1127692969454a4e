//! The answer to a request that takes a right away comes after the last use of it.

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use tidings::api::{Authenticator, Pass, TokenRefusal};
use tidings::chat::{ChannelKind, ChatSettings};
use tidings::endpoint::{Endpoint, EndpointSettings, LimitSettings, ReplaySettings};
use tidings::server::Fd;
use tidings::store::{
    Appended, DiskSettings, MemoryStore, Reader, Record, Store, StoreError, StoreSettings,
};

use crate::support::chat_client::{ChatClient, say};
use crate::support::http::{HttpClient, request_with};
use crate::support::nothing_else::NothingElse;
use crate::support::server::{LocalServer, Mode};
use crate::support::wait::{next, until};
use crate::support::websocket::WebSocketClient;
use crate::support::{PATIENCE, parsed};

const KEY: &str = "Authorization: Bearer key\r\n";

/// Two threads for callbacks, in both ways.
const MODES: [Mode; 2] = [
    Mode {
        workers: 2,
        reactors: 1,
    },
    Mode {
        workers: 0,
        reactors: 2,
    },
];

/// Looks at the token `slow` until the test says that it has seen enough.
struct Slow {
    began: Mutex<Sender<()>>,
    ends: Mutex<Receiver<()>>,
}

impl Authenticator for Slow {
    fn is_open(&self) -> bool {
        false
    }

    fn token(&self, token: &str, now_unix_ms: u64) -> Result<Pass, TokenRefusal> {
        if token == "slow" {
            self.began.lock().unwrap().send(()).unwrap();
            self.ends.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        Ok(Pass {
            uid: "ann".into(),
            rooms: vec!["*".into()],
            expires_unix_ms: now_unix_ms + 3_600_000,
            key: 1,
        })
    }

    fn api_key(&self, key: &str) -> Option<Arc<str>> {
        (key == "key").then(|| "shop".into())
    }
}

/// Whether the disk takes its time.
#[derive(Default)]
struct Sluice {
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Sluice {
    fn set(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap() = is_shut;
        self.opened.notify_all();
    }
}

/// A store that commits while its sluice is open.
struct Held {
    store: MemoryStore,
    sluice: Arc<Sluice>,
}

impl Store for Held {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        self.store.append(now_ms, record)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let shut = self.sluice.is_shut.lock().unwrap();
        let wait = self
            .sluice
            .opened
            .wait_timeout_while(shut, PATIENCE, |is_shut| *is_shut);
        drop(wait.unwrap());
        self.store.commit()
    }

    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.store.maintain(now_ms)
    }

    fn set_settings(&mut self, settings: StoreSettings) {
        self.store.set_settings(settings);
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.store.reader()
    }
}

struct World {
    served: LocalServer,
    endpoint: Arc<Endpoint>,
    sluice: Arc<Sluice>,
    began: Receiver<()>,
    end: Sender<()>,
}

impl World {
    fn start(mode: Mode) -> Self {
        let (begin, began) = channel();
        let (end, ends) = channel();
        let sluice = Arc::<Sluice>::default();
        let store = Held {
            store: MemoryStore::new(StoreSettings::new("memory")),
            sluice: Arc::clone(&sluice),
        };
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
            replays: ReplaySettings::default(),
        };
        let chat = ChatSettings {
            kind: ChannelKind::Stored,
            ..ChatSettings::default()
        };
        let access = Slow {
            began: Mutex::new(begin),
            ends: Mutex::new(ends),
        };
        let endpoint = Endpoint::new(settings, chat, Box::new(access), Box::new(store));
        let endpoint = Arc::new(endpoint.unwrap());
        let builder = endpoint.attach(mode.builder(), Arc::new(NothingElse));
        Self {
            served: LocalServer::start(builder),
            endpoint,
            sluice,
            began,
            end,
        }
    }

    fn client(&self) -> ChatClient {
        let address = self.served.handle.addresses()[0];
        ChatClient::on(WebSocketClient::connect(address, "/ws"))
    }

    /// Two back ends, whose requests are answered by another thread than this connection's.
    fn back_ends(&self, fd: u64) -> [BackEnd; 2] {
        [self.back_end(fd), self.back_end(fd)]
    }

    fn back_end(&self, fd: u64) -> BackEnd {
        let handle = &self.served.handle;
        loop {
            let stream = TcpStream::connect(handle.addresses()[0]).unwrap();
            let own = stream.local_addr().unwrap();
            let mut thread = None;
            until("the server knows it", || {
                let all = handle.connections(Fd(0), usize::MAX);
                let found = all.into_iter().find(|fd| {
                    let info = handle.connection_info(*fd);
                    info.is_some_and(|info| info.peer == own)
                });
                thread = found.map(|fd| handle.callback_thread_of(fd));
                thread.is_some()
            });
            if thread != Some(handle.callback_thread_of(Fd(fd))) {
                return BackEnd(HttpClient::on(stream));
            }
        }
    }

    fn end(self) {
        self.served.stop();
        self.endpoint.finish();
    }
}

struct BackEnd(HttpClient);

impl BackEnd {
    fn send(&mut self, method: &str, path: &str) {
        self.0.send(request_with(method, path, KEY, "")).unwrap();
    }

    #[track_caller]
    fn answer(&mut self) -> Value {
        let answer = self.0.answer().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        parsed(&answer.body)
    }

    /// Whatever was sent before on another connection of this thread has been handled, and what
    /// was answered then has come.
    fn lets_others_go_first(&mut self) {
        for _ in 0..2 {
            self.send("GET", "/v1/rooms");
            self.answer();
        }
    }
}

#[test]
fn a_command_that_runs_during_a_kick_ends_before_the_answer_to_the_kick() {
    for mode in MODES {
        for path in ["/v1/connections/FD", "/v1/users/ann/kick"] {
            let world = World::start(mode);
            let mut ann = world.client();
            ann.ok(json!({"type": "login", "token": "quick", "rooms": ["tea"]}));
            let [mut kicking, mut other] = world.back_ends(ann.fd());
            ann.send(json!({"type": "login", "token": "slow", "rooms": ["tea", "coffee"]}));
            next(&world.began);
            let (method, path) = match path.ends_with("kick") {
                true => ("POST", path.to_owned()),
                false => ("DELETE", path.replace("FD", &ann.fd().to_string())),
            };
            kicking.send(method, &path);
            other.lets_others_go_first();
            assert!(!kicking.0.has_answer(), "{path}: the login still runs");
            // One more command behind the one that runs: it is never carried out.
            ann.send(json!({"type": "join", "room": "cake"}));
            world.end.send(()).unwrap();
            kicking.answer();
            other.send("GET", "/v1/rooms?prefix=cake");
            assert_eq!(other.answer()["rooms"], json!([]), "{path}");
            // A stop would wait for them.
            drop((ann, kicking, other));
            world.end();
        }
    }
}

#[test]
fn what_was_said_before_a_right_is_taken_is_on_disk_before_the_answer() {
    for mode in MODES {
        for (method, path) in [
            ("DELETE", "/v1/connections/FD"),
            ("DELETE", "/v1/connections/FD/user"),
            ("POST", "/v1/users/ann/kick"),
            ("DELETE", "/v1/rooms/tea/members/ann"),
        ] {
            let world = World::start(mode);
            let mut ann = world.client();
            ann.ok(json!({"type": "login", "token": "quick", "rooms": ["tea"]}));
            let [mut taking, mut other] = world.back_ends(ann.fd());
            world.sluice.set(true);
            ann.send(say("tea", "my last word"));
            ann.client.say("PING");
            assert_eq!(ann.client.hear_text(), "PONG", "it is with the disk");
            taking.send(method, &path.replace("FD", &ann.fd().to_string()));
            other.lets_others_go_first();
            assert!(!taking.0.has_answer(), "{path}: the disk still writes");
            world.sluice.set(false);
            taking.answer();
            other.send("GET", "/v1/rooms/tea/messages");
            let messages = other.answer()["messages"].as_array().unwrap().len();
            assert_eq!(messages, 1, "{path}");
            // A stop would wait for them.
            drop((ann, taking, other));
            world.end();
        }
    }
}
