//! `/link` from outside: a server with links in it, and gateways that speak by hand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use tidings::api::Posting;
use tidings::chat::ErrorCode;
use tidings::endpoint::{LinkPublisher, Links, OnComplete};
use tidings::link::{LinkRefusal, Sequenced};

use crate::support::server::{LocalServer, Mode, in_every_mode, until_nothing_is_left};
use crate::support::wait::until;
use crate::support::websocket::{Heard, WebSocketClient};

/// What is durable, and what is on its way there.
#[derive(Default)]
struct Disk {
    marks: HashMap<String, u64>,
    log: Vec<String>,
    queue: VecDeque<Task>,
    /// Numbers that there is no room for, each once.
    no_room: Vec<u64>,
    is_held: bool,
    is_over: bool,
}

struct Task {
    sequenced: Sequenced,
    data: Option<String>,
    on_complete: OnComplete,
}

/// Takes messages in order, on a thread of its own.
#[derive(Clone, Default)]
struct Publisher(Arc<(Mutex<Disk>, Condvar)>);

impl Publisher {
    fn start() -> Self {
        let publisher = Self::default();
        let own = publisher.clone();
        std::thread::spawn(move || own.run());
        publisher
    }

    fn run(&self) {
        let (disk, changed) = &*self.0;
        loop {
            let disk = disk.lock().unwrap();
            let waits = |disk: &mut Disk| (disk.queue.is_empty() || disk.is_held) && !disk.is_over;
            let mut disk = changed.wait_while(disk, waits).unwrap();
            let Some(task) = disk.queue.pop_front() else {
                return;
            };
            let outcome = disk.take(&task);
            drop(disk);
            (task.on_complete)(outcome);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Disk)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn log(&self) -> Vec<String> {
        self.0.0.lock().unwrap().log.clone()
    }
}

impl Disk {
    fn take(&mut self, task: &Task) -> Result<(), LinkRefusal> {
        let Sequenced {
            producer,
            n,
            attempt,
        } = &task.sequenced;
        let busy = Err(LinkRefusal::Busy { after_ms: 30 });
        if attempt.is_broken() {
            return busy;
        }
        if let Some(at) = self.no_room.iter().position(|other| other == n) {
            self.no_room.remove(at);
            attempt.break_off();
            return busy;
        }
        let mark = self.marks.entry(producer.to_string()).or_default();
        if n > mark {
            *mark = *n;
            self.log.extend(task.data.clone());
        }
        Ok(())
    }
}

impl LinkPublisher for Publisher {
    fn mark(&self, producer: &str) -> u64 {
        let disk = self.0.0.lock().unwrap();
        disk.marks.get(producer).copied().unwrap_or(0)
    }

    fn publish(&self, sequenced: Sequenced, posting: &Posting<'_>, on_complete: OnComplete) {
        let data = Some(posting.message.data.to_owned());
        self.change(|disk| {
            disk.queue.push_back(Task {
                sequenced,
                data,
                on_complete,
            })
        });
    }

    fn skip(&self, sequenced: Sequenced, on_complete: OnComplete) {
        let data = None;
        self.change(|disk| {
            disk.queue.push_back(Task {
                sequenced,
                data,
                on_complete,
            })
        });
    }
}

struct World {
    served: LocalServer,
    publisher: Publisher,
    links: Arc<Links>,
}

impl World {
    fn start(mode: Mode) -> Self {
        let publisher = Publisher::start();
        let links = Arc::new(Links::new(Box::new(publisher.clone())));
        let (opened, message, closed) = (links.clone(), links.clone(), links.clone());
        let builder = mode
            .builder()
            .on_open(move |_, request| opened.opened(request.fd))
            .on_message(move |server, frame| message.message(server, frame))
            .on_close(move |_, fd, _| assert!(closed.closed(fd)));
        Self {
            served: LocalServer::start(builder),
            publisher,
            links,
        }
    }

