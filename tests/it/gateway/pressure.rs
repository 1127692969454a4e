//! The queue before the disk, while the disk stands still.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use tidings::api::OpenAccess;
use tidings::gateway::{Gateway, GatewaySettings, store_settings};
use tidings::server::{RunningServer, Server, Watermarks};
use tidings::store::{
    Appended, DiskSettings, MemoryStore, Reader, Record, Store, StoreError, StoreSettings,
};

use super::FLOWS_WITHIN;
use super::machine::message;
use crate::support::PATIENCE;
use crate::support::http::{HttpClient, json_request};
use crate::support::wait::until;

/// A disk that commits once it may, which it may for ever when whoever says so has gone.
struct Halting {
    store: MemoryStore,
    has_begun: Sender<()>,
    may_commit: Receiver<()>,
}

impl Store for Halting {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        self.store.append(now_ms, record)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.has_begun.send(()).ok();
        self.may_commit.recv().ok();
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

/// A gateway in this process, and what it tells: that a commit has begun, that a posting is given
/// to the disk.
struct World {
    gateway: Arc<Gateway>,
    running: RunningServer,
    commits: Receiver<()>,
    given: Receiver<()>,
}

impl World {
    /// It has no push process: what is taken stays in the outbox.
    fn start(marks: Watermarks, may_commit: Receiver<()>) -> Self {
        let (has_begun, commits) = channel();
        let store = Halting {
            store: MemoryStore::new(store_settings(StoreSettings::new("memory"), 1 << 20)),
            has_begun,
            may_commit,
        };
        let disk = DiskSettings {
            marks,
            ..DiskSettings::default()
        };
        let settings = GatewaySettings {
            disk,
            ..GatewaySettings::new("gw-1", Vec::new())
        };
        let gateway = Gateway::new(settings, Box::new(store), Box::new(OpenAccess)).unwrap();
        let gateway = Arc::new(gateway);
        let (start, answer) = (Arc::clone(&gateway), Arc::clone(&gateway));
        let (gave, given) = channel();
        let builder = Server::builder()
            .listen("127.0.0.1:0")
            // One for each who posts: no answer to another has it look again who may be read.
            .reactors(3)
            .workers(1)
            .on_start(move |server| drop(start.start(server).unwrap_err()))
            .on_request(move |server, request, responder| {
                assert!(answer.answer(server, request, responder).is_none());
                gave.send(()).ok();
            });
        Self {
            running: gateway.attach(builder).start().unwrap(),
            gateway,
            commits,
            given,
        }
    }

    /// Begins to post a message; the answer is for later.
    fn post(&self, number: u64) -> HttpClient {
        let mut http = HttpClient::connect(self.running.handle().addresses()[0]);
        let body = message("ann", number);
        http.send(json_request("POST", "/v1/messages", &body))
            .unwrap();
        http
    }

    fn end(self) {
        self.running.stop().expect("the main thread doesn't panic");
        assert!(self.gateway.finish().is_empty());
        let gateway = Arc::into_inner(self.gateway);
        gateway.expect("nobody else has it").close();
    }
}

#[test]
fn who_posts_while_the_disk_stands_still_waits_and_is_taken_then() {
    let (go_on, may_commit) = channel();
    let marks = Watermarks {
        items_high: 0,
        items_low: 0,
        bytes_high: usize::MAX,
        bytes_low: usize::MAX,
    };
    let world = World::start(marks, may_commit);
    let first = world.post(1);
    world.commits.recv_timeout(PATIENCE).unwrap();
    world.given.recv_timeout(PATIENCE).unwrap();
    // Waits behind the commit, and so presses the queue.
    let second = world.post(2);
    world.given.recv_timeout(PATIENCE).unwrap();
    let third = world.post(3);
    until("the third isn't read", || {
        world.running.handle().stats().totals.held == 1
    });
    assert!(world.given.try_recv().is_err());
    drop(go_on);
    let went_on = Instant::now();
    for mut http in [first, second, third] {
        assert_eq!(http.answer().unwrap().status, 202);
    }
    // Sooner than by the deadline of a request, which has the reactor look, too.
    assert!(went_on.elapsed() < FLOWS_WITHIN, "it is woken");
    world.end();
}
