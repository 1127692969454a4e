//! Freeze and thaw: the whole server stands still for a moment, and nobody loses anything by it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidings::server::{
    Builder, CloseReason, Fd, FreezeErrand, FreezeError, FreezeHolder, FreezeStep, FreezeTimes,
    Freezes, FrozenServer, Handle, Responder, ServerSettings,
};

use crate::support::http::HttpClient;
use crate::support::random::Random;
use crate::support::server::{
    LocalServer, Mode, in_every_mode, until_nothing_is_left, with_workers,
};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// Freezes a server, and does something while all stands still; what comes of it is reported.
fn freeze(
    handle: &Handle,
    at_step: impl FnMut(FreezeStep) + Send + 'static,
    while_still: impl FnOnce(&mut FrozenServer<'_>) + Send + 'static,
) -> Receiver<Result<FreezeTimes, FreezeError>> {
    let (tell, told) = channel();
    let ended = move |outcome| tell.send(outcome).unwrap();
    handle.freeze(FreezeErrand::new(while_still, ended).at_each_step(at_step));
    told
}

fn settings(change: impl FnOnce(&mut ServerSettings)) -> ServerSettings {
    let mut settings = ServerSettings {
        // On a machine that is busy with other tests.
        freeze_ms_max: 20_000,
        ..ServerSettings::default()
    };
    change(&mut settings);
    settings
}

fn impatient() -> ServerSettings {
    settings(|settings| settings.freeze_ms_max = 100)
}

/// Freezes an impatient server that can't be frozen until the holder is one of these: on a busy machine
/// another one may have been late before it.
#[track_caller]
fn until_late(handle: &Handle, mut is_one: impl FnMut(&FreezeHolder) -> bool) {
    until("the one who keeps it is named", || {
        match handle.freeze_trial(|_| {}) {
            Err(FreezeError::Late { ms: 100, holder }) => is_one(&holder),
            other => panic!("{other:?}"),
        }
    });
}

/// Those who say `number of the talker, number of the message` to all, and hear in which order others
/// do so.
fn talk(address: SocketAddr, talker: usize, ends: Arc<AtomicBool>) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut client = WebSocketClient::connect(address, "/");
        let mut said = 0;
        loop {
            client.say(format!("{talker} {said}"));
            said += 1;
            // Hears itself, and so keeps step with the server.
            until_heard(&mut client, &format!("{talker} {}", said - 1));
            if ends.load(SeqCst) {
                break;
            }
        }
        client.leave();
        said
    })
}

fn until_heard(client: &mut WebSocketClient, text: &str) {
    while client.hear_text() != text {}
}

/// Asks by HTTP to have the same said.
fn post(address: SocketAddr, talker: usize, ends: Arc<AtomicBool>) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut client = HttpClient::connect(address);
        let mut said = 0;
        loop {
            let path = format!("/{talker}/{said}");
            // Several at once, of which some wait in the connection.
            client.send_get(&path);
            client.send_get("/nothing");
            assert_eq!(client.answer().unwrap().body, path);
            assert_eq!(client.answer().unwrap().body, "/nothing");
            said += 1;
            if ends.load(SeqCst) {
                break;
            }
        }
        said
    })
}

/// Comes and goes, politely and not.
fn come_and_go(address: SocketAddr, seed: u64, ends: Arc<AtomicBool>) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut random = Random::new(seed);
        let mut came = 0;
        while !ends.load(SeqCst) {
            let client = WebSocketClient::connect(address, "/");
            match random.below(3) {
                0 => client.leave(),
                1 => client.reset(),
                _ => drop(client),
            }
            came += 1;
        }
        came
    })
}

/// Hears all, and checks that nothing of anybody is missing, doubled or out of order; gives how many
/// messages of each talker came.
fn listen(mut client: WebSocketClient, talkers: usize) -> JoinHandle<Vec<usize>> {
    thread::spawn(move || {
        let mut heard = vec![0; talkers];
        loop {
            let text = client.hear_text();
            if text == "end" {
                return heard;
            }
            let (talker, number) = text.split_once(' ').unwrap();
            let heard = &mut heard[talker.parse::<usize>().unwrap()];
            assert_eq!(number.parse(), Ok(*heard), "{text}");
            *heard += 1;
        }
    })
}