    fn gateway(&self) -> WebSocketClient {
        WebSocketClient::connect(self.served.handle.addresses()[0], "/link")
    }

    /// A gateway that has opened its link, and is told where to go on.
    fn open(&self, producer: &str, first: u64) -> (WebSocketClient, u64) {
        let mut gateway = self.gateway();
        let open = json!({"type": "open", "producer": producer, "name": "gw", "first": first});
        gateway.say(open.to_string());
        let answer = hear(&mut gateway);
        assert_eq!(answer["type"], "open_ok");
        (gateway, answer["next"].as_u64().unwrap())
    }

    fn end(self) {
        self.publisher.change(|disk| disk.is_over = true);
        until_nothing_is_left(&self.served.handle);
        until("all links are gone", || self.links.numbers().open == 0);
        self.served.stop();
    }
}

fn hear(gateway: &mut WebSocketClient) -> Value {
    serde_json::from_str(&gateway.hear_text()).unwrap()
}

fn publish(gateway: &mut WebSocketClient, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        let frame =
            json!({"type": "pub", "n": n, "to": {"room": "tea"}, "data": n, "id": n.to_string()});
        gateway.say(frame.to_string());
    }
}

fn ack(n: u64) -> Value {
    json!({"type": "pub_ack", "n": n})
}

#[test]
fn messages_are_taken_in_order_and_acknowledged_once_they_are_durable() {
    in_every_mode(|mode| {
        let world = World::start(mode);
        let (mut gateway, next) = world.open("p", 1);
        assert_eq!(next, 1);
        world.publisher.change(|disk| disk.is_held = true);
        publish(&mut gateway, 1..=3);
        gateway.say("PING");
        assert_eq!(gateway.hear_text(), "PONG", "and no word of the messages");
        world.publisher.change(|disk| disk.is_held = false);
        assert_eq!([(); 3].map(|()| hear(&mut gateway)), [1, 2, 3].map(ack));
        gateway.close(1001, "");
        let (mut gateway, next) = world.open("p", 2);
        assert_eq!(next, 4, "the mark is durable");
        publish(&mut gateway, [2, 4]);
        assert_eq!([(); 2].map(|()| hear(&mut gateway)), [3, 4].map(ack));
        assert_eq!(world.publisher.log(), ["1", "2", "3", "4"]);
        drop(gateway);
        world.end();
    });
}

#[test]
fn what_there_is_no_room_for_and_all_behind_it_comes_again() {
    in_every_mode(|mode| {
        let world = World::start(mode);
        let (mut gateway, _) = world.open("p", 1);
        world.publisher.change(|disk| {
            disk.no_room = vec![3];
            disk.is_held = true;
        });
        publish(&mut gateway, 1..=5);
        gateway.say("PING");
        assert_eq!(gateway.hear_text(), "PONG");
        world.publisher.change(|disk| disk.is_held = false);
        assert_eq!([(); 2].map(|()| hear(&mut gateway)), [1, 2].map(ack));
        assert_eq!(
            hear(&mut gateway),
            json!({"type": "pub_busy", "after_ms": 30})
        );
        publish(&mut gateway, [6]);
        publish(&mut gateway, 3..=6);
        assert_eq!([(); 4].map(|()| hear(&mut gateway)), [3, 4, 5, 6].map(ack));
        assert_eq!(world.publisher.log(), ["1", "2", "3", "4", "5", "6"]);
        assert_eq!(world.links.numbers().busy, 1);
        drop(gateway);
        world.end();
    });
}

