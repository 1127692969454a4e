//! What keeps the callbacks from running over: being told that a buffer has room, and gauges that
//! pause the reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use tidings::base::pressure::{Pressure, Watermarks};
use tidings::server::Fd;

use crate::support::server::{LocalServer, in_every_mode};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

#[test]
fn a_buffer_is_told_to_be_empty_once_the_peer_took_what_waited() {
    in_every_mode(|mode| {
        let (told, tells) = channel();
        let server = LocalServer::start(
            mode.builder()
                .on_open(|server, request| {
                    let fd = request.fd;
                    server.push(fd, &fd.to_string()).unwrap();
                })
                .on_buffer_empty(move |_, fd| told.send(fd).unwrap()),
        );
        let mut client = WebSocketClient::join(&server.handle);
        let fd = Fd(client.hear_text().parse().unwrap());
        server.handle.await_buffer(fd, 0);
        assert_eq!(next(&tells), fd, "nothing waits: at once");

        // More than the kernel takes, and less than what closes a slow reader's connection.
        let bytes = vec![7; 8 << 20];
        server.handle.push(fd, &bytes).unwrap();
        server.handle.await_buffer(fd, 1_000);
        server.handle.await_buffer(fd, bytes.len());
        assert_eq!(next(&tells), fd, "the larger bound is reached first");
        assert!(tells.try_recv().is_err(), "the peer hasn't read yet");
        assert!(client.hear() == Heard::Binary(bytes));
        assert_eq!(next(&tells), fd);
        drop(client);
        server.handle.await_buffer(fd, 0);
    });
}

#[test]
fn nothing_is_read_while_a_gauge_is_pressed() {
    in_every_mode(|mode| {
        let marks = Watermarks {
            items_high: 0,
            items_low: 0,
            bytes_high: 100,
            bytes_low: 0,
        };
        let pressure = Arc::new(Pressure::new(marks));
        let heard = Arc::new(AtomicUsize::new(0));
        let server = {
            let heard = Arc::clone(&heard);
            LocalServer::start(mode.builder().pressure(Arc::clone(&pressure)).on_message(
                move |_, _| {
                    heard.fetch_add(1, Ordering::SeqCst);
                },
            ))
        };
        let mut client = WebSocketClient::join(&server.handle);
        client.say("1");
        until("the first", || heard.load(Ordering::SeqCst) == 1);
        pressure.add(1, 1);
        client.say("2");
        until("it is held", || server.handle.stats().totals.held == 1);
        assert_eq!(heard.load(Ordering::SeqCst), 1);
        assert!(pressure.take(1, 1));
        server.handle.nudge();
        until("the second", || heard.load(Ordering::SeqCst) == 2);
    });
}
