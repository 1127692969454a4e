//! Pauses: a connection that is paused is neither read nor heard, and loses nothing by it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings::server::{
    Builder, CloseReason, Fd, FreezeErrand, FrozenServer, Handle, ServerSettings,
};

use crate::support::frame::frame;
use crate::support::http::HttpClient;
use crate::support::random::Random;
use crate::support::server::{LocalServer, Mode, in_every_mode, until_nothing_is_left};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// A message that pauses its own connection before it is echoed.
const PAUSE: &str = "pause";

/// Echoes, and pauses a connection that asks for it.
fn echoing(mode: Mode) -> Builder {
    mode.builder().on_message(|server, frame| {
        if frame.text() == Some(PAUSE) {
            server.pause(frame.fd);
        }
        server.push(frame.fd, frame).ok();
    })
}

/// The same, with all messages light.
fn echoing_lightly(mode: Mode) -> Builder {
    echoing(mode).light(|_| true, |_, _| true)
}

fn texts(texts: &[&str]) -> Vec<u8> {
    let frames = texts.iter().flat_map(|text| frame(0x81, text.as_bytes()));
    frames.collect()
}

fn only_fd(handle: &Handle) -> Fd {
    let fds = handle.connections(Fd(0), 2);
    assert_eq!(fds.len(), 1);
    fds[0]
}

/// Has so many messages held back.
#[track_caller]
fn until_held(server: &LocalServer, count: usize) {
    until("they are held back", || {
        server.stats().postponed.items == count
    });
}

/// Pushes a text by a function of the callback thread.
fn push_there(handle: &Handle, fd: Fd, text: &'static str) {
    handle.run(fd, move |server| {
        server.push(fd, text).ok();
    });
}

#[test]
fn what_a_pause_holds_back_is_handled_in_order_once_it_is_over_and_a_function_goes_ahead() {
    in_every_mode(|mode| {
        for builder in [echoing(mode), echoing_lightly(mode)] {
            let server = LocalServer::start(builder);
            let mut client = WebSocketClient::join(&server.handle);
            client.echo("before");
            client.pour(&texts(&["one", PAUSE, "two", "three"]));
            assert_eq!(client.hear_text(), "one");
            assert_eq!(client.hear_text(), PAUSE);
            until_held(&server, 2);
            assert_eq!(server.stats().user_pauses, 1);
            // Not even read.
            client.say("four");
            let fd = only_fd(&server.handle);
            push_there(&server.handle, fd, "first");
            push_there(&server.handle, fd, "second");
            assert_eq!(client.hear_text(), "first");
            assert_eq!(client.hear_text(), "second");
            assert_eq!(server.stats().postponed.items, 2);
            server.handle.resume(fd);
            for text in ["two", "three", "four"] {
                assert_eq!(client.hear_text(), text);
            }
            assert_eq!(server.stats().user_pauses, 0);
            client.echo("after");
            drop(client);
            until_nothing_is_left(&server.handle);
        }
    });
}

#[test]
fn a_connection_that_is_paused_in_its_opening_is_heard_once_it_is_resumed() {
    in_every_mode(|mode| {
        let (sender, opened) = channel();
        let builder = echoing(mode).on_open(move |server, request| {
            server.pause(request.fd);
            sender.send(request.fd).unwrap();
        });
        let server = LocalServer::start(builder);
        let mut client = WebSocketClient::join(&server.handle);
        client.pour(&texts(&["hello", "you"]));
        let fd = next(&opened);
        push_there(&server.handle, fd, "welcome");
        server.handle.resume(fd);
        for text in ["welcome", "hello", "you"] {
            assert_eq!(client.hear_text(), text);
        }
    });
}

#[test]
fn of_a_paused_connection_nothing_is_read_and_others_are() {
    in_every_mode(|mode| {
        let mut settings = ServerSettings::default();
        // Its pongs aren't heard either.
        settings.reactor.connection.ping_ms = 0;
        let server = LocalServer::start(echoing(mode).settings(settings));
        let mut client = WebSocketClient::join(&server.handle);
        client.echo("here");
        let fd = only_fd(&server.handle);
        let mut other = WebSocketClient::join(&server.handle);
        other.echo("here");
        server.handle.pause(fd);
        let before = server.stats().totals.bytes_in;
        let much = frame(0x82, &[7; 1_000]).repeat(1_000);
        let (mut stream, poured) = (client.stream().try_clone().unwrap(), much.clone());
        let writer = thread::spawn(move || std::io::Write::write_all(&mut stream, &poured));
        for _ in 0..100 {
            other.echo("beside it");
        }
        let read = server.stats().totals.bytes_in - before;
        assert!(read < 100_000, "{read} bytes");
        server.handle.resume(fd);
        for _ in 0..1_000 {
            assert_eq!(client.hear(), Heard::Binary(vec![7; 1_000]));
        }
        writer.join().unwrap().unwrap();
    });
}