#[test]
fn a_message_that_is_none_settles_its_number() {
    in_every_mode(|mode| {
        let world = World::start(mode);
        let (mut gateway, _) = world.open("p", 1);
        gateway.say(r#"{"type":"pub","n":1,"to":{"fdd":1},"data":1,"id":"x"}"#);
        publish(&mut gateway, [2]);
        let code = ErrorCode::BadRequest.name();
        let message = "to has to be an object with one of room, user, fd, all, rooms, users";
        let refused = json!({"type": "pub_err", "n": 1, "code": code, "message": message});
        assert_eq!([(); 2].map(|()| hear(&mut gateway)), [refused, ack(2)]);
        drop(gateway);
        assert_eq!(world.open("p", 1).1, 3);
        assert_eq!(world.links.numbers().refused, 1);
        world.end();
    });
}

#[test]
fn a_second_link_of_one_outbox_ends_the_first() {
    in_every_mode(|mode| {
        let world = World::start(mode);
        let (mut first, _) = world.open("p", 1);
        let (mut other, _) = world.open("q", 1);
        world.publisher.change(|disk| disk.is_held = true);
        publish(&mut first, [1, 2]);
        first.say("PING");
        assert_eq!(first.hear_text(), "PONG");
        let (mut second, next) = world.open("p", 1);
        assert_eq!(next, 1, "nothing is durable yet");
        let kick = hear(&mut first);
        assert_eq!(
            (&kick["type"], &kick["code"]),
            (&json!("kick"), &json!("replaced"))
        );
        assert_eq!(first.hear(), Heard::Close(4004));
        publish(&mut second, [1, 2, 3]);
        world.publisher.change(|disk| disk.is_held = false);
        assert_eq!([(); 3].map(|()| hear(&mut second)), [1, 2, 3].map(ack));
        assert_eq!(world.publisher.log(), ["1", "2", "3"], "once each");
        publish(&mut other, [1]);
        assert_eq!(hear(&mut other), ack(1), "and others are left alone");
        assert_eq!(world.links.numbers().replaced, 1);
        drop((first, second, other));
        world.end();
    });
}

#[test]
fn a_link_that_may_not_open_ends_no_other() {
    in_every_mode(|mode| {
        let world = World::start(mode);
        let (mut gateway, _) = world.open("p", 1);
        let (mut stray, _) = world.open("q", 1);
        stray.say(r#"{"type":"open","producer":"p","name":"gw","first":1}"#);
        assert_eq!(hear(&mut stray)["type"], "err");
        assert_eq!(stray.hear(), Heard::Close(1002));
        publish(&mut gateway, [1]);
        assert_eq!(hear(&mut gateway), ack(1));
        assert_eq!(world.links.numbers().replaced, 0);
        drop((gateway, stray));
        world.end();
    });
}

#[test]
fn a_mark_below_what_the_gateway_has_jumps_to_it() {
    in_every_mode(|mode| {
        let world = World::start(mode);
        let (mut gateway, next) = world.open("p", 41);
        assert_eq!(next, 41);
        publish(&mut gateway, [41]);
        assert_eq!(hear(&mut gateway), ack(41));
        assert_eq!(world.links.numbers().jumped, 1);
        drop(gateway);
        world.end();
    });
}

#[test]
fn a_gateway_that_breaks_the_protocol_is_told_and_closed() {
    in_every_mode(|mode| {
        let world = World::start(mode);
        for wrong in [
            "pong",
            r#"{"type":"pub","n":3,"to":{"room":"a"},"data":1,"id":"x"}"#,
            r#"{"type":"open","producer":"p","name":"gw","first":1}"#,
        ] {
            let (mut gateway, _) = world.open("p", 1);
            gateway.say(wrong);
            let err = hear(&mut gateway);
            assert_eq!(
                (&err["type"], &err["code"]),
                (&json!("err"), &json!("bad_request"))
            );
            assert_eq!(gateway.hear(), Heard::Close(1002), "{wrong}");
        }
        let mut gateway = world.gateway();
        publish(&mut gateway, [1]);
        assert_eq!(hear(&mut gateway)["type"], "err", "open comes first");
        drop(gateway);
        let (mut gateway, _) = world.open("p", 1);
        gateway.say_bytes(b"x");
        assert_eq!(hear(&mut gateway)["type"], "err");
        assert_eq!(gateway.hear(), Heard::Close(1002));
        assert!(world.publisher.log().is_empty());
        drop(gateway);
        world.end();
    });
}
