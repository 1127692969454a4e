//! Bounds and times that change while a server runs: for every connection, and who hasn't taken them yet.

use std::sync::mpsc::{channel, sync_channel};
use std::time::Duration;

use tidings::server::{Rollout, ServerSettings};

use crate::support::PATIENCE;
use crate::support::server::{LocalServer, Mode, in_every_mode};
use crate::support::wait::next;
use crate::support::websocket::{Heard, WebSocketClient};

fn with_messages_of(size_max: usize) -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.reactor.connection.message_size_max = size_max;
    settings
}

#[test]
fn every_connection_goes_by_other_bounds_once_all_reactors_have_them() {
    in_every_mode(|mode| {
        let echo = mode.builder().on_message(|server, frame| {
            server.push(frame.fd, frame).ok();
        });
        let server = LocalServer::start(echo);
        // More than one turn arms anew.
        let mut clients: Vec<_> = (0..1_100)
            .map(|_| WebSocketClient::join(&server.handle))
            .collect();
        for size_max in [200_000, 1_000] {
            let rollout = Rollout::default();
            (server.handle).set_settings(&with_messages_of(size_max), &rollout);
            assert!(rollout.wait(PATIENCE).is_empty());
            for client in clients.iter_mut().step_by(100) {
                client.echo(&"x".repeat(size_max));
            }
        }
        let mut last = clients.pop().unwrap();
        last.say("x".repeat(1_001));
        assert_eq!(last.hear(), Heard::Close(1009));
    });
}

#[test]
fn a_reactor_that_is_stuck_is_named_until_it_has_taken_them() {
    let (entered, is_stuck) = channel();
    let (go_on, released) = sync_channel::<()>(0);
    let released = std::sync::Mutex::new(released);
    let mode = Mode {
        workers: 0,
        reactors: 1,
    };
    let server = LocalServer::start(mode.builder().on_message(move |server, frame| {
        entered.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        server.push(frame.fd, frame).ok();
    }));
    let mut client = WebSocketClient::join(&server.handle);
    client.say("stay");
    next(&is_stuck);
    let rollout = Rollout::default();
    server
        .handle
        .set_settings(&with_messages_of(1_000), &rollout);
    let silent = rollout.wait(Duration::from_millis(20));
    assert_eq!(silent, [std::sync::Arc::from("reactor-0")]);
    go_on.send(()).unwrap();
    assert!(rollout.wait(PATIENCE).is_empty());
    assert_eq!(client.hear(), Heard::Text("stay".into()));
}

#[test]
fn a_server_that_has_ended_owes_nothing() {
    let mode = Mode {
        workers: 1,
        reactors: 2,
    };
    let server = LocalServer::start(mode.builder());
    let handle = server.handle.clone();
    drop(server);
    let rollout = Rollout::default();
    handle.set_settings(&ServerSettings::default(), &rollout);
    assert!(rollout.wait(PATIENCE).is_empty());
}