/// Has a room of all, and answers requests.
fn talkative(mode: Mode, opened: &Arc<AtomicUsize>, closed: &Arc<AtomicUsize>) -> Builder {
    let (opened, closed) = (Arc::clone(opened), Arc::clone(closed));
    mode.builder()
        .light(
            |frame| frame.data.len() % 2 == 0,
            |head, _| head.path() == "/nothing",
        )
        .on_open(move |server, request| {
            server.subscribe(request.fd, "all");
            opened.fetch_add(1, SeqCst);
        })
        .on_message(|server, frame| server.publish("all", frame))
        .on_close(move |_, _, _| {
            closed.fetch_add(1, SeqCst);
        })
        .on_request(|server, request, responder| {
            let path = request.path();
            if let Some((talker, number)) = path[1..].split_once('/') {
                server.publish("all", format!("{talker} {number}").as_str());
            }
            responder.end_with(server, path);
        })
}

#[test]
fn freezes_under_full_load_lose_double_and_reorder_nothing_and_close_nobody() {
    const FREEZES: usize = 40;
    const TALKERS: usize = 8;
    const LISTENERS: usize = 12;
    in_every_mode(|mode| {
        let (opened, closed) = (Arc::default(), Arc::default());
        let builder = talkative(mode, &opened, &closed);
        let server = LocalServer::start(builder.settings(settings(|_| {})));
        let address = server.handle.addresses()[0];
        let listeners: Vec<_> = (0..LISTENERS)
            .map(|_| WebSocketClient::connect(address, "/"))
            .collect();
        until("all listen", || {
            server.stats().totals.subscriptions == LISTENERS as u64
        });
        let before = server.handle.connections(Fd(0), 1_000);
        let listeners: Vec<_> = (listeners.into_iter())
            .map(|client| listen(client, TALKERS))
            .collect();
        let ends = Arc::new(AtomicBool::new(false));
        let talkers: Vec<_> = (0..TALKERS)
            .map(|talker| {
                let ends = Arc::clone(&ends);
                match (talker, talker % 2) {
                    (0, _) => shout(&server.handle, talker, ends),
                    (_, 0) => talk(address, talker, ends),
                    _ => post(address, talker, ends),
                }
            })
            .collect();
        let visitors = [1, 2].map(|seed| come_and_go(address, seed, Arc::clone(&ends)));
        until("there is much to do", || {
            let totals = server.stats().totals;
            totals.messages_in > 0 && totals.requests > 0 && totals.deliveries > 0
        });
        for _ in 0..FREEZES {
            server.handle.freeze_trial(|_| {}).unwrap();
        }
        ends.store(true, SeqCst);
        let said: Vec<usize> = (talkers.into_iter())
            .map(|thread| thread.join().unwrap())
            .collect();
        let came: usize = (visitors.into_iter())
            .map(|thread| thread.join().unwrap())
            .sum();
        assert!(said.iter().all(|said| *said > 0) && came > 0, "{said:?}");
        let after = server.handle.connections(Fd(0), 1_000);
        assert!(
            before.iter().all(|fd| after.contains(fd)),
            "the same are there"
        );
        server.handle.publish("all", "end");
        for listener in listeners {
            assert_eq!(listener.join().unwrap(), said);
        }
        until_nothing_is_left(&server.handle);
        until("each end is told", || {
            opened.load(SeqCst) == closed.load(SeqCst)
        });
        assert!(server.stop().is_clean());
    });
}

/// A thread of the program's own that says the same to all.
fn shout(handle: &Handle, talker: usize, ends: Arc<AtomicBool>) -> JoinHandle<usize> {
    let handle = handle.clone();
    thread::spawn(move || {
        let mut said = 0;
        loop {
            handle.publish("all", format!("{talker} {said}").as_str());
            said += 1;
            thread::yield_now();
            if ends.load(SeqCst) {
                break;
            }
        }
        said
    })
}