/// What a server did for its only connection, in order.
struct Diary {
    server: LocalServer,
    entries: Receiver<String>,
}

impl Diary {
    fn start(builder: Builder) -> Self {
        let (sender, entries) = channel();
        let closes = sender.clone();
        let builder = builder
            .on_message(move |server, frame| {
                let text = frame.text().unwrap();
                if text == PAUSE {
                    server.pause(frame.fd);
                }
                sender.send(text.to_owned()).unwrap();
            })
            .on_close(move |_, _, reason| {
                let reason = match reason {
                    CloseReason::Peer { .. } => "peer",
                    CloseReason::Lost => "lost",
                    _ => "another",
                };
                closes.send(format!("closed: {reason}")).unwrap();
            });
        Self {
            server: LocalServer::start(builder),
            entries,
        }
    }

    #[track_caller]
    fn says(&self, entries: &[&str]) {
        for entry in entries {
            assert_eq!(next(&self.entries), *entry);
        }
    }

    #[track_caller]
    fn says_no_more(&self) {
        assert_eq!(self.entries.try_recv().ok(), None);
    }
}

#[test]
fn the_end_of_a_paused_connection_comes_once_behind_what_it_said() {
    in_every_mode(|mode| {
        let diary = Diary::start(mode.builder());
        let mut client = WebSocketClient::join(&diary.server.handle);
        let close = frame(0x88, &1000u16.to_be_bytes());
        let said = [texts(&[PAUSE, "one", "two"]), close].concat();
        let fd = only_fd(&diary.server.handle);
        // The reactor knows that it ends, the callbacks don't.
        client.pour(&said);
        diary.says(&[PAUSE]);
        until_held(&diary.server, 3);
        let (tell, told) = channel();
        diary.server.handle.run(fd, move |_| tell.send(()).unwrap());
        next(&told);
        diary.says_no_more();
        diary.server.handle.resume(fd);
        diary.says(&["one", "two", "closed: peer"]);
        // Nothing is called behind the end.
        let late = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&late);
        diary.server.handle.pause(fd);
        diary
            .server
            .handle
            .run(fd, move |_| note.store(true, SeqCst));
        drop(client);
        until_nothing_is_left(&diary.server.handle);
        assert_eq!(diary.server.stats().user_pauses, 0);
        until("the function is dropped", || Arc::strong_count(&late) == 1);
        assert!(!late.load(SeqCst));
        diary.says_no_more();
    });
}

#[test]
fn a_peer_that_is_lost_while_it_is_paused_is_noticed_once_it_is_resumed() {
    in_every_mode(|mode| {
        let diary = Diary::start(mode.builder());
        let mut client = WebSocketClient::join(&diary.server.handle);
        client.pour(&texts(&[PAUSE, "one"]));
        diary.says(&[PAUSE]);
        until_held(&diary.server, 1);
        let fd = only_fd(&diary.server.handle);
        drop(client);
        until("others see that it is gone", || {
            !diary.server.handle.is_established(fd)
        });
        diary.says_no_more();
        diary.server.handle.resume(fd);
        diary.says(&["one", "closed: lost"]);
        until_nothing_is_left(&diary.server.handle);
    });
}

#[test]
fn who_is_disconnected_is_paused_no_more() {
    in_every_mode(|mode| {
        let diary = Diary::start(mode.builder());
        let mut client = WebSocketClient::join(&diary.server.handle);
        client.pour(&texts(&[PAUSE, "one"]));
        diary.says(&[PAUSE]);
        until_held(&diary.server, 1);
        let fd = only_fd(&diary.server.handle);
        diary.server.handle.disconnect(fd, 4_001, "enough").unwrap();
        diary.says(&["one"]);
        assert_eq!(client.hear(), Heard::Close(4_001));
        drop(client);
        until_nothing_is_left(&diary.server.handle);
        assert!(next(&diary.entries).starts_with("closed"));
        diary.says_no_more();
    });
}

