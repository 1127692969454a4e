//! A stop: what is under way is answered, everybody is told, and what had to be cut is counted.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tidings::server::{Responder, RunningServer, ServerOutcome, ServerSettings};

use crate::support::PATIENCE;
use crate::support::http::HttpClient;
use crate::support::server::{Mode, in_every_mode, with_workers};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// Deadlines that a test can wait for.
fn quick(change: impl FnOnce(&mut ServerSettings)) -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.reactor.linger_ms_max = 500;
    settings.reactor.connection.close_ms_max = 500;
    change(&mut settings);
    settings
}

/// Keeps the responders of its requests.
fn keeping(mode: Mode, settings: ServerSettings) -> (RunningServer, Receiver<Responder>) {
    let (sender, responders) = channel();
    let builder = mode
        .builder()
        .settings(settings)
        .on_request(move |_, _, responder| sender.send(responder).unwrap())
        .on_message(|server, frame| server.push(frame.fd, frame).unwrap());
    (builder.start().unwrap(), responders)
}

/// Stops the server on a thread of its own, and waits until it has begun to.
fn begin_to_stop(running: RunningServer) -> thread::JoinHandle<ServerOutcome> {
    let address = running.handle().addresses()[0];
    let stopping = thread::spawn(move || running.stop().unwrap());
    until("it listens no more", || {
        TcpStream::connect(address).is_err()
    });
    stopping
}

#[test]
fn a_request_under_way_is_answered_though_its_answer_comes_later_and_from_elsewhere() {
    in_every_mode(|mode| {
        let (running, responders) = keeping(mode, quick(|_| {}));
        let address = running.handle().addresses()[0];
        let mut clients: Vec<_> = (0..4).map(|_| HttpClient::connect(address)).collect();
        for http in &mut clients {
            http.send_get("/");
        }
        let kept: Vec<_> = clients.iter().map(|_| next(&responders)).collect();
        let stopping = begin_to_stop(running);
        let answering = thread::spawn(move || {
            // Timed by the clock of the world, as a database would be.
            thread::park_timeout(Duration::from_millis(100));
            for responder in kept {
                responder.end("late");
            }
        });
        for http in &mut clients {
            let answer = http.answer().expect("no request stays without an answer");
            assert_eq!((answer.status, answer.body.as_str()), (200, "late"));
            assert!(answer.closes, "the server goes");
            assert!(http.is_closed());
        }
        drop(clients);
        answering.join().unwrap();
        assert_eq!(stopping.join().unwrap(), ServerOutcome::default());
    });
}

#[test]
fn every_websocket_is_told_1001() {
    in_every_mode(|mode| {
        let (running, _responders) = keeping(mode, quick(|_| {}));
        let handle = running.handle().clone();
        let mut clients: Vec<_> = (0..40).map(|_| WebSocketClient::join(&handle)).collect();
        until("all are there", || handle.stats().totals.websockets == 40);
        let stopping = begin_to_stop(running);
        for client in &mut clients {
            assert_eq!(client.hear_all(), (vec![], Heard::Close(1_001)));
        }
        drop(clients);
        assert_eq!(stopping.join().unwrap(), ServerOutcome::default());
        assert_eq!(handle.stats().totals.slots, 0);
    });
}

#[test]
fn what_a_websocket_asked_before_is_answered_before_the_close() {
    with_workers(|mode| {
        let (reached, is_reached) = channel();
        let (open, is_open): (Sender<()>, _) = channel();
        let is_open = Mutex::new(is_open);
        let builder = mode
            .builder()
            .settings(quick(|_| {}))
            .on_message(move |server, frame| {
                if frame.text() == Some("wait") {
                    reached.send(()).unwrap();
                    is_open.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                }
                server.push(frame.fd, frame).unwrap();
            });
        let running = builder.start().unwrap();
        let handle = running.handle().clone();
        let mut client = WebSocketClient::join(&handle);
        client.say("wait");
        next(&is_reached);
        for number in 0..20 {
            client.say(format!("{number}"));
        }
        until("all is read", || handle.stats().totals.messages_in == 21);
        let stopping = begin_to_stop(running);
        open.send(()).unwrap();
        assert_eq!(client.hear_text(), "wait");
        for number in 0..20 {
            assert_eq!(client.hear_text(), format!("{number}"));
        }
        assert_eq!(client.hear(), Heard::Close(1_001));
        drop(client);
        assert_eq!(stopping.join().unwrap(), ServerOutcome::default());
    });
}

