//! Light events: they are handled on their reactor, though there are workers, and keep their place
//! among the others of their connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tidings::server::{Builder, Fd, ServerSettings, WorkerHandle};

use crate::support::frame::frame;
use crate::support::http::HttpClient;
use crate::support::random::Random;
use crate::support::server::{LocalServer, Mode, until_nothing_is_left, with_workers};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// What begins with this may be handled on a reactor.
const LIGHT: &str = "light";

fn with_light_ones(mode: Mode) -> Builder {
    mode.builder().light(
        |frame| frame.data.starts_with(LIGHT.as_bytes()),
        |head, _| head.path()[1..].starts_with(LIGHT),
    )
}

/// Whether the present callback runs on a reactor's thread.
fn is_on_reactor() -> bool {
    let thread = thread::current();
    thread.name().unwrap().starts_with("reactor")
}

/// The name of the place at which the present callback runs.
fn place() -> &'static str {
    match is_on_reactor() {
        true => "on the reactor",
        false => "on the worker",
    }
}

/// A light question that is answered with [`place`].
const WHERE: &str = "light: where?";

/// Waits until the worker of a connection is done with the opening, so that light messages are
/// handled on the reactor.
fn until_light(client: &mut WebSocketClient) {
    until("the worker is done with it", || {
        client.say(WHERE);
        client.hear_text() == "on the reactor"
    });
}

/// Counts what was handled where: light on a reactor, light on a worker, heavy on a reactor.
#[derive(Default)]
struct Places([AtomicUsize; 3]);

impl Places {
    fn note(&self, is_light: bool) {
        let place = match (is_light, is_on_reactor()) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => return,
        };
        self.0[place].fetch_add(1, SeqCst);
    }

    #[track_caller]
    fn were_all_used(&self) {
        let [here, away, never] = self.0.each_ref().map(|count| count.load(SeqCst));
        assert!(here > 0, "no light one was handled on a reactor");
        assert!(away > 0, "no light one followed a heavy one to its worker");
        assert_eq!(never, 0, "a heavy one was handled on a reactor");
    }
}

/// Takes some time, as a command does that looks at much; with some numbers so long that what comes
/// behind it waits for its turn.
fn work(number: usize) {
    let long = match number % 25 {
        0 => Duration::from_millis(6),
        rest => Duration::from_micros(rest as u64),
    };
    let began = Instant::now();
    while began.elapsed() < long {}
}

/// Sends `text` to `fd` in one of the ways that there are.
fn answer(server: &WorkerHandle, fd: Fd, text: &str, way: usize) {
    match way % 3 {
        0 => server.push(fd, text).unwrap(),
        1 => server.publish(format!("only {}", fd.0), text),
        _ => {
            // What another handle sends comes after this.
            server.flush();
            server.handle().push(fd, text).unwrap();
        }
    }
}

/// Bytes that a reactor writes at once, in the middle of its commands.
const NOISE: usize = 70_000;

fn hear_through_noise(client: &mut WebSocketClient) -> String {
    loop {
        match client.hear() {
            Heard::Text(text) => return text,
            heard => assert!(matches!(heard, Heard::Binary(_)), "{heard:?}"),
        }
    }
}