#[test]
fn a_stop_ends_a_pause_that_nobody_ends_and_loses_nothing_that_was_read() {
    in_every_mode(|mode| {
        let settings = ServerSettings {
            stop_ms_max: 200,
            ..ServerSettings::default()
        };
        let diary = Diary::start(mode.builder().settings(settings));
        let mut client = WebSocketClient::join(&diary.server.handle);
        client.pour(&texts(&[PAUSE, "one", "two"]));
        diary.says(&[PAUSE]);
        until_held(&diary.server, 2);
        let Diary { server, entries } = diary;
        server.stop();
        let said: Vec<String> = entries.try_iter().collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(said[..2], ["one", "two"]);
        assert!(said[2].starts_with("closed"));
    });
}

#[test]
fn a_stop_waits_for_what_is_resumed_in_time() {
    in_every_mode(|mode| {
        let diary = Diary::start(mode.builder());
        let mut client = WebSocketClient::join(&diary.server.handle);
        client.pour(&texts(&[PAUSE, "one"]));
        diary.says(&[PAUSE]);
        until_held(&diary.server, 1);
        let handle = diary.server.handle.clone();
        let fd = only_fd(&handle);
        handle.stop();
        until("the stop is under way", || handle.is_stopping());
        handle.resume(fd);
        diary.says(&["one"]);
        assert_eq!(client.hear(), Heard::Close(1001));
        drop(client);
        assert!(next(&diary.entries).starts_with("closed"));
        assert!(diary.server.stop().is_clean());
    });
}

