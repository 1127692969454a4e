//! What gateways bring, on a disk that refuses some of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidings::api::OpenAccess;
use tidings::chat::{ChannelKind, ChatSettings};
use tidings::endpoint::{Endpoint, EndpointSettings, LimitSettings, ReplaySettings};
use tidings::store::{
    Appended, DiskSettings, MemoryStore, PageRange, Reader, Record, Store, StoreError,
    StoreSettings,
};

use crate::support::nothing_else::NothingElse;
use crate::support::server::{LocalServer, Mode, with_workers};
use crate::support::websocket::WebSocketClient;

/// Refuses messages in these places, each once, as a disk that is full for a moment.
struct Picky {
    store: MemoryStore,
    refused: Arc<Mutex<HashSet<String>>>,
}

impl Store for Picky {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        if let Record::Message(message) = record
            && let place = format!("{} in {}", message.body.id, message.channel.name)
            && self.refused.lock().unwrap().remove(&place)
        {
            return Err(StoreError::DiskFull { free_bytes_min: 1 });
        }
        self.store.append(now_ms, record)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
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
    reader: Arc<dyn Reader>,
    refused: Arc<Mutex<HashSet<String>>>,
}

impl World {
    fn start(mode: Mode) -> Self {
        Self::with(mode, StoreSettings::new("memory"))
    }

    fn with(mode: Mode, store: StoreSettings) -> Self {
        let store = MemoryStore::new(store);
        let (reader, refused) = (store.reader(), Arc::default());
        let store = Picky {
            store,
            refused: Arc::clone(&refused),
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
        let endpoint =
            Endpoint::new(settings, chat, Box::new(OpenAccess), Box::new(store)).unwrap();
        let endpoint = Arc::new(endpoint);
        let builder = endpoint.attach(mode.builder(), Arc::new(NothingElse));
        Self {
            served: LocalServer::start(builder),
            endpoint,
            reader,
            refused,
        }
    }

    fn refuse(&self, place: &str) {
        self.refused.lock().unwrap().insert(place.to_owned());
    }

    /// A gateway that has opened its link, and is told where to go on.
    fn open(&self) -> (WebSocketClient, u64) {
        let mut gateway = WebSocketClient::connect(self.served.handle.addresses()[0], "/link");
        gateway.say(r#"{"type":"open","producer":"p","name":"gw","first":1}"#);
        let answer = hear(&mut gateway);
        assert_eq!(answer["type"], "open_ok");
        (gateway, answer["next"].as_u64().unwrap())
    }

    fn ids(&self, channel: &str) -> Vec<String> {
        let range = PageRange {
            after: None,
            before: None,
            limit: 100,
            bytes_max: 1 << 20,
        };
        let page = self.reader.page(channel, range).unwrap();
        page.messages
            .iter()
            .map(|one| one.body.id.to_string())
            .collect()
    }

    fn end(self) {
        self.served.stop();
        self.endpoint.finish();
    }
}

fn hear(gateway: &mut WebSocketClient) -> Value {
    serde_json::from_str(&gateway.hear_text()).unwrap()
}

fn publish(gateway: &mut WebSocketClient, n: u64, id: &str, to: Value) {
    let frame = json!({"type": "pub", "n": n, "to": to, "data": n, "id": id, "from": "ann"});
    gateway.say(frame.to_string());
}

/// Answers up to that of the number `n`.
fn answers_to(gateway: &mut WebSocketClient, n: u64) -> Vec<(String, u64)> {
    let mut answers = Vec::new();
    while answers.last() != Some(&("pub_ack".to_owned(), n)) {
        let answer = hear(gateway);
        let kind = answer["type"].as_str().unwrap().to_owned();
        answers.push((kind, answer["n"].as_u64().unwrap_or(0)));
    }
    answers
}

/// Hears the answers up to that of the last number, as a gateway does: told to wait, it sends again
/// what isn't settled. A number may be told so before the one that is to blame for it. Says how
/// often it was told.
fn send_until_acked(
    gateway: &mut WebSocketClient,
    last: u64,
    send: impl Fn(&mut WebSocketClient, u64),
) -> usize {
    let (mut acked, mut waits) = (0, 0);
    while acked < last {
        let answer = hear(gateway);
        match answer["type"].as_str() {
            Some("pub_busy") => {
                waits += 1;
                send(gateway, acked + 1);
            }
            Some("pub_ack") => acked = answer["n"].as_u64().unwrap(),
            _ => panic!("{answer}"),
        }
    }
    waits
}

#[test]
fn a_message_and_its_number_are_written_as_one() {
    with_workers(|mode| {
        let world = World::start(mode);
        let (mut gateway, next) = world.open();
        assert_eq!(next, 1);
        publish(&mut gateway, 1, "a", json!({"room": "tea"}));
        publish(&mut gateway, 2, "b", json!({"room": "@"}));
        publish(&mut gateway, 3, "c", json!({"rooms": ["tea", "coffee"]}));
        let answers = answers_to(&mut gateway, 3);
        assert_eq!(answers[1], ("pub_err".into(), 2));
        assert_eq!(world.reader.mark("p"), 3);
        drop(gateway);
        let (mut gateway, next) = world.open();
        assert_eq!(next, 4);
        // A number that was settled is none any more, whatever stands behind it.
        publish(&mut gateway, 3, "x", json!({"room": "tea"}));
        publish(&mut gateway, 4, "d", json!({"user": "bob"}));
        answers_to(&mut gateway, 4);
        assert_eq!(world.ids("tea"), ["a", "c"]);
        assert_eq!(world.ids("coffee"), ["c"]);
        assert_eq!(
            (world.ids("@bob"), world.ids("@ann")),
            (vec!["d".into()], vec!["d".into()])
        );
        drop(gateway);
        world.end();
    });
}

#[test]
fn nothing_passes_a_message_that_the_disk_refused() {
    with_workers(|mode| {
        let world = World::start(mode);
        let (mut gateway, _) = world.open();
        world.refuse("3 in tea");
        for n in 1..=6 {
            publish(&mut gateway, n, &n.to_string(), json!({"room": "tea"}));
        }
        send_until_acked(&mut gateway, 6, |gateway, from| {
            for n in from..=6 {
                publish(gateway, n, &n.to_string(), json!({"room": "tea"}));
            }
        });
        publish(&mut gateway, 7, "7", json!({"room": "tea"}));
        answers_to(&mut gateway, 7);
        assert_eq!(world.ids("tea"), ["1", "2", "3", "4", "5", "6", "7"]);
        drop(gateway);
        world.end();
    });
}

#[test]
fn each_of_several_receivers_gets_it_once_whichever_was_refused() {
    with_workers(|mode| {
        for refused in ["1 in a", "1 in b", "1 in c"] {
            // Ids are long forgotten when there is room again.
            let mut store = StoreSettings::new("memory");
            store.dedup_entries_max = 0;
            let world = World::with(mode, store);
            let (mut gateway, _) = world.open();
            world.refuse(refused);
            let to = json!({"rooms": ["a", "b", "c"]});
            let send = |gateway: &mut WebSocketClient, from: u64| {
                if from == 1 {
                    publish(gateway, 1, "1", to.clone());
                }
                publish(gateway, 2, "2", json!({"room": "a"}));
            };
            send(&mut gateway, 1);
            assert!(
                send_until_acked(&mut gateway, 2, send) > 0,
                "it was told to wait"
            );
            let all = ["a", "b", "c"].map(|room| world.ids(room).join(" "));
            assert_eq!(all, ["1 2", "1", "1"], "{refused}");
            drop(gateway);
            world.end();
        }
    });
}