#[test]
fn answers_to_light_and_heavy_messages_come_in_the_order_of_their_questions() {
    const CLIENTS: u64 = 6;
    const MESSAGES: usize = 400;
    with_workers(|mode| {
        let places = Arc::new(Places::default());
        let seen = Arc::clone(&places);
        let builder = with_light_ones(mode)
            .on_open(|server, request| {
                // Its publishes go to nobody else.
                server.subscribe(request.fd, format!("only {}", request.fd.0));
                server.subscribe(request.fd, "noise");
                server.push(request.fd, "open").unwrap();
            })
            .on_message(move |server, frame| {
                let text = frame.text().unwrap();
                let number: usize = text.split(' ').next_back().unwrap().parse().unwrap();
                let is_light = text.starts_with(LIGHT);
                seen.note(is_light);
                if !is_light {
                    work(number);
                }
                answer(server, frame.fd, text, number);
            });
        let server = LocalServer::start(builder);
        let address = server.handle.addresses()[0];
        let talks = (0..CLIENTS).map(|seed| {
            thread::spawn(move || {
                let mut random = Random::new(seed);
                let mut client = WebSocketClient::connect(address, "/");
                assert_eq!(hear_through_noise(&mut client), "open");
                let mut sent = 0;
                while sent < MESSAGES {
                    let texts: Vec<String> = (0..random.within(1..=12))
                        .map(|number| {
                            let kind = random.pick(&[LIGHT, LIGHT, "heavy"]);
                            format!("{kind} {}", sent + number)
                        })
                        .collect();
                    sent += texts.len();
                    let frames: Vec<u8> = texts
                        .iter()
                        .flat_map(|text| frame(0x81, text.as_bytes()))
                        .collect();
                    assert_eq!(client.pour(&frames), frames.len());
                    for text in texts {
                        assert_eq!(hear_through_noise(&mut client), text, "seed {seed}");
                    }
                }
            })
        });
        let talks: Vec<_> = talks.collect();
        // Commands that take the reactors long, so that workers answer while they are at it.
        let mut listener = WebSocketClient::connect(address, "/");
        assert_eq!(hear_through_noise(&mut listener), "open");
        until("all have talked", || {
            server.handle.publish("noise", &vec![0; NOISE]);
            listener.hear() == Heard::Binary(vec![0; NOISE])
                && talks.iter().all(|talk| talk.is_finished())
        });
        for talk in talks {
            talk.join().unwrap();
        }
        places.were_all_used();
    });
}

#[test]
fn light_and_heavy_requests_of_a_pipeline_are_handled_in_order() {
    const CLIENTS: u64 = 6;
    const REQUESTS: usize = 1_000;
    with_workers(|mode| {
        let places = Arc::new(Places::default());
        let seen = Arc::clone(&places);
        let newest = Mutex::new(HashMap::<Fd, usize>::new());
        let builder = with_light_ones(mode).on_request(move |_, request, responder| {
            let (kind, number) = request.path()[1..].split_once('/').unwrap();
            let number: usize = number.parse().unwrap();
            seen.note(kind == LIGHT);
            if kind != LIGHT {
                work(number);
            }
            let before = newest.lock().unwrap().insert(request.fd, number);
            assert_eq!(before.unwrap_or(0) + 1, number, "out of order");
            responder.end(request.path().to_owned());
        });
        let server = LocalServer::start(builder);
        let address = server.handle.addresses()[0];
        let talks = (0..CLIENTS).map(|seed| {
            thread::spawn(move || {
                let mut random = Random::new(seed);
                let mut http = HttpClient::connect(address);
                let mut sent = 0;
                while sent < REQUESTS {
                    let first = sent + 1;
                    // More than may wait for their answers.
                    sent += random.within(1..=100);
                    let paths: Vec<String> = (first..=sent)
                        .map(|number| {
                            let kind = random.pick(&[LIGHT, LIGHT, "heavy"]);
                            format!("/{kind}/{number}")
                        })
                        .collect();
                    let requests: String = paths
                        .iter()
                        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
                        .collect();
                    http.send(requests).unwrap();
                    for path in paths {
                        assert_eq!(http.answer().unwrap().body, path, "seed {seed}");
                    }
                }
            })
        });
        for talk in talks.collect::<Vec<_>>() {
            talk.join().unwrap();
        }
        places.were_all_used();
    });
}

#[test]
fn a_panic_in_a_light_handler_closes_that_one_with_1011_and_no_other() {
    with_workers(|mode| {
        let judge = |frame: tidings::server::Frame<'_>| {
            assert_ne!(frame.text(), Some("panic of the judge"), "told to");
            true
        };
        let builder = mode.builder().light(judge, |head, _| {
            assert_ne!(head.path(), "/judge", "told to");
            true
        });
        let builder = builder
            .on_message(|server, frame| {
                assert_ne!(frame.text(), Some("panic"), "told to");
                server.push(frame.fd, place()).unwrap();
            })
            .on_request(|_, request, responder| {
                assert_ne!(request.path(), "/panic", "told to");
                responder.end("well");
            });
        let server = LocalServer::start(builder);
        let mut other = WebSocketClient::join(&server.handle);
        for word in ["panic", "panic of the judge"] {
            let mut unlucky = WebSocketClient::join(&server.handle);
            until_light(&mut unlucky);
            unlucky.say(word);
            assert_eq!(unlucky.hear_all(), (Vec::new(), Heard::Close(1011)));
            until_light(&mut other);
        }
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        for (path, status) in [("/a", 200), ("/panic", 500), ("/judge", 200)] {
            assert_eq!(http.get(path).status, status, "{path}");
        }
    });
}

