//! What callbacks are promised: which come, in what order, on what thread, and what a panic does.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ThreadId};

use tidings::server::{Builder, CloseReason, Fd, Responder, Response};

use crate::support::PATIENCE;
use crate::support::http::HttpClient;
use crate::support::server::{LocalServer, in_every_mode};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// What a callback saw.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Opened(Fd, ThreadId),
    Message(Fd, ThreadId, String),
    Closed(Fd, ThreadId, CloseReason),
}

impl Seen {
    fn fd(&self) -> Fd {
        match self {
            Self::Opened(fd, _) | Self::Message(fd, ..) | Self::Closed(fd, ..) => *fd,
        }
    }

    fn thread(&self) -> ThreadId {
        match self {
            Self::Opened(_, thread) | Self::Message(_, thread, _) | Self::Closed(_, thread, _) => {
                *thread
            }
        }
    }
}

/// Reports every event of a WebSocket, and echoes.
fn reporting(builder: Builder) -> (Builder, Receiver<Seen>) {
    let (sender, events) = channel();
    let (opened, message, closed) = (sender.clone(), sender.clone(), sender);
    let here = || thread::current().id();
    let builder = builder
        .on_open(move |_, request| opened.send(Seen::Opened(request.fd, here())).unwrap())
        .on_message(move |server, frame| {
            let text = frame.text().unwrap_or_default().to_owned();
            message.send(Seen::Message(frame.fd, here(), text)).unwrap();
            server.push(frame.fd, frame).unwrap();
        })
        .on_close(move |_, fd, reason| {
            closed
                .send(Seen::Closed(fd, here(), reason.clone()))
                .unwrap();
        });
    (builder, events)
}