#[test]
fn a_callback_that_does_not_return_has_the_freeze_taken_back_and_then_goes_on_for_ever() {
    in_every_mode(|mode| {
        let (tell_stuck, stuck) = channel();
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let builder = mode
            .builder()
            .on_message(move |server, frame| {
                if frame.data == b"stick" {
                    tell_stuck.send(()).unwrap();
                    next(&released.lock().unwrap());
                }
                server.push(frame.fd, frame).unwrap();
            })
            .settings(impatient());
        let server = LocalServer::start(builder);
        let mut client = WebSocketClient::join(&server.handle);
        let mut other = WebSocketClient::join(&server.handle);
        for _ in 0..3 {
            client.say("stick");
            next(&stuck);
            until_late(&server.handle, |holder| match mode.workers {
                0 => matches!(holder, FreezeHolder::Reactor(_)),
                _ => matches!(holder, FreezeHolder::Worker(_)),
            });
            release.send(()).unwrap();
            assert_eq!(client.hear_text(), "stick");
            // It comes to the order that is over, and goes on.
            for number in 0..20 {
                client.echo(&format!("{number}"));
                other.echo(&format!("{number}"));
            }
        }
        until("it has time for one", || {
            server.handle.freeze_trial(|_| {}).is_ok()
        });
        client.echo("still here");
    });
}

#[test]
fn a_request_without_an_answer_is_named_and_its_answer_still_comes() {
    in_every_mode(|mode| {
        let (tell, told) = channel::<Responder>();
        let builder = mode
            .builder()
            .on_request(move |_, _, responder| tell.send(responder).unwrap())
            .settings(impatient());
        let server = LocalServer::start(builder);
        let mut client = HttpClient::connect(server.handle.addresses()[0]);
        client.send_get("/");
        let responder = next(&told);
        until_late(
            &server.handle,
            |holder| matches!(holder, FreezeHolder::Request(request) if request.fd == responder.fd()),
        );
        responder.end("late");
        assert_eq!(client.answer().unwrap().body, "late");
        until("it has time for one", || {
            server.handle.freeze_trial(|_| {}).is_ok()
        });
    });
}

/// Notes what callbacks were told, and how much of it while all stood still.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn the_next_request_of_a_pipeline_waits_for_the_thaw_and_so_does_its_101() {
    const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    in_every_mode(|mode| {
        let (told, (tell, responders)) = (Told::default(), channel::<Responder>());
        let (requests, opens) = (told.clone(), told.clone());
        let builder = mode
            .builder()
            .on_request(move |_, request, responder| {
                requests.note(request.path());
                tell.send(responder).unwrap();
            })
            .on_open(move |_, request| opens.note(request.path()))
            .settings(settings(|settings| {
                settings.reactor.connection.pipeline_requests_max = 1;
            }));
        let server = LocalServer::start(builder);
        let address = server.handle.addresses()[0];
        for second in ["GET /second HTTP/1.1\r\nHost: a\r\n\r\n", UPGRADE] {
            let mut client = HttpClient::connect(address);
            client.send_get("/first");
            client.send(second).unwrap();
            let first = next(&responders);
            until("the second one is there", || {
                server.stats().totals.unfinished_bytes > 0 || server.stats().totals.paused > 0
            });
            let mut answer = Some(first);
            let answers = move |step| {
                if step == FreezeStep::Settle {
                    answer.take().unwrap().end("1");
                }
            };
            let (seen, during) = (told.clone(), channel());
            let outcome = freeze(&server.handle, answers, move |_| {
                during.0.send(seen.all()).unwrap();
            });
            next(&outcome).unwrap();
            assert_eq!(
                next(&during.1).last().unwrap(),
                "/first",
                "no event came up"
            );
            assert_eq!(client.answer().unwrap().body, "1");
            match second == UPGRADE {
                true => assert_eq!(client.head().unwrap().status, 101),
                false => {
                    next(&responders).end("2");
                    assert_eq!(client.answer().unwrap().body, "2");
                }
            }
        }
        until("it is told", || told.all().last().unwrap() == "/ws");
        assert_eq!(told.all(), ["/first", "/second", "/first", "/ws"]);
    });
}

/// Tells when connections end.
fn closes(mode: Mode, told: &Told) -> Builder {
    let told = told.clone();
    mode.builder().on_close(move |_, fd, reason| {
        let reason = match reason {
            CloseReason::Lost => "lost",
            CloseReason::SlowReader => "slow",
            _ => "other",
        };
        told.note(format!("{fd} {reason}"));
    })
}

