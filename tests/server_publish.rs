//! What a publish costs, read off the counters.

mod common;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use common::{Client, Heard, Mode, PATIENCE, Served, in_every_mode, until, with_one_reactor};
use tidings::server::{Builder, Stats};

const MEMBERS: usize = 20;

/// Everyone hears `tea`, and what anyone says goes there.
fn room(mode: Mode) -> Builder {
    mode.builder()
        .on_open(|server, request| server.subscribe(request.fd, "tea"))
        .on_message(|server, frame| server.publish("tea", frame))
}

fn joined(server: &Served) -> Vec<Client> {
    let clients = (0..MEMBERS).map(|_| Client::join(&server.handle)).collect();
    until("all are subscribed", || {
        server.stats().totals.subscriptions == MEMBERS as u64
    });
    clients
}

#[test]
fn a_publish_is_one_command_a_reactor_and_one_delivery_a_member() {
    const PUBLISHES: u64 = 50;
    in_every_mode(|mode| {
        let server = Served::start(room(mode));
        let mut clients = joined(&server);
        let before = server.stats();
        for number in 0..PUBLISHES {
            server.handle.publish("tea", &format!("{number}"));
        }
        for client in &mut clients {
            for number in 0..PUBLISHES {
                assert_eq!(client.hear_text(), format!("{number}"));
            }
        }
        let grown = |of: fn(&Stats) -> u64| of(&server.stats()) - of(&before);
        let commands = grown(|stats| stats.totals.commands);
        assert_eq!(commands, PUBLISHES * mode.reactors as u64);
        let deliveries = grown(|stats| stats.totals.deliveries);
        assert_eq!(deliveries, PUBLISHES * MEMBERS as u64);
    });
}

#[test]
fn a_publish_keeps_one_frame_in_memory_however_many_wait_for_it() {
    const SIZE: usize = 4_000_000;
    in_every_mode(|mode| {
        let server = Served::start(room(mode));
        let mut clients: Vec<_> = (0..4)
            .map(|_| Client::join_narrow(&server.handle))
            .collect();
        until("all are subscribed", || {
            server.stats().totals.subscriptions == 4
        });
        server.handle.publish("tea", &vec![0; SIZE]);
        until("it waits for all", || server.stats().totals.backlogged == 4);
        let waiting = server.stats().outbox_bytes;
        assert!((SIZE..SIZE + 1_000).contains(&waiting), "{waiting} bytes");
        for client in &mut clients {
            assert!(client.hear() == Heard::Binary(vec![0; SIZE]));
        }
        until("it is let go", || server.stats().outbox_bytes == 0);
    });
}

/// A gate in a handler: it says when it is reached, and waits to be let through.
fn gate() -> (impl Fn() + Send + Sync, Receiver<()>, Sender<()>) {
    let (reached, is_reached) = channel();
    let (open, is_open) = channel();
    let is_open = Mutex::new(is_open);
    let wait = move || {
        reached.send(()).unwrap();
        is_open.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    };
    (wait, is_reached, open)
}

#[test]
fn publishes_of_many_connections_merge_into_few_writes_a_member() {
    with_one_reactor(|mode| {
        let (wait, is_reached, open) = gate();
        let builder = room(mode).on_message(move |server, frame| match frame.text() {
            Some("wait") => wait(),
            _ => server.publish("tea", frame),
        });
        let server = Served::start(builder);
        let mut clients = joined(&server);
        // Whatever worker they belong to, they wait for the same moment.
        let mut waiting: Vec<_> = (0..mode.workers.max(1))
            .map(|_| Client::join(&server.handle))
            .collect();
        for client in &mut waiting {
            client.say("wait");
            is_reached.recv_timeout(PATIENCE).unwrap();
        }
        let before = server.stats().totals;
        for (number, client) in clients.iter_mut().enumerate() {
            client.say(&format!("{number}"));
        }
        if mode.workers > 0 {
            until("all are read", || {
                server.stats().totals.messages_in - before.messages_in == MEMBERS as u64
            });
        }
        for _ in &waiting {
            open.send(()).unwrap();
        }
        for client in &mut clients {
            let mut heard: Vec<usize> = (0..MEMBERS)
                .map(|_| client.hear_text().parse().unwrap())
                .collect();
            heard.sort();
            assert_eq!(heard, (0..MEMBERS).collect::<Vec<_>>());
        }
        let writes = server.stats().totals.writes - before.writes;
        let most = (MEMBERS * MEMBERS / 2) as u64;
        assert!(
            writes < most,
            "{writes} writes for {MEMBERS} publishes to {MEMBERS}"
        );
    });
}