#[test]
fn events_of_one_connection_come_in_order_on_one_thread_and_close_comes_once_and_last() {
    const CLIENTS: usize = 6;
    const MESSAGES: usize = 200;
    in_every_mode(|mode| {
        let (builder, events) = reporting(mode.builder());
        let server = LocalServer::start(builder);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let mut client = WebSocketClient::join(&server.handle);
                thread::spawn(move || {
                    for message in 0..MESSAGES {
                        client.say(format!("{number} {message}"));
                    }
                    for message in 0..MESSAGES {
                        assert_eq!(client.hear_text(), format!("{number} {message}"));
                    }
                    match number % 3 {
                        0 => drop(client.close(3_000 + number as u16, "bye")),
                        1 => drop(client),
                        _ => client.reset(),
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        until("all are gone", || server.stats().totals.slots == 0);
        server.stop();

        let mut by_fd: HashMap<Fd, Vec<Seen>> = HashMap::new();
        for seen in events.try_iter() {
            by_fd.entry(seen.fd()).or_default().push(seen);
        }
        assert_eq!(by_fd.len(), CLIENTS);
        for (fd, seen) in by_fd {
            let thread = seen[0].thread();
            assert!(seen.iter().all(|event| event.thread() == thread));
            assert_eq!(seen.len(), MESSAGES + 2, "{fd}: nothing twice");
            assert_eq!(seen[0], Seen::Opened(fd, thread));
            let Seen::Message(_, _, first) = &seen[1] else {
                panic!("{fd}: {:?}", seen[1]);
            };
            let number: usize = first.split(' ').next().unwrap().parse().unwrap();
            for (message, event) in seen[1..=MESSAGES].iter().enumerate() {
                let text = format!("{number} {message}");
                assert_eq!(*event, Seen::Message(fd, thread, text));
            }
            let Seen::Closed(_, _, reason) = &seen[MESSAGES + 1] else {
                panic!("{fd}: the last is {:?}", seen[MESSAGES + 1]);
            };
            match number % 3 {
                0 => assert_eq!(reason.code(), 3_000 + number as u16),
                _ => assert_eq!(*reason, CloseReason::Lost),
            }
        }
    });
}

#[test]
fn the_life_of_a_server_is_told_in_order() {
    in_every_mode(|mode| {
        let (sender, events) = channel();
        let say = move |what: String| sender.send(what).unwrap();
        let (start, worker_start, open) = (say.clone(), say.clone(), say.clone());
        let (close, worker_stop, shutdown) = (say.clone(), say.clone(), say);
        let builder = mode
            .builder()
            .on_start(move |_| start("start".into()))
            .on_worker_start(move |_, id| worker_start(format!("worker {id} starts")))
            .on_open(move |_, _| open("open".into()))
            .on_close(move |_, _, _| close("close".into()))
            .on_worker_stop(move |_, id| worker_stop(format!("worker {id} stops")))
            .on_shutdown(move || shutdown("shutdown".into()));
        let server = LocalServer::start(builder);
        // Where there are no workers, each reactor is one.
        let threads = if mode.workers == 0 {
            mode.reactors
        } else {
            mode.workers
        };
        assert_eq!(next(&events), "start");
        let mut starts: Vec<_> = (0..threads).map(|_| next(&events)).collect();
        starts.sort();
        let client = WebSocketClient::join(&server.handle);
        assert_eq!(next(&events), "open");
        drop(client);
        assert_eq!(next(&events), "close");
        assert!(server.stop().is_clean());
        let mut stops: Vec<_> = (0..threads).map(|_| next(&events)).collect();
        stops.sort();
        let numbers = 0..threads;
        let named = |what| numbers.clone().map(move |id| format!("worker {id} {what}"));
        assert_eq!(starts, named("starts").collect::<Vec<_>>());
        assert_eq!(stops, named("stops").collect::<Vec<_>>());
        assert_eq!(next(&events), "shutdown");
        assert!(events.recv().is_err(), "nothing comes after it");
    });
}

#[test]
fn a_panic_in_on_message_closes_that_one_with_1011_and_no_other() {
    in_every_mode(|mode| {
        let (sender, closes) = channel();
        let builder = mode
            .builder()
            .on_message(|server, frame| {
                assert_ne!(frame.text(), Some("panic"), "told to");
                server.push(frame.fd, frame).unwrap();
            })
            .on_close(move |_, _, reason| sender.send(reason.clone()).unwrap());
        let server = LocalServer::start(builder);
        let mut others: Vec<_> = (0..4)
            .map(|_| WebSocketClient::join(&server.handle))
            .collect();
        let mut unlucky = WebSocketClient::join(&server.handle);
        unlucky.say("before");
        unlucky.say("panic");
        let (heard, end) = unlucky.hear_all();
        assert_eq!(heard, [Heard::Text("before".into())]);
        assert_eq!(end, Heard::Close(1011));
        assert_eq!(next(&closes), CloseReason::Server(1011));
        for other in &mut others {
            other.echo("the worker lives on");
        }
    });
}

#[test]
fn a_panic_in_on_open_closes_with_1011() {
    in_every_mode(|mode| {
        let (sender, closes) = channel();
        let builder = mode
            .builder()
            .on_open(|_, request| assert_ne!(request.path(), "/panic", "told to"))
            .on_message(|server, frame| server.push(frame.fd, frame).unwrap())
            .on_close(move |_, _, reason| sender.send(reason.clone()).unwrap());
        let server = LocalServer::start(builder);
        let address = server.handle.addresses()[0];
        assert_eq!(
            WebSocketClient::connect(address, "/panic").hear(),
            Heard::Close(1011)
        );
        assert_eq!(next(&closes), CloseReason::Server(1011));
        WebSocketClient::connect(address, "/calm").echo("the worker lives on");
    });
}

#[test]
fn a_request_is_answered_500_when_its_handler_panics_or_drops_the_responder() {
    in_every_mode(|mode| {
        let builder = mode
            .builder()
            .on_request(|_, request, responder| match request.path() {
                "/panic" => panic!("told to"),
                "/drop" => drop(responder),
                path => responder.end(path.to_owned()),
            });
        let server = LocalServer::start(builder);
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        assert_eq!(http.get("/panic").status, 500);
        assert_eq!(http.get("/drop").status, 500);
        let answer = http.get("/the worker lives on".replace(' ', "-").as_str());
        assert_eq!((answer.status, answer.closes), (200, false));
        assert_eq!(answer.body, "/the-worker-lives-on");
    });
}

#[test]
fn without_on_request_everything_is_404() {
    in_every_mode(|mode| {
        let server = LocalServer::start(mode.builder());
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        assert_eq!(http.get("/").status, 404);
    });
}

/// Answers in the opposite order from another thread, as soon as `count` requests are there.
fn answer_in_reverse(responders: Receiver<(String, Responder)>, count: usize) {
    let taken = (0..count).map(|_| responders.recv_timeout(PATIENCE).unwrap());
    let mut taken: Vec<_> = taken.collect();
    while let Some((path, responder)) = taken.pop() {
        responder.end(Response::text(path));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_though_their_answers_come_reversed() {
    const REQUESTS: usize = 12;
    in_every_mode(|mode| {
        let (sender, responders): (Sender<(String, Responder)>, _) = channel();
        let builder = mode.builder().on_request(move |_, request, responder| {
            sender.send((request.path().to_owned(), responder)).unwrap();
        });
        let server = LocalServer::start(builder);
        let answers = thread::spawn(move || answer_in_reverse(responders, REQUESTS));
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        let paths: Vec<_> = (0..REQUESTS).map(|number| format!("/{number}")).collect();
        let requests: String = paths
            .iter()
            .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .collect();
        http.send(requests).unwrap();
        for path in paths {
            assert_eq!(http.answer().unwrap().body, path);
        }
        answers.join().unwrap();
    });
}

#[test]
fn more_pipelined_requests_than_may_wait_are_all_answered() {
    in_every_mode(|mode| {
        let builder = mode.builder().on_request(|_, request, responder| {
            responder.end(request.path().to_owned());
        });
        let server = LocalServer::start(builder);
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        let requests: String = (0..500)
            .map(|number| format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .collect();
        http.send(requests).unwrap();
        for number in 0..500 {
            assert_eq!(http.answer().unwrap().body, format!("/{number}"));
        }
    });
}

#[test]
fn an_answer_to_a_client_that_left_does_nothing() {
    in_every_mode(|mode| {
        let (sender, responders) = channel();
        let builder = mode.builder().on_request(move |_, _, responder| {
            sender.send(responder).unwrap();
        });
        let server = LocalServer::start(builder);
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        http.send_get("/");
        let responder = next(&responders);
        let fd = responder.fd();
        assert!(server.handle.exists(fd));
        http.into_stream()
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        responder.end("too late");
        until("it is gone", || !server.handle.exists(fd));
        assert!(server.stop().is_clean());
    });
}