#[test]
fn who_resets_between_rest_and_still_is_told_of_after_the_thaw() {
    in_every_mode(|mode| {
        let told = Told::default();
        let server = LocalServer::start(closes(mode, &told).settings(settings(|_| {})));
        let client = WebSocketClient::join(&server.handle);
        until("it is there", || server.stats().totals.websockets == 1);
        let fd = server.handle.connections(Fd(0), 1)[0];
        let (handle, seen, during) = (server.handle.clone(), told.clone(), channel());
        let (mut client, mut written) = (Some(client), 0);
        let resets = move |step| {
            if step != FreezeStep::Still {
                return;
            }
            client.take().unwrap().reset();
            // Writes fail now; none of them tells anybody.
            until("a write has failed", || {
                handle.push(fd, "are you there?").unwrap();
                written += 1;
                written > 20
            });
        };
        let outcome = freeze(&server.handle, resets, move |_| {
            during.0.send(seen.all()).unwrap();
        });
        next(&outcome).unwrap();
        assert!(next(&during.1).is_empty());
        until("it is told", || told.all() == [format!("{fd} lost")]);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn who_reads_too_slowly_between_rest_and_still_is_closed_after_the_thaw() {
    const SIZE: usize = 400_000;
    in_every_mode(|mode| {
        let told = Told::default();
        let server = LocalServer::start(closes(mode, &told).settings(settings(|_| {})));
        let address = server.handle.addresses()[0];
        let mut client = WebSocketClient::connect_narrow(address, "/");
        until("it is there", || server.stats().totals.websockets == 1);
        let fd = server.handle.connections(Fd(0), 1)[0];
        let (handle, seen, during) = (server.handle.clone(), told.clone(), channel());
        let pushes = move |step| {
            if step == FreezeStep::Still {
                for _ in 0..60 {
                    handle.push(fd, &vec![7; SIZE]).unwrap();
                }
            }
        };
        let outcome = freeze(&server.handle, pushes, move |_| {
            during.0.send(seen.all()).unwrap();
        });
        next(&outcome).unwrap();
        assert!(next(&during.1).is_empty());
        until("it is told", || told.all() == [format!("{fd} slow")]);
        let (heard, end) = client.hear_all();
        assert_eq!(end, Heard::Close(4_008));
        assert!(
            heard
                .iter()
                .all(|heard| *heard == Heard::Binary(vec![7; SIZE]))
        );
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn an_outbox_that_empties_between_rest_and_still_is_reported_once_after_the_thaw() {
    const MUCH: usize = 12 << 20;
    in_every_mode(|mode| {
        let told = Told::default();
        let reports = told.clone();
        let builder = mode
            .builder()
            .on_message(|server, frame| {
                server.push(frame.fd, &vec![1; MUCH]).unwrap();
                server.await_buffer(frame.fd, 0);
            })
            .on_buffer_empty(move |_, _| reports.note("empty"));
        let server = LocalServer::start(builder.settings(settings(|_| {})));
        let address = server.handle.addresses()[0];
        let mut client = WebSocketClient::connect_narrow(address, "/");
        client.say("much");
        until("it waits", || server.stats().totals.backlogged == 1);
        let (tell_client, handle) = (channel(), server.handle.clone());
        let mut client = Some(client);
        let reads = move |step| {
            if step == FreezeStep::Still {
                let mut client = client.take().unwrap();
                assert!(client.hear() == Heard::Binary(vec![1; MUCH]));
                until("the outbox is empty", || handle.stats().outbox_bytes == 0);
                tell_client.0.send(client).unwrap();
            }
        };
        let (seen, during) = (told.clone(), channel());
        let outcome = freeze(&server.handle, reads, move |_| {
            during.0.send(seen.all()).unwrap();
        });
        next(&outcome).unwrap();
        assert!(next(&during.1).is_empty());
        until("it is reported", || told.all() == ["empty"]);
        let mut client = next(&tell_client.1);
        client.say("much");
        assert!(client.hear() == Heard::Binary(vec![1; MUCH]));
        until("it is reported again", || told.all().len() == 2);
    });
}

#[test]
fn what_gathers_goes_out_before_the_stand_and_once() {
    in_every_mode(|mode| {
        let builder = mode
            .builder()
            .on_open(|server, request| server.subscribe(request.fd, "tea"));
        let server = LocalServer::start(builder.settings(settings(|_| {})));
        let mut client = WebSocketClient::join(&server.handle);
        until("it is there", || server.stats().totals.subscriptions == 1);
        server.handle.publish_gathered("tea", "1", 60_000);
        server.handle.publish_gathered("tea", "2", 60_000);
        until("both wait", || server.stats().totals.gathered_waiting == 2);
        let heard = channel();
        let mut client_there = Some(client);
        let outcome = freeze(
            &server.handle,
            |_| {},
            move |_| {
                let mut client = client_there.take().unwrap();
                assert_eq!([client.hear_text(), client.hear_text()], ["1", "2"]);
                heard.0.send(client).unwrap();
            },
        );
        next(&outcome).unwrap();
        client = next(&heard.1);
        server.handle.publish("tea", "3");
        assert_eq!(client.hear_text(), "3");
    });
}

#[test]
fn the_clock_stands_while_the_server_does() {
    const STAND: Duration = Duration::from_millis(400);
    const AFTER_MS: u64 = 200;
    in_every_mode(|mode| {
        let server = LocalServer::start(mode.builder().settings(settings(|_| {})));
        let (tell, told) = channel();
        let began = Instant::now();
        server
            .handle
            .after(AFTER_MS, move |_| tell.send(Instant::now()).unwrap());
        let outcome = freeze(
            &server.handle,
            |_| {},
            move |_| {
                let began = Instant::now();
                while began.elapsed() < STAND {
                    thread::yield_now();
                }
            },
        );
        assert!(next(&outcome).unwrap().stood >= STAND);
        let fired = next(&told) - began;
        // A millisecond is the clock's step.
        let least = STAND + Duration::from_millis(AFTER_MS - 2);
        assert!(fired >= least, "{fired:?}");
    });
}

#[test]
fn calls_of_foreign_threads_and_new_connections_wait_for_the_thaw() {
    in_every_mode(|mode| {
        let told = Told::default();
        let opens = told.clone();
        let builder = mode.builder().on_open(move |server, request| {
            opens.note("opened");
            server.subscribe(request.fd, "tea");
        });
        let server = LocalServer::start(builder.settings(settings(|_| {})));
        let address = server.handle.addresses()[0];
        let mut client = WebSocketClient::join(&server.handle);
        until("it is there", || server.stats().totals.subscriptions == 1);
        let (handle, seen) = (server.handle.clone(), told.clone());
        let (tell, during) = channel();
        let outcome = freeze(
            &server.handle,
            |_| {},
            move |_| {
                let calls = told.clone();
                let caller = thread::spawn(move || {
                    handle.publish("tea", "from outside");
                    calls.note("called");
                });
                let comer = thread::spawn(move || WebSocketClient::connect(address, "/"));
                stand();
                tell.send((told.all(), caller, comer)).unwrap();
            },
        );
        let (then, caller, comer) = next(&during);
        assert_eq!(then, ["opened"], "the first client's");
        next(&outcome).unwrap();
        caller.join().unwrap();
        assert_eq!(client.hear_text(), "from outside");
        comer.join().unwrap().leave();
        until("it is opened", || seen.all().len() == 3);
    });
}

/// Waits a moment in which something that shall not happen could.
fn stand() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(50) {
        thread::yield_now();
    }
}

#[test]
fn from_the_hush_on_nothing_comes_in_and_no_timer_fires_until_the_thaw() {
    in_every_mode(|mode| {
        let told = Told::default();
        let (messages, timers) = (told.clone(), told.clone());
        let builder = mode.builder().on_message(move |server, frame| {
            messages.note(frame.text().unwrap());
            server.push(frame.fd, frame).unwrap();
        });
        let server = LocalServer::start(builder.settings(settings(|_| {})));
        let address = server.handle.addresses()[0];
        let mut client = WebSocketClient::join(&server.handle);
        client.echo("before");
        let (handle, (tell, outside)) = (server.handle.clone(), channel());
        let mut client = Some(client);
        let comes = move |step| match step {
            FreezeStep::Settle => {
                let mut client = client.take().unwrap();
                client.say("hushed");
                let comer = thread::spawn(move || WebSocketClient::connect(address, "/"));
                tell.send((client, comer)).unwrap();
                let timers = timers.clone();
                handle.after(1, move |_| timers.note("timer"));
                stand();
            }
            FreezeStep::Still => stand(),
            _ => {}
        };
        let (handle, seen, during) = (server.handle.clone(), told.clone(), channel());
        let outcome = freeze(&server.handle, comes, move |_| {
            let totals = handle.stats().totals;
            during.0.send((seen.all(), totals.accepted)).unwrap();
        });
        next(&outcome).unwrap();
        assert_eq!(next(&during.1), (vec!["before".to_owned()], 1));
        let (mut client, comer) = next(&outside);
        assert_eq!(client.hear_text(), "hushed");
        comer.join().unwrap().leave();
        until("all is told", || told.all().len() == 3);
    });
}

#[test]
fn nothing_is_written_while_all_stands_still() {
    in_every_mode(|mode| {
        let server = LocalServer::start(mode.builder().settings(settings(|_| {})));
        let client = WebSocketClient::join(&server.handle);
        until("it is there", || server.stats().totals.websockets == 1);
        let fd = server.handle.connections(Fd(0), 1)[0];
        let (handle, (tell, told)) = (server.handle.clone(), channel());
        let mut client = Some(client);
        let outcome = freeze(
            &server.handle,
            |_| {},
            move |_| {
                handle.push(fd, "meanwhile").unwrap();
                let mut client = client.take().unwrap();
                assert_eq!(client.hear_within(Duration::from_millis(50)), None);
                tell.send(client).unwrap();
            },
        );
        next(&outcome).unwrap();
        assert_eq!(next(&told).hear_text(), "meanwhile");
    });
}

/// A part of a program that notes what it is told, and rests when it is to.
struct Part {
    name: &'static str,
    told: Told,
    rests: AtomicBool,
}

impl Freezes for Part {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hush(&self) {
        self.told.note(format!("hush {}", self.name));
    }

    fn rest(&self, order: tidings::base::rest::RestOrder) {
        self.told.note(format!("rest {}", self.name));
        if self.rests.load(SeqCst) {
            order.arrive();
        }
    }

    fn thaw(&self) {
        self.told.note(format!("thaw {}", self.name));
    }
}

#[test]
fn parts_rest_in_their_order_thaw_backwards_and_one_that_does_not_is_named() {
    in_every_mode(|mode| {
        let told = Told::default();
        let part = |name| {
            Arc::new(Part {
                name,
                told: told.clone(),
                rests: AtomicBool::new(true),
            })
        };
        let (first, second) = (part("first"), part("second"));
        let builder = mode
            .builder()
            .freezes_with(Arc::clone(&first) as Arc<dyn Freezes>)
            .freezes_with(Arc::clone(&second) as Arc<dyn Freezes>)
            .settings(impatient());
        let server = LocalServer::start(builder);
        let all = [
            "hush first",
            "hush second",
            "rest first",
            "rest second",
            "thaw second",
            "thaw first",
        ];
        until("it has time for one", || {
            told.0.lock().unwrap().clear();
            server.handle.freeze_trial(|_| {}).is_ok()
        });
        assert_eq!(told.all(), all);
        told.0.lock().unwrap().clear();
        first.rests.store(false, SeqCst);
        let seen = told.clone();
        until_late(&server.handle, |holder| {
            let is_first = *holder == FreezeHolder::Part("first");
            if !is_first {
                seen.0.lock().unwrap().clear();
            }
            is_first
        });
        let without = [
            "hush first",
            "hush second",
            "rest first",
            "thaw second",
            "thaw first",
        ];
        assert_eq!(told.all(), without);
    });
}

#[test]
fn a_stop_takes_a_freeze_back_at_each_of_its_steps() {
    let steps = [
        FreezeStep::Hush,
        FreezeStep::Settle,
        FreezeStep::Rest,
        FreezeStep::Still,
    ];
    for stops_at in steps {
        in_every_mode(|mode| {
            let server = LocalServer::start(mode.builder().settings(settings(|_| {})));
            let mut client = WebSocketClient::join(&server.handle);
            let handle = server.handle.clone();
            let outcome = server.handle.freeze_trial(move |step| {
                if step == stops_at {
                    handle.stop();
                }
            });
            assert_eq!(outcome, Err(FreezeError::Stops), "{stops_at:?}");
            assert_eq!(client.hear_all().1, Heard::Close(1_001));
            drop(client);
            assert!(server.stop().is_clean());
        });
    }
}

#[test]
fn what_panics_in_a_freeze_leaves_nobody_standing() {
    in_every_mode(|mode| {
        let server = LocalServer::start(mode.builder().settings(settings(|_| {})));
        let mut client = WebSocketClient::join(&server.handle);
        let outcome = freeze(&server.handle, |_| {}, |_| panic!("as the test wants"));
        assert_eq!(next(&outcome), Err(FreezeError::Panicked));
        assert_eq!(server.handle.failure(), None, "all goes on");
        let panics = |step| assert_ne!(step, FreezeStep::Still, "as the test wants");
        let outcome = freeze(&server.handle, panics, |_| {});
        assert_eq!(next(&outcome), Err(FreezeError::Stops));
        assert_eq!(client.hear_all().1, Heard::Close(1_001));
        drop(client);
        assert!(server.stop().has_failed);
    });
}

#[test]
fn a_second_freeze_is_refused_and_one_of_a_server_that_has_ended_too() {
    with_workers(|mode| {
        let server = LocalServer::start(mode.builder().settings(settings(|_| {})));
        let (handle, second) = (server.handle.clone(), channel());
        let asks = move |step| {
            if step == FreezeStep::Rest {
                let tell: Sender<_> = second.0.clone();
                let ended = move |outcome| tell.send(outcome).unwrap();
                handle.freeze(FreezeErrand::new(|_| {}, ended));
            }
        };
        let outcome = freeze(&server.handle, asks, |_| {});
        next(&outcome).unwrap();
        // Asked for while one was under way, and looked at when that is over or not.
        assert!(matches!(next(&second.1), Ok(_) | Err(FreezeError::Busy)));
        let handle = server.handle.clone();
        server.stop();
        assert_eq!(handle.freeze_trial(|_| {}), Err(FreezeError::Stops));
    });
}

/// A message of `milliseconds number`, which takes its time; some of them wait for their turn.
fn slowly(mode: Mode, calls: &Arc<AtomicUsize>) -> Builder {
    let calls = Arc::clone(calls);
    mode.builder().on_message(move |server, frame| {
        calls.fetch_add(1, SeqCst);
        let text = frame.text().unwrap();
        let ms = text.split(' ').next().unwrap().parse().unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(ms) {
            thread::yield_now();
        }
        server.push(frame.fd, frame).unwrap();
    })
}

#[test]
fn messages_that_wait_for_their_turn_keep_it_and_nobody_waits_for_them() {
    const MORE: usize = 60;
    const FREEZES: usize = 10;
    in_every_mode(|mode| {
        let calls = Arc::default();
        let server = LocalServer::start(slowly(mode, &calls).settings(settings(|_| {})));
        let mut client = WebSocketClient::join(&server.handle);
        let (mut said, mut freezes) = (0, 0);
        // On a busy machine some freezes come when all were handled.
        until("enough of them found messages that wait", || {
            if calls.load(SeqCst) + MORE / 2 > said {
                for number in said..said + MORE {
                    client.say(format!("4 {number}"));
                }
                said += MORE;
            }
            let [hushed, still, run] = waiting_in_a_freeze(&server.handle, &calls);
            assert_eq!(run, 0, "a callback ran at rest");
            if hushed > 10 {
                assert!(still > 0, "they were handled first");
                freezes += 1;
            }
            freezes == FREEZES
        });
        for number in 0..said {
            assert_eq!(client.hear_text(), format!("4 {number}"));
        }
        until("none waits", || server.stats().postponed.items == 0);
    });
}

/// Freezes a server; gives how many messages waited from the hush on and while all stood still, and how
/// many were handled meanwhile.
fn waiting_in_a_freeze(handle: &Handle, calls: &Arc<AtomicUsize>) -> [usize; 3] {
    let hushed = Arc::new(AtomicUsize::new(0));
    let resting = Arc::new(AtomicUsize::new(0));
    let (at_hush, rests, at_rest) = (hushed.clone(), resting.clone(), calls.clone());
    let (asks, looks, calls) = (handle.clone(), handle.clone(), calls.clone());
    let (tell, told) = channel();
    let outcome = freeze(
        handle,
        move |step| match step {
            FreezeStep::Settle => at_hush.store(asks.stats().postponed.items, SeqCst),
            FreezeStep::Still => rests.store(at_rest.load(SeqCst), SeqCst),
            _ => {}
        },
        move |_| {
            stand();
            let run = calls.load(SeqCst) - resting.load(SeqCst);
            tell.send((looks.stats().postponed.items, run)).unwrap();
        },
    );
    next(&outcome).unwrap();
    let (still, run) = next(&told);
    [hushed.load(SeqCst), still, run]
}
