//! What a publish costs, read off the counters.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use tidings::server::{Builder, Stats, Verdict};

use crate::support::PATIENCE;
use crate::support::http::HttpClient;
use crate::support::server::{LocalServer, Mode, in_every_mode, with_one_reactor};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

const MEMBERS: usize = 20;

/// Everyone hears `tea`, and what anyone says goes there.
fn room(mode: Mode) -> Builder {
    mode.builder()
        .on_open(|server, request| server.subscribe(request.fd, "tea"))
        .on_message(|server, frame| server.publish("tea", frame))
}

fn joined(server: &LocalServer) -> Vec<WebSocketClient> {
    let clients = (0..MEMBERS)
        .map(|_| WebSocketClient::join(&server.handle))
        .collect();
    until("all are subscribed", || {
        server.stats().totals.subscriptions == MEMBERS as u64
    });
    clients
}

#[test]
fn a_publish_is_one_command_a_reactor_and_one_delivery_a_member() {
    const PUBLISHES: u64 = 50;
    in_every_mode(|mode| {
        let server = LocalServer::start(room(mode));
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
        let server = LocalServer::start(room(mode));
        let mut clients: Vec<_> = (0..4)
            .map(|_| WebSocketClient::connect_narrow(server.handle.addresses()[0], "/"))
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

#[test]
fn publishes_that_one_turn_carries_out_are_one_write_a_member() {
    const PUBLISHES: usize = 50;
    with_one_reactor(|mode| {
        let (reached, is_reached) = channel();
        let (open, is_open) = channel();
        let is_open = Mutex::new(is_open);
        // The gate is run by the reactor, so that what comes meanwhile waits for its next turn.
        let builder = room(mode).gate(move |head, _| {
            if head.path() == "/wait" {
                reached.send(()).unwrap();
                is_open.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            Verdict::Pass
        });
        let server = LocalServer::start(builder);
        let mut clients = joined(&server);
        let before = server.stats().totals;
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        http.send_get("/wait");
        next(&is_reached);
        for number in 0..PUBLISHES {
            let handle = server.handle.clone();
            thread::spawn(move || handle.publish("tea", &format!("{number}")))
                .join()
                .unwrap();
        }
        open.send(()).unwrap();
        for client in &mut clients {
            for number in 0..PUBLISHES {
                assert_eq!(client.hear_text(), format!("{number}"));
            }
        }
        assert_eq!(http.answer().unwrap().status, 404);
        // The answer to the one who waited is another, and pings may come at any time.
        let totals = server.stats().totals;
        let writes = totals.writes - before.writes - (totals.pings - before.pings);
        assert!(
            writes <= MEMBERS as u64 + 2,
            "{writes} writes for {MEMBERS} members"
        );
    });
}
