//! Peers that are silent, slow or don't know when to stop: what the server does, and when.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tidings::server::{Builder, CloseReason, Limits, ServerSettings};

use crate::support::frame::frame;
use crate::support::http::HttpClient;
use crate::support::server::{LocalServer, Mode, in_every_mode, until_nothing_is_left};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// Deadlines count in steps of 64 ms, and threads are late on a busy machine, but never early.
const SOON: Duration = Duration::from_secs(5);

fn limits(change: impl FnOnce(&mut Limits)) -> ServerSettings {
    let mut settings = ServerSettings::default();
    change(&mut settings.reactor.connection);
    settings
}

/// Reports the reasons of closes, and echoes.
fn reporting(mode: Mode) -> (Builder, Receiver<CloseReason>) {
    let (sender, closes) = channel();
    let builder = mode
        .builder()
        .on_message(|server, frame| server.push(frame.fd, frame).unwrap())
        .on_close(move |_, _, reason| sender.send(reason.clone()).unwrap());
    (builder, closes)
}

#[track_caller]
fn assert_took(began: Instant, at_least_ms: u64) {
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(at_least_ms), "{took:?}");
    assert!(took < SOON, "{took:?}");
}

#[test]
fn a_head_that_does_not_end_is_refused_with_408_also_when_it_trickles() {
    in_every_mode(|mode| {
        let builder = mode
            .builder()
            .settings(limits(|limits| limits.head_ms_max = 150));
        let server = LocalServer::start(builder);
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        let began = Instant::now();
        http.send("GET / HTTP/1.1\r\n").unwrap();
        http.send("Host: x\r\n").unwrap();
        let answer = http.answer().unwrap();
        assert_eq!((answer.status, answer.closes), (408, true));
        assert_took(began, 150);
        assert!(http.is_closed());
    });
}