#[test]
fn a_message_in_parts_stays_where_it_was_stopped_while_a_function_runs() {
    in_every_mode(|mode| {
        let builder = mode.builder().on_message(|server, frame| {
            let fd = frame.fd;
            for (number, part) in frame.data.iter().enumerate().skip(frame.parts as usize) {
                server.push(fd, &[*part][..]).ok();
                if *part == b'p' {
                    server.pause(fd);
                    let resumes = server.handle();
                    server.run(fd, move |server| {
                        server.push(fd, &b"!"[..]).ok();
                        resumes.resume(fd);
                    });
                    return server.stop_at(number as u32 + 1);
                }
            }
        });
        let server = LocalServer::start(builder);
        let mut client = WebSocketClient::join(&server.handle);
        client.pour(&[frame(0x82, b"apbpc"), frame(0x82, b"d")].concat());
        for part in *b"ap!bp!cd" {
            assert_eq!(client.hear(), Heard::Binary(vec![part]));
        }
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn a_function_is_called_on_the_thread_of_the_callbacks_and_its_panic_ends_its_connection_only() {
    in_every_mode(|mode| {
        let name = || thread::current().name().map(str::to_owned);
        let (sender, called) = channel();
        let on_message = sender.clone();
        let builder = mode.builder().on_message(move |server, frame| {
            on_message.send((frame.fd, name())).unwrap();
            server.push(frame.fd, frame).ok();
        });
        let server = LocalServer::start(builder);
        let mut clients = [(); 3].map(|()| WebSocketClient::join(&server.handle));
        let fds = clients.each_mut().map(|client| {
            client.echo("here");
            let (fd, thread) = next(&called);
            let sender = sender.clone();
            let function = move |_: &_| sender.send((fd, name())).unwrap();
            server.handle.run(fd, function);
            assert_eq!(next(&called), (fd, thread));
            fd
        });
        server.handle.run(fds[1], |_| panic!("as the test wants"));
        assert_eq!(clients[1].hear(), Heard::Close(1011));
        clients[0].echo("still");
        clients[2].echo("here");
    });
}

#[test]
fn requests_are_held_back_as_well() {
    in_every_mode(|mode| {
        let (sender, asked) = channel();
        let builder = mode
            .builder()
            .on_request(move |server, request, responder| {
                if request.path() == "/pause" {
                    server.pause(request.fd);
                }
                sender.send(request.fd).unwrap();
                responder.end(request.path().to_owned());
            });
        let server = LocalServer::start(builder.light(|_| true, |_, _| true));
        let mut client = HttpClient::connect(server.handle.addresses()[0]);
        for path in ["/before", "/pause", "/after"] {
            client.send_get(path);
        }
        assert_eq!(client.answer().unwrap().body, "/before");
        assert_eq!(client.answer().unwrap().body, "/pause");
        let fd = [next(&asked), next(&asked)][1];
        let (tell, told) = channel();
        server.handle.run(fd, move |_| tell.send(()).unwrap());
        next(&told);
        assert!(asked.try_recv().is_err(), "it was heard");
        server.handle.resume(fd);
        assert_eq!(client.answer().unwrap().body, "/after");
        assert_eq!(next(&asked), fd);
    });
}

#[test]
fn over_the_bound_of_what_waits_the_paused_connection_with_the_most_goes() {
    for workers in [0, 1] {
        let mode = Mode {
            workers,
            reactors: 1,
        };
        let mut settings = ServerSettings::default();
        settings.worker_queue.bytes_high = 0;
        let (sender, closes) = channel();
        let builder = echoing(mode).settings(settings);
        let server = LocalServer::start(
            builder.on_close(move |_, fd, reason| sender.send((fd, reason.clone())).unwrap()),
        );
        // Each has some 60 KiB that wait, of the 1 MiB that may at the least.
        let mut clients = Vec::new();
        for number in 0..30 {
            let mut client = WebSocketClient::join(&server.handle);
            let size = if number == 0 { 100 } else { 1_000 };
            let said = [
                frame(0x81, PAUSE.as_bytes()),
                frame(0x82, &vec![0; size]).repeat(50),
            ];
            client.pour(&said.concat());
            assert_eq!(client.hear_text(), PAUSE);
            clients.push(client);
        }
        let first = server.handle.connections(Fd(0), 1)[0];
        let refused = server.stats().postponed_refused;
        assert!((5..30).contains(&refused), "{refused}");
        until("what they said is handled", || {
            server.stats().postponed.bytes <= 1 << 20
        });
        assert_eq!(server.stats().user_pauses as u64, 30 - refused);
        let is_closed = |client: &mut WebSocketClient| {
            client.hear_within(Duration::from_millis(20)) == Some(Heard::Close(1013))
        };
        until("those that go are told", || {
            clients.retain_mut(|client| !is_closed(client));
            clients.len() as u64 == 30 - refused
        });
        server.handle.resume(first);
        assert_eq!(clients[0].hear(), Heard::Binary(vec![0; 100]));
        drop(clients);
        for (fd, _) in closes.iter().take(refused as usize) {
            assert_ne!(fd, first);
        }
    }
}

/// Pauses, resumes and has functions called, at random; gives how many of these.
fn meddle(
    (handle, fd): (Handle, Fd),
    (seed, meddler): (u64, u64),
    ends: Arc<AtomicBool>,
    called: Arc<Mutex<Vec<(u64, u64)>>>,
) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut random = Random::new(seed * 10 + meddler);
        let mut given = 0;
        while !ends.load(SeqCst) {
            match random.below(4) {
                0 => handle.pause(fd),
                1 | 2 => handle.resume(fd),
                _ => {
                    let called = Arc::clone(&called);
                    let (entry, (tell, told)) = ((meddler, given), channel());
                    handle.run(fd, move |_| {
                        called.lock().unwrap().push(entry);
                        tell.send(()).ok();
                    });
                    given += 1;
                    // Keeps step with the callbacks, but for one in ten.
                    if !random.one_in(10) {
                        next(&told);
                    }
                }
            }
        }
        // Whoever is the last leaves no pause behind.
        handle.resume(fd);
        given
    })
}

/// Notes the numbers that it is told, and pauses at random.
fn noting(mode: Mode, seed: u64, heard: &Arc<Mutex<Vec<u64>>>) -> Builder {
    let is_light = seed.is_multiple_of(2);
    let (heard, random) = (Arc::clone(heard), Mutex::new(Random::new(seed)));
    let builder = mode.builder().light(move |_| is_light, |_, _| false);
    builder.on_message(move |server, frame| {
        let number = frame.text().unwrap().parse().unwrap();
        heard.lock().unwrap().push(number);
        let mut random = random.lock().unwrap();
        if !random.one_in(10) {
            return;
        }
        server.pause(frame.fd);
        match random.below(3) {
            0 => server.resume(frame.fd),
            1 => {
                let (fd, later) = (frame.fd, server.handle());
                thread::spawn(move || later.resume(fd));
            }
            // Another one resumes it.
            _ => {}
        }
    })
}