#[test]
fn whoever_gets_much_for_light_messages_gets_all_of_it_and_reads_first() {
    const PAGE: usize = 60_000;
    const PAGES: usize = 100;
    with_workers(|mode| {
        let mut settings = ServerSettings::default();
        settings.reactor.stall_ms_max = 60_000;
        let (sender, handled) = channel();
        let builder = with_light_ones(mode)
            .settings(settings)
            .on_message(move |server, frame| {
                if frame.text() == Some(WHERE) {
                    server.push(frame.fd, place()).unwrap();
                } else {
                    sender.send(is_on_reactor()).unwrap();
                    let number = frame.text().unwrap()[LIGHT.len()..].parse().unwrap();
                    server.push(frame.fd, &vec![number; PAGE]).unwrap();
                }
            });
        let server = LocalServer::start(builder);
        let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        until_light(&mut client);
        let questions = (0..PAGES).map(|number| format!("{LIGHT}{number}"));
        let questions: Vec<u8> = questions
            .flat_map(|text| frame(0x81, text.as_bytes()))
            .collect();
        assert_eq!(client.pour(&questions), questions.len());
        assert!(next(&handled), "the first is handled on the reactor");
        for number in 0..PAGES {
            let Heard::Binary(page) = client.hear() else {
                panic!("page {number} was to come");
            };
            assert_eq!((page.len(), page[0]), (PAGE, number as u8));
        }
        let away = handled.try_iter().filter(|is_on_reactor| !is_on_reactor);
        assert!(away.count() > PAGES / 2, "its worker has it read first");
        assert_eq!(server.stats().totals.slow_readers, 0);
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn light_messages_are_handled_at_once_in_a_turn_that_reads_hundreds_of_heavy_ones() {
    const HEAVY: usize = 200;
    // So few that the clock has no say in it.
    const TALKERS: usize = 60;
    let judge = |frame: tidings::server::Frame<'_>| {
        // For all of the heavy ones, four times as long as the light ones of a turn may take.
        work(20);
        frame.data.starts_with(LIGHT.as_bytes())
    };
    let (holds, held) = channel();
    let (goes_on, may_go_on) = channel();
    let may_go_on = Mutex::new(may_go_on);
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    let mode = Mode {
        workers: 1,
        reactors: 1,
    };
    let builder = mode
        .builder()
        .light(judge, |_, _| false)
        .on_message(move |server, frame| match frame.text() {
            Some(WHERE) => server.push(frame.fd, place()).unwrap(),
            Some("light: hold") => {
                holds.send(()).unwrap();
                next(&may_go_on.lock().unwrap());
            }
            _ => _ = counted.fetch_add(1, SeqCst),
        });
    let server = LocalServer::start(builder);
    let clients = (0..HEAVY + TALKERS + 1).map(|_| {
        let mut client = WebSocketClient::join(&server.handle);
        until_light(&mut client);
        client
    });
    let mut clients: Vec<_> = clients.collect();
    let mut holder = clients.pop().unwrap();
    holder.say("light: hold");
    next(&held);
    // All of this stands in the sockets when the next turn begins.
    let (crowd, talkers) = clients.split_at_mut(HEAVY);
    for client in crowd {
        client.say("heavy");
    }
    for talker in &mut *talkers {
        talker.say(WHERE);
    }
    goes_on.send(()).unwrap();
    for (number, talker) in talkers.iter_mut().enumerate() {
        assert_eq!(talker.hear_text(), "on the reactor", "talker {number}");
    }
    until("the heavy ones are handled", || heard.load(SeqCst) == HEAVY);
}