#[test]
fn a_connection_that_sends_nothing_is_closed_without_a_word() {
    in_every_mode(|mode| {
        let builder = mode
            .builder()
            .settings(limits(|limits| limits.head_ms_max = 100));
        let server = LocalServer::start(builder);
        let began = Instant::now();
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        assert!(http.is_closed());
        assert_took(began, 100);
        drop(http);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn a_body_that_stops_coming_is_refused_with_408() {
    in_every_mode(|mode| {
        let builder = mode
            .builder()
            .settings(limits(|limits| limits.body_ms_max = 100));
        let server = LocalServer::start(builder);
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        http.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
            .unwrap();
        assert_eq!(http.answer().unwrap().status, 408);
    });
}

#[test]
fn a_kept_connection_is_closed_when_it_is_idle_and_not_while_a_handler_works() {
    in_every_mode(|mode| {
        let (sender, responders) = channel();
        let builder = mode
            .builder()
            .settings(limits(|limits| limits.idle_ms_max = 100))
            .on_request(move |_, _, responder| sender.send(responder).unwrap());
        let server = LocalServer::start(builder);
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        http.send_get("/");
        let responder = next(&responders);
        let later = server.stats().uptime_ms + 250;
        until("time goes by", || server.stats().uptime_ms > later);
        let began = Instant::now();
        responder.end("worth the wait");
        assert_eq!(http.answer().unwrap().body, "worth the wait");
        assert!(http.is_closed());
        assert!(began.elapsed() < SOON);
    });
}

#[test]
fn a_silent_websocket_is_pinged_and_then_closed_with_4010() {
    in_every_mode(|mode| {
        let (builder, closes) = reporting(mode);
        let server = LocalServer::start(builder.settings(limits(|limits| {
            limits.ping_ms = 100;
            limits.pong_ms_max = 100;
        })));
        // It reads only when all is over, so it answers no ping.
        let mut silent = WebSocketClient::join(&server.handle);
        assert_eq!(next(&closes), CloseReason::PingTimeout);
        assert_eq!(silent.hear_any(), Heard::Ping);
        assert_eq!(silent.hear_any(), Heard::Close(4_010));
        let totals = server.stats().totals;
        assert_eq!((totals.pings, totals.ping_timeouts), (1, 1));
        drop(silent);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn a_websocket_that_talked_and_fell_silent_is_noticed_as_well() {
    in_every_mode(|mode| {
        let (builder, closes) = reporting(mode);
        let server = LocalServer::start(builder.settings(limits(|limits| {
            limits.ping_ms = 300;
            limits.pong_ms_max = 50;
        })));
        let mut client = WebSocketClient::join(&server.handle);
        // Each word moves the deadline, and none of them moves the timer that is set.
        let began = server.stats().uptime_ms;
        while server.stats().uptime_ms < began + 100 {
            client.echo("word");
        }
        assert_eq!(next(&closes), CloseReason::PingTimeout);
    });
}

#[test]
fn websockets_that_answer_pings_or_talk_stay() {
    in_every_mode(|mode| {
        let (builder, closes) = reporting(mode);
        let server = LocalServer::start(builder.settings(limits(|limits| {
            limits.ping_ms = 60;
            limits.pong_ms_max = 400;
        })));
        let mut listener = WebSocketClient::join(&server.handle);
        // The client answers the one before as it reads the next.
        for _ in 0..4 {
            assert_eq!(listener.hear_any(), Heard::Ping);
        }
        listener.say("done");
        while listener.hear() != Heard::Text("done".into()) {}
        assert!(closes.try_recv().is_err());
        assert_eq!(server.stats().totals.ping_timeouts, 0);
    });
}

#[test]
fn without_heartbeats_nobody_is_pinged() {
    in_every_mode(|mode| {
        let (builder, _closes) = reporting(mode);
        let server = LocalServer::start(builder.settings(limits(|limits| limits.ping_ms = 0)));
        let mut client = WebSocketClient::join(&server.handle);
        client.echo("hello");
        until("no deadline is left", || {
            let totals = server.stats().totals;
            // The one of the request's head may still be there, to be noticed as void.
            totals.timers <= 1 && totals.pings == 0
        });
    });
}

#[test]
fn a_peer_that_does_not_answer_the_close_is_left_after_the_deadline() {
    in_every_mode(|mode| {
        let (builder, closes) = reporting(mode);
        let mut settings = limits(|limits| limits.close_ms_max = 100);
        settings.reactor.linger_ms_max = 100;
        let server = LocalServer::start(builder.settings(settings));
        let mut client = WebSocketClient::join(&server.handle);
        until("it is there", || server.stats().totals.websockets == 1);
        let fd = server.handle.connections(tidings::server::Fd(0), 1)[0];
        let began = Instant::now();
        server.handle.disconnect(fd, 4_000, "").unwrap();
        assert_eq!(next(&closes), CloseReason::Server(4_000));
        assert_took(began, 100);
        // It neither answers nor goes; it is cut all the same.
        until_nothing_is_left(&server.handle);
        assert_took(began, 200);
        client.end();
    });
}

#[test]
fn a_client_that_goes_on_sending_after_the_close_still_gets_its_code() {
    in_every_mode(|mode| {
        let (builder, closes) = reporting(mode);
        let server = LocalServer::start(builder);
        let mut client = WebSocketClient::join(&server.handle);
        // An unmasked frame is a violation, and megabytes follow it.
        let mut stream = client.stream().try_clone().unwrap();
        let sending = thread::spawn(move || {
            let mut bytes = vec![0x82, 0x01, 0x00];
            bytes.extend_from_slice(&frame(0x82, &vec![0; 4 << 20]));
            stream.write_all(&bytes).unwrap();
        });
        let reason = next(&closes);
        assert!(matches!(reason, CloseReason::Violation(_)), "{reason:?}");
        sending.join().unwrap();
        assert_eq!(client.hear(), Heard::Close(1_002));
        assert_eq!(server.stats().totals.violations, 1);
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn a_refused_upload_still_gets_its_answer() {
    in_every_mode(|mode| {
        let mut settings = ServerSettings::default();
        settings.reactor.connection.http.body_size_max = 1_000;
        let server = LocalServer::start(mode.builder().settings(settings));
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        let size = 4 << 20;
        http.send(format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        ))
        .unwrap();
        http.send(vec![b'x'; size]).unwrap();
        let answer = http.answer().unwrap();
        assert_eq!((answer.status, answer.closes), (413, true));
        let mut rest = Vec::new();
        http.into_stream().read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn who_is_sent_away_and_never_stops_sending_is_cut() {
    in_every_mode(|mode| {
        let mut settings = limits(|_| {});
        settings.reactor.linger_ms_max = 100;
        let (builder, closes) = reporting(mode);
        let server = LocalServer::start(builder.settings(settings));
        let mut client = WebSocketClient::join(&server.handle);
        client.stream().write_all(&[0x82, 0x01, 0x00]).unwrap();
        next(&closes);
        let bytes = frame(0x82, &[0; 1_000]);
        let began = Instant::now();
        while client.stream().write_all(&bytes).is_ok() {
            assert!(began.elapsed() < SOON, "it still takes");
        }
        until_nothing_is_left(&server.handle);
    });
}