#[test]
fn clients_that_never_stop_talking_are_told_too() {
    in_every_mode(|mode| {
        let (running, _responders) = keeping(mode, quick(|_| {}));
        let handle = running.handle().clone();
        let talking: Vec<_> = (0..4)
            .map(|_| {
                let mut client = WebSocketClient::join(&handle);
                thread::spawn(move || {
                    let mut said = 0;
                    loop {
                        client.say(format!("{said}"));
                        match client.hear() {
                            Heard::Text(text) => assert_eq!(text, format!("{said}")),
                            end => return end,
                        }
                        said += 1;
                    }
                })
            })
            .collect();
        until("they talk", || handle.stats().totals.messages_in > 100);
        assert_eq!(running.stop().unwrap(), ServerOutcome::default());
        for client in talking {
            assert_eq!(client.join().unwrap(), Heard::Close(1_001));
        }
    });
}

#[test]
fn a_close_handshake_under_way_does_not_delay_a_stop() {
    in_every_mode(|mode| {
        let settings = quick(|settings| settings.reactor.connection.close_ms_max = 60_000);
        let (running, _responders) = keeping(mode, settings);
        let handle = running.handle().clone();
        let mut client = WebSocketClient::join(&handle);
        until("it is there", || handle.stats().totals.websockets == 1);
        let fd = handle.connections(tidings::server::Fd(0), 1)[0];
        handle.disconnect(fd, 4_000, "").unwrap();
        until("the Close went out", || !handle.is_established(fd));
        let stopping = begin_to_stop(running);
        assert_eq!(client.hear(), Heard::Close(4_000));
        drop(client);
        assert_eq!(stopping.join().unwrap(), ServerOutcome::default());
    });
}

#[test]
fn a_second_stop_is_harmless_also_after_the_end() {
    in_every_mode(|mode| {
        let (running, _responders) = keeping(mode, quick(|_| {}));
        let handle = running.handle().clone();
        let mut client = WebSocketClient::join(&handle);
        client.echo("hello");
        handle.stop();
        handle.stop();
        assert_eq!(client.hear(), Heard::Close(1_001));
        drop(client);
        assert_eq!(running.stop().unwrap(), ServerOutcome::default());
        handle.stop();
        // Nobody is there any more, and nothing of it waits or fails.
        handle.publish("tea", "nobody");
        handle.after(1, |_| unreachable!());
        assert!(handle.connections(tidings::server::Fd(0), 1).is_empty());
    });
}

#[test]
fn a_callback_may_ask_for_the_stop() {
    in_every_mode(|mode| {
        let builder = mode
            .builder()
            .settings(quick(|_| {}))
            .on_request(|server, _, responder| {
                server.stop();
                responder.end("bye");
            });
        let running = builder.start().unwrap();
        let mut http = HttpClient::connect(running.handle().addresses()[0]);
        assert_eq!(http.get("/").body, "bye");
        drop(http);
        assert_eq!(running.stop().unwrap(), ServerOutcome::default());
    });
}

#[test]
fn an_idle_kept_connection_delays_a_stop_by_its_grace_only() {
    in_every_mode(|mode| {
        let (running, responders) = keeping(mode, quick(|_| {}));
        let mut http = HttpClient::connect(running.handle().addresses()[0]);
        http.send_get("/");
        next(&responders).end("kept");
        assert_eq!(http.answer().unwrap().body, "kept");
        let began = Instant::now();
        let stopping = begin_to_stop(running);
        // It crosses our wish to stop, and is still answered.
        http.send_get("/");
        next(&responders).end("the last");
        let answer = http.answer().unwrap();
        assert_eq!((answer.body.as_str(), answer.closes), ("the last", true));
        drop(http);
        assert_eq!(stopping.join().unwrap(), ServerOutcome::default());
        // Nothing but the end of the time for a stop would be later.
        assert!(began.elapsed() < Duration::from_secs(15));
    });
}