#[test]
fn whoever_pauses_and_resumes_when_all_is_handled_once_in_its_order() {
    const MESSAGES: usize = 400;
    const MEDDLERS: u64 = 3;
    in_every_mode(|mode| {
        for seed in 0..6 {
            let heard: Arc<Mutex<Vec<u64>>> = Arc::default();
            let server = LocalServer::start(noting(mode, seed, &heard));
            let mut client = WebSocketClient::join(&server.handle);
            let fd = only_fd(&server.handle);
            let (ends, called) = (Arc::new(AtomicBool::new(false)), Arc::default());
            let meddlers = (0..MEDDLERS).map(|meddler| {
                let (handle, called) = (server.handle.clone(), Arc::clone(&called));
                meddle((handle, fd), (seed, meddler), Arc::clone(&ends), called)
            });
            let meddlers: Vec<_> = meddlers.collect();
            let said = (0..MESSAGES).map(|number| frame(0x81, number.to_string().as_bytes()));
            let said: Vec<_> = said.collect();
            for some in said.chunks(7) {
                client.pour(&some.concat());
            }
            until("most is heard", || {
                heard.lock().unwrap().len() > MESSAGES / 2
            });
            ends.store(true, SeqCst);
            let given = meddlers.into_iter().map(|one| one.join().unwrap());
            let given: Vec<u64> = given.collect();
            until("all is heard", || {
                // A message may have paused it after the last one had resumed it.
                server.handle.resume(fd);
                heard.lock().unwrap().len() == MESSAGES
            });
            let numbers: Vec<u64> = (0..MESSAGES as u64).collect();
            assert_eq!(*heard.lock().unwrap(), numbers, "seed {seed}");
            until("all functions are called", || {
                called.lock().unwrap().len() as u64 == given.iter().sum::<u64>()
            });
            for (meddler, given) in (0..).zip(&given) {
                let called = called.lock().unwrap();
                let own = called.iter().filter(|entry| entry.0 == meddler);
                let own: Vec<u64> = own.map(|entry| entry.1).collect();
                assert_eq!(own, (0..*given).collect::<Vec<_>>(), "seed {seed}");
            }
            drop(client);
            until(
                "it has gone, however late its last message paused it",
                || {
                    server.handle.resume(fd);
                    server.handle.stats().totals.websockets == 0
                },
            );
            until_nothing_is_left(&server.handle);
        }
    });
}

#[test]
fn a_pause_goes_through_a_stand_and_no_function_waits_there() {
    in_every_mode(|mode| {
        let called = Arc::new(AtomicUsize::new(0));
        let settings = ServerSettings {
            freeze_ms_max: 20_000,
            ..ServerSettings::default()
        };
        let server = LocalServer::start(echoing(mode).settings(settings));
        let mut client = WebSocketClient::join(&server.handle);
        client.pour(&texts(&[PAUSE, "held"]));
        assert_eq!(client.hear_text(), PAUSE);
        until_held(&server, 1);
        let fd = only_fd(&server.handle);
        let (handle, count) = (server.handle.clone(), Arc::clone(&called));
        // At every step, also when those who call functions rest.
        let at_step = move |_| {
            let count = Arc::clone(&count);
            handle.run(fd, move |_| {
                count.fetch_add(1, SeqCst);
            });
        };
        let (seen, still) = channel();
        let (tell, told) = channel();
        let count = Arc::clone(&called);
        let while_still = move |frozen: &mut FrozenServer<'_>| {
            seen.send((count.load(SeqCst), frozen.paused.clone()))
                .unwrap();
        };
        let ended = move |outcome: Result<_, _>| tell.send(outcome.map(drop)).unwrap();
        let errand = FreezeErrand::new(while_still, ended);
        server.handle.freeze(errand.at_each_step(at_step));
        // Hush, settle, rest, still.
        assert_eq!(next(&still), (4, vec![fd]));
        assert_eq!(next(&told), Ok(()));
        assert_eq!(server.stats().user_pauses, 1);
        server.handle.resume(fd);
        assert_eq!(client.hear_text(), "held");
        client.echo("after");
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}
