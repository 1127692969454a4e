//! Members that ask for much of what is on disk: how often it is read for them, and who waits.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use serde_json::{Value, json};
use tidings::api::OpenAccess;
use tidings::chat::{ChannelKind, ChatSettings};
use tidings::endpoint::{Endpoint, EndpointSettings, LimitSettings, ReplaySettings};
use tidings::store::{
    Appended, ChannelState, DiskSettings, LogPage, MemoryStore, PageRange, Reader, Record,
    StateRecord, Store, StoreError, StoreSettings, StoreTotals,
};

use crate::support::frame::frame;
use crate::support::http::HttpClient;
use crate::support::nothing_else::NothingElse;
use crate::support::parsed;
use crate::support::server::{LocalServer, Mode, in_every_mode};
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

/// Messages in the room, more than are kept in memory.
const MESSAGES: usize = 500;

/// More than come in one read, and far more than are answered in a turn.
const QUESTIONS: usize = 2_000;

/// A store that counts the pages that are read of it.
struct Counting {
    store: MemoryStore,
    reader: Arc<CountingReader>,
}

struct CountingReader {
    reader: Arc<dyn Reader>,
    pages: AtomicUsize,
}

impl Store for Counting {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
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
        Arc::clone(&self.reader) as Arc<dyn Reader>
    }
}

impl Reader for CountingReader {
    fn page(&self, channel: &str, range: PageRange) -> Result<LogPage, StoreError> {
        self.pages.fetch_add(1, SeqCst);
        self.reader.page(channel, range)
    }

    fn channel(&self, name: &str) -> Option<ChannelState> {
        self.reader.channel(name)
    }

    fn each(&self, known: &mut dyn FnMut(StateRecord<'_>)) {
        self.reader.each(known);
    }

    fn acked(&self, channel: &str, reader: &str) -> Option<u64> {
        self.reader.acked(channel, reader)
    }

    fn mark(&self, producer: &str) -> u64 {
        self.reader.mark(producer)
    }

    fn serials_below(&self) -> u64 {
        self.reader.serials_below()
    }

    fn key(&self) -> [u64; 2] {
        self.reader.key()
    }

    fn forgotten(&self) -> u64 {
        self.reader.forgotten()
    }

    fn totals(&self) -> StoreTotals {
        self.reader.totals()
    }
}

struct World {
    served: LocalServer,
    endpoint: Arc<Endpoint>,
    reader: Arc<CountingReader>,
}

impl World {
    /// A server with a room that has a history.
    fn start(mode: Mode) -> Self {
        let store = MemoryStore::new(StoreSettings::new("memory"));
        let reader = Arc::new(CountingReader {
            reader: store.reader(),
            pages: AtomicUsize::new(0),
        });
        let counting = Counting {
            store,
            reader: Arc::clone(&reader),
        };
        let settings = EndpointSettings {
            node: "test".into(),
            message_size_max: 1 << 16,
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
        let endpoint = Endpoint::new(settings, chat, Box::new(OpenAccess), Box::new(counting));
        let endpoint = Arc::new(endpoint.unwrap());
        let builder = endpoint.attach(mode.builder(), Arc::new(NothingElse));
        let world = Self {
            served: LocalServer::start(builder),
            endpoint,
            reader,
        };
        let mut http = HttpClient::connect(world.served.handle.addresses()[0]);
        let messages = vec![json!({"to": {"room": "tea"}, "data": "x".repeat(100)}); MESSAGES];
        let body = json!({ "messages": messages });
        assert_eq!(http.json("POST", "/v1/messages/batch", &body).0, 200);
        world
    }

    /// A member of the room that has its answer.
    fn member(&self, uid: &str) -> WebSocketClient {
        let path = format!("/ws?uid={uid}&room=tea");
        let mut client = WebSocketClient::connect(self.served.handle.addresses()[0], &path);
        assert_eq!(parsed(&client.hear_text())["type"], "hello");
        assert_eq!(parsed(&client.hear_text())["type"], "ok");
        client
    }

    fn pages(&self) -> usize {
        self.reader.pages.load(SeqCst)
    }

    fn newest(&self) -> u64 {
        self.reader.channel("tea").unwrap().newest
    }

    fn end(self) {
        until_nothing_is_left_but_the_endpoints(&self.served);
        self.served.stop();
        self.endpoint.finish();
    }
}

/// The endpoint has a timer of its own.
fn until_nothing_is_left_but_the_endpoints(served: &LocalServer) {
    until("all have gone, and nothing waits", || {
        let stats = served.stats();
        (stats.totals.slots, stats.postponed.items) == (0, 0)
    });
}

fn command(command: &Value) -> Vec<u8> {
    frame(0x81, command.to_string().as_bytes())
}

fn questions(count: usize) -> Vec<u8> {
    let one = json!({"type": "history", "seq": 1, "channel": "tea", "limit": MESSAGES});
    command(&one).repeat(count)
}

/// Says something, and passes over what comes before the answer.
fn say(client: &mut WebSocketClient, seq: usize) {
    let say = json!({"type": "say", "seq": seq, "to": {"user": "nobody"}, "data": seq});
    client.say(say.to_string());
    while parsed(&client.hear_text())["seq"] != seq {}
}

#[test]
fn what_one_asked_is_not_looked_up_once_it_has_gone_and_what_it_said_counts() {
    in_every_mode(|mode| {
        let world = World::start(mode);
        let mut client = world.member("ann");
        let last = json!({"type": "say", "to": {"room": "tea"}, "data": "good night"});
        let all = [questions(QUESTIONS), command(&last)].concat();
        assert_eq!(client.pour(&all), all.len());
        client.shut();
        until("its last words count", || {
            world.newest() == MESSAGES as u64 + 1
        });
        let pages = world.pages();
        assert!(pages < QUESTIONS / 2, "{pages} pages for nobody");
        drop(client);
        world.end();
    });
}

#[test]
fn one_that_reads_all_of_a_history_again_and_again_lets_others_say_something_in_between() {
    const PAGES: usize = 400;
    in_every_mode(|mode| {
        let world = World::start(mode);
        let (mut reader, mut other) = (world.member("ann"), world.member("bob"));
        let mut stream = reader.stream().try_clone().unwrap();
        let asks = thread::spawn(move || stream.write_all(&questions(PAGES)).unwrap());
        let reads = thread::spawn(move || {
            for _ in 0..PAGES {
                while !reader.hear_text().contains(r#""messages":["#) {}
            }
            reader
        });
        until("it reads", || world.pages() > 3);
        let mut most = 0;
        for seq in 1..=20 {
            let before = world.pages();
            say(&mut other, seq);
            most = most.max(world.pages() - before);
        }
        assert!(world.pages() < PAGES, "it had all of them");
        assert!(most < 50, "{most} pages were read before an answer");
        asks.join().unwrap();
        let reader = reads.join().expect("each question has its answer");
        drop((reader, other));
        world.end();
    });
}