#[test]
fn what_the_deadline_cuts_is_counted() {
    in_every_mode(|mode| {
        let settings = quick(|settings| {
            settings.stop_ms_max = 100;
            settings.reactor.connection.close_ms_max = 60_000;
        });
        let (running, responders) = keeping(mode, settings);
        let handle = running.handle().clone();
        let mut http = HttpClient::connect(handle.addresses()[0]);
        http.send_get("/");
        let responder = next(&responders);
        // It never answers the Close.
        let client = WebSocketClient::join(&handle);
        until("it is there", || handle.stats().totals.websockets == 1);
        let expected = ServerOutcome {
            connections_cut: 2,
            requests_unanswered: 1,
            ..ServerOutcome::default()
        };
        assert_eq!(running.stop().unwrap(), expected);
        responder.end("nobody hears");
        assert!(http.is_closed());
        drop(client);
    });
}

#[test]
fn a_worker_that_is_stuck_is_left_behind_and_counted() {
    let (reached, is_reached) = channel();
    let (open, is_open): (Sender<()>, _) = channel();
    let is_open = Mutex::new(is_open);
    let mode = Mode {
        workers: 2,
        reactors: 1,
    };
    let builder = mode
        .builder()
        .settings(quick(|settings| settings.stop_ms_max = 100))
        .on_message(move |_, _| {
            reached.send(()).unwrap();
            is_open.lock().unwrap().recv().ok();
        });
    let running = builder.start().unwrap();
    let mut client = WebSocketClient::join(running.handle());
    client.say("wait");
    next(&is_reached);
    let outcome = running.stop().unwrap();
    assert_eq!((outcome.threads_stuck, outcome.connections_cut), (1, 1));
    drop(open);
}

#[test]
fn a_server_that_cannot_go_on_stops_in_order_and_says_that_it_failed() {
    in_every_mode(|mode| {
        let (running, _responders) = keeping(mode, quick(|_| {}));
        let mut client = WebSocketClient::join(running.handle());
        client.echo("here");
        running.handle().fail("the disk is gone");
        assert!(running.handle().is_stopping());
        assert_eq!(client.hear_all(), (vec![], Heard::Close(1001)));
        let outcome = running.stop().unwrap();
        assert!(!outcome.is_clean());
        let expected = ServerOutcome {
            has_failed: true,
            ..ServerOutcome::default()
        };
        assert_eq!(outcome, expected, "nothing was lost besides");
    });
}

/// Panics once more when it is thrown away, where nobody catches it.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("thrown away");
        }
    }
}

#[test]
fn a_worker_that_dies_leaves_nobody_waiting() {
    with_workers(|mode| {
        let (open, is_open): (Sender<()>, _) = channel();
        let is_open = Mutex::new(is_open);
        let builder = mode
            .builder()
            .settings(quick(|_| {}))
            .on_message(move |_, frame| {
                if frame.text() == Some("die") {
                    is_open.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                    std::panic::panic_any(Bomb);
                }
            })
            .on_request(|_, _, responder| responder.end("alive"));
        let running = builder.start().unwrap();
        let handle = running.handle().clone();
        let mut clients: Vec<_> = (0..4).map(|_| WebSocketClient::join(&handle)).collect();
        let mut asking: Vec<_> = (0..4)
            .map(|_| HttpClient::connect(handle.addresses()[0]))
            .collect();
        clients[0].say("die");
        // Behind it in the queue, some of them.
        for http in &mut asking {
            http.send_get("/");
        }
        until("all is read", || {
            let totals = handle.stats().totals;
            (totals.messages_in, totals.requests) == (1, 4)
        });
        open.send(()).unwrap();
        for http in &mut asking {
            let status = http.answer().expect("an answer comes").status;
            assert!(status == 200 || status == 500, "{status}");
        }
        for client in &mut clients {
            let (_, end) = client.hear_all();
            assert!(
                matches!(end, Heard::Close(1001 | 1011)),
                "{end:?}, not cut off"
            );
        }
        drop((clients, asking));
        let outcome = running.stop().unwrap();
        let expected = ServerOutcome {
            has_failed: true,
            ..ServerOutcome::default()
        };
        assert_eq!(outcome, expected, "nothing was lost besides");
    });
}
