//! Renewals: the callbacks are made anew, each worker gets another thread, and nobody who is connected
//! notices.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tidings::server::{
    Builder, Fd, Handle, Renewal, RenewalError, RenewalOutcome, ServerError, ServerSettings,
};

use crate::support::http::HttpClient;
use crate::support::random::Random;
use crate::support::server::{
    LocalServer, Mode, in_every_mode, until_nothing_is_left, with_workers,
};
use crate::support::wait::{PATIENCE, next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// Renewals under load, in each mode; all of them with `TIDINGS_RENEWALS=100`.
fn rounds() -> usize {
    let asked = std::env::var("TIDINGS_RENEWALS").ok();
    asked.map_or(12, |rounds| rounds.parse().expect("a number"))
}

/// Callbacks that answer with the number of the renewal that made them, from 1.
fn numbered(builder: Builder) -> Builder {
    let made = AtomicUsize::new(0);
    builder.handlers(move |set| {
        let number = made.fetch_add(1, SeqCst) + 1;
        set.on_message(move |server, frame| {
            server.push(frame.fd, number.to_string().as_str()).unwrap();
        });
        Ok(())
    })
}

fn renewal_ms(renew_ms_max: u64) -> ServerSettings {
    ServerSettings {
        renew_ms_max,
        ..ServerSettings::default()
    }
}

#[track_caller]
fn end_of(renewal: &Renewal) -> Result<RenewalOutcome, RenewalError> {
    renewal.wait_for(PATIENCE).expect("it ends in time")
}

#[track_caller]
fn renew(server: &Handle) -> RenewalOutcome {
    end_of(&server.reload()).expect("nothing is in its way")
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, SeqCst);
}

/// Reports to the test, which may have ended.
fn tell<T>(reports: &Sender<T>, report: T) {
    reports.send(report).ok();
}

/// The number of threads that run callbacks.
fn threads(mode: Mode) -> usize {
    match mode.workers {
        0 => mode.reactors,
        workers => workers,
    }
}

fn all_of(mode: Mode) -> RenewalOutcome {
    RenewalOutcome {
        workers_renewed: threads(mode),
        ..RenewalOutcome::default()
    }
}

#[track_caller]
fn answer(client: &mut WebSocketClient) -> usize {
    client.say("which?");
    client.hear_text().parse().unwrap()
}

#[test]
fn callbacks_of_the_function_are_made_anew_and_take_the_place_of_those_that_stay() {
    in_every_mode(|mode| {
        let builder = mode
            .builder()
            .on_message(|server, frame| server.push(frame.fd, "never").unwrap())
            .on_request(|_, _, responder| responder.end("stays"));
        let server = LocalServer::start(numbered(builder));
        let mut clients = [(); 6].map(|()| WebSocketClient::join(&server.handle));
        for number in 1..=3 {
            for client in &mut clients {
                assert_eq!(answer(client), number);
            }
            let mut http = HttpClient::connect(server.handle.addresses()[0]);
            assert_eq!(http.get("/").body, "stays");
            assert_eq!(renew(&server.handle), all_of(mode));
        }
        drop(clients);
        until_nothing_is_left(&server.handle);
        assert!(server.stop().is_clean());
    });
}

/// Whether a message may be handled on a reactor: one in three.
fn is_light(text: &str) -> bool {
    text.len().is_multiple_of(3)
}

/// A client that says numbers all the time until it is over, and hears each of them once, in order,
/// with the number of the renewal before it, which never falls. Returns the last of these.
fn talk(server: &Handle, (heard_of_all, is_over): (&AtomicUsize, &AtomicBool), seed: u64) -> usize {
    let mut random = Random::new(seed);
    let mut client = WebSocketClient::join(server);
    let (mut said, mut heard, mut last) = (0_u64, 0_u64, 0);
    while heard < said || !is_over.load(SeqCst) {
        if !is_over.load(SeqCst) && said - heard < 200 {
            for _ in 0..random.within(1..=20) {
                client.say(said.to_string());
                said += 1;
            }
        }
        if heard < said {
            let text = client.hear_text();
            let (renewal, number) = text.split_once(' ').expect("two numbers");
            assert_eq!(number.parse(), Ok(heard), "in order, each of them");
            let renewal = renewal.parse().expect("a number");
            // A light one may come to the reactor's callbacks before these are renewed.
            if !is_light(number) {
                assert!(renewal >= last, "{renewal} after {last}");
                last = renewal;
            }
            heard += 1;
            heard_of_all.fetch_add(1, SeqCst);
        }
    }
    client.say("end!");
    let end = client.hear_text();
    client.leave();
    let renewal = end.strip_suffix(" end!").expect("the end");
    renewal.parse().expect("a number")
}

/// Callbacks that answer with the number of the renewal and what was said, and count those who come, go
/// and are stuck; one in ten renewals fails, and who says `stick` waits at the door.
fn under_load(builder: Builder, door: &Arc<Door>, counts: &Arc<[AtomicUsize; 3]>) -> Builder {
    let (made, door, counts) = (AtomicUsize::new(0), Arc::clone(door), Arc::clone(counts));
    builder.handlers(move |set| {
        let number = made.fetch_add(1, SeqCst) + 1;
        let (door, opened, closed) = (Arc::clone(&door), Arc::clone(&counts), Arc::clone(&counts));
        let stuck = Arc::clone(&counts);
        set.on_open(move |_, _| add(&opened[0]))
            .on_close(move |_, _, _| add(&closed[1]))
            .on_message(move |server, frame| {
                let said = std::str::from_utf8(frame.data).unwrap();
                if said == "stick" {
                    add(&stuck[2]);
                    door.wait();
                }
                let answer = format!("{number} {said}");
                server.push(frame.fd, answer.as_str()).unwrap();
            });
        match fails(number) {
            true => Err("one in ten".into()),
            false => Ok(()),
        }
    })
}

fn fails(number: usize) -> bool {
    number % 10 == 5
}

#[test]
fn renewals_under_load_lose_nothing_and_keep_the_order() {
    const CLIENTS: u64 = 8;
    in_every_mode(|mode| {
        let (door, counts) = (
            Arc::new(Door::default()),
            Arc::<[AtomicUsize; 3]>::default(),
        );
        let builder = mode.builder().settings(renewal_ms(2_000)).light(
            |frame| str::from_utf8(frame.data).is_ok_and(is_light),
            |_, _| false,
        );
        let server = LocalServer::start(under_load(builder, &door, &counts));
        let (heard, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let last = rounds() + 1;
        let mut sticks = WebSocketClient::join(&server.handle);
        thread::scope(|scope| {
            let (handle, heard, is_over) = (&server.handle, &heard, &is_over);
            let talk = |seed| scope.spawn(move || talk(handle, (heard, is_over), seed));
            let talks: Vec<_> = (0..CLIENTS).map(talk).collect();
            for number in 2..=last {
                let before = heard.load(SeqCst);
                until("they talk", || heard.load(SeqCst) > before + 500);
                if number == 4 {
                    sticks.say("stick");
                    until("it is stuck", || counts[2].load(SeqCst) == 1);
                }
                let end = end_of(&handle.reload());
                match number {
                    4 => {
                        let outcome = end.expect("the others are renewed");
                        assert_eq!(outcome.threads_stuck.len(), 1, "{outcome}");
                        assert_eq!(outcome.workers_renewed, threads(mode) - 1);
                        door.open();
                        assert_eq!(sticks.hear_text(), "3 stick");
                    }
                    number if fails(number) => {
                        assert_eq!(end, Err(RenewalError::Handlers("one in ten".into())));
                    }
                    _ => assert_eq!(end, Ok(all_of(mode))),
                }
            }
            is_over.store(true, SeqCst);
            for talk in talks {
                assert_eq!(talk.join().expect("it heard everything"), last);
            }
        });
        sticks.leave();
        let all = CLIENTS as usize + 1;
        until("all are gone", || counts[1].load(SeqCst) == all);
        assert_eq!(counts[0].load(SeqCst), all);
        until_nothing_is_left(&server.handle);
        let left = || {
            server
                .stats()
                .workers
                .iter()
                .map(|queue| queue.items)
                .sum::<usize>()
        };
        until("the orders are counted out", || left() == 0);
        assert!(server.stop().is_clean());
    });
}

#[test]
fn light_events_have_the_new_callbacks_too() {
    with_workers(|mode| {
        let builder = mode.builder().light(|_| true, |_, _| false);
        let made = AtomicUsize::new(0);
        let server = LocalServer::start(builder.handlers(move |set| {
            let number = made.fetch_add(1, SeqCst) + 1;
            set.on_message(move |server, frame| {
                let thread = thread::current();
                let answer = format!("{number} {}", thread.name().unwrap());
                server.push(frame.fd, answer.as_str()).unwrap();
            });
            Ok(())
        }));
        let mut clients = [(); 4].map(|()| WebSocketClient::join(&server.handle));
        for number in 1..=3 {
            for client in &mut clients {
                until("the worker is done with it", || {
                    client.say("which?");
                    let answer = client.hear_text();
                    assert!(answer.starts_with(&format!("{number} ")), "{answer}");
                    answer.contains("reactor")
                });
            }
            assert_eq!(renew(&server.handle), all_of(mode));
        }
    });
}

/// A door that callbacks wait at.
#[derive(Default)]
struct Door {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Door {
    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// The same as [`numbered`], and a message `stick` waits at the door after it has been reported.
fn sticking(builder: Builder, door: &Arc<Door>, stuck: Sender<String>) -> Builder {
    let (made, door) = (AtomicUsize::new(0), Arc::clone(door));
    builder.handlers(move |set| {
        let number = made.fetch_add(1, SeqCst) + 1;
        let (door, stuck) = (Arc::clone(&door), stuck.clone());
        set.on_message(move |server, frame| {
            if frame.data == b"stick" {
                stuck
                    .send(thread::current().name().unwrap().to_owned())
                    .unwrap();
                door.wait();
            }
            server.push(frame.fd, number.to_string().as_str()).unwrap();
        });
        Ok(())
    })
}

#[test]
fn a_thread_that_is_stuck_keeps_its_callbacks_is_named_and_is_renewed_the_next_time() {
    in_every_mode(|mode| {
        let (door, (sender, stuck)) = (Arc::new(Door::default()), channel());
        let builder = mode.builder().settings(renewal_ms(1_500));
        let server = LocalServer::start(sticking(builder, &door, sender));
        let mut clients = [(); 8].map(|()| WebSocketClient::join(&server.handle));
        for client in &mut clients {
            assert_eq!(answer(client), 1);
        }
        clients[0].say("stick");
        let name = next(&stuck);
        // It waits behind the callback that hangs, and before the order, or behind it.
        clients[0].say("before");
        let outcome = renew(&server.handle);
        assert_eq!(outcome.threads_stuck, [name.as_str()]);
        assert_eq!(outcome.workers_renewed, threads(mode) - 1);
        assert!(!outcome.is_complete());
        clients[0].say("behind");
        door.open();
        let answers = [(); 3].map(|()| clients[0].hear_text());
        assert_eq!(
            answers,
            ["1", "1", "1"],
            "an order that came too late is void"
        );
        let numbers: Vec<_> = clients.iter_mut().map(answer).collect();
        let of_the_stuck = numbers.iter().filter(|number| **number == 1).count();
        assert!((1..=8).contains(&of_the_stuck), "{numbers:?}");
        assert_eq!(of_the_stuck < 8, threads(mode) > 1, "{numbers:?}");

        assert_eq!(renew(&server.handle), all_of(mode));
        for client in &mut clients {
            assert_eq!(answer(client), 3);
        }
        drop(clients);
        assert!(server.stop().is_clean());
    });
}

#[test]
fn a_function_that_fails_panics_or_takes_too_long_leaves_everything_as_it_is() {
    in_every_mode(|mode| {
        let (made, door) = (AtomicUsize::new(0), Arc::new(Door::default()));
        let stops = Arc::new(AtomicUsize::new(0));
        let (at_the_door, stopped) = (Arc::clone(&door), Arc::clone(&stops));
        let builder = mode
            .builder()
            .settings(renewal_ms(1_500))
            .on_worker_stop(move |_, _| add(&stopped))
            .handlers(move |set| {
                let number = made.fetch_add(1, SeqCst) + 1;
                set.on_message(move |server, frame| {
                    let answer = format!("{number} {:?}", thread::current().id());
                    server.push(frame.fd, answer.as_str()).unwrap();
                });
                match number {
                    2 => Err("the templates are broken".into()),
                    3 => panic!("the database is gone"),
                    4 => {
                        at_the_door.wait();
                        Ok(())
                    }
                    _ => Ok(()),
                }
            });
        let server = LocalServer::start(builder);
        let mut client = WebSocketClient::join(&server.handle);
        let mut ask = || {
            client.say("who?");
            client.hear_text()
        };
        let before = ask();
        for why in ["the templates are broken", "a panic: the database is gone"] {
            let refused = end_of(&server.handle.reload());
            assert_eq!(refused, Err(RenewalError::Handlers(why.into())));
            assert_eq!(ask(), before);
        }
        let slow = end_of(&server.handle.reload());
        assert_eq!(slow, Err(RenewalError::Slow(1_500)));
        door.open();
        assert_eq!(ask(), before);
        assert_eq!(stops.load(SeqCst), 0);
        assert_eq!(renew(&server.handle), all_of(mode));
        assert!(ask().starts_with("5 "));
        drop(client);
        assert!(server.stop().is_clean());
    });
}

#[test]
fn a_function_that_fails_at_the_start_is_the_error_of_the_start() {
    let builder = Mode {
        workers: 1,
        reactors: 1,
    }
    .builder();
    let refused = builder.handlers(|_| Err("no templates".into())).start();
    match refused.map(drop) {
        Err(ServerError::Handlers(why)) => assert_eq!(why.to_string(), "no templates"),
        other => panic!("{other:?}"),
    }
}

thread_local! {
    /// What a callback keeps on its thread.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Reports its end, which takes its time.
struct Kept(Sender<(usize, &'static str, ThreadId)>, usize);

impl Drop for Kept {
    fn drop(&mut self) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {}
        let thread = thread::current().id();
        self.0.send((self.1, "dropped", thread)).ok();
    }
}

#[test]
fn a_worker_stops_and_its_thread_ends_before_the_next_one_starts() {
    for reactors in [1, 2] {
        let mode = Mode {
            workers: 2,
            reactors,
        };
        let (sender, events) = channel();
        let stopped = sender.clone();
        let builder = mode
            .builder()
            .on_worker_start(move |_, worker| {
                KEPT.set(Some(Kept(sender.clone(), worker)));
                sender
                    .send((worker, "started", thread::current().id()))
                    .unwrap();
            })
            .on_worker_stop(move |_, worker| {
                stopped
                    .send((worker, "stopped", thread::current().id()))
                    .unwrap();
            });
        let server = LocalServer::start(builder);
        let take = |count: usize| -> Vec<_> { (0..count).map(|_| next(&events)).collect() };
        let mut present = [None; 2];
        for (worker, what, thread) in take(2) {
            assert_eq!(what, "started");
            present[worker] = Some(thread);
        }
        for _ in 0..3 {
            assert_eq!(renew(&server.handle), all_of(mode));
            for (worker, present) in present.iter_mut().enumerate() {
                let old = present.expect("it has started");
                let [stopped, dropped, started] = [(); 3].map(|()| next(&events));
                assert_eq!(
                    [stopped, dropped],
                    [(worker, "stopped", old), (worker, "dropped", old)]
                );
                let (number, what, new) = started;
                assert_eq!((number, what), (worker, "started"));
                assert_ne!(new, old, "another thread");
                *present = Some(new);
            }
        }
        assert!(server.stop().is_clean());
        let ends: HashSet<_> = take(4)
            .into_iter()
            .map(|(worker, what, _)| (worker, what))
            .collect();
        assert_eq!(ends.len(), 4, "{ends:?}");
    }
}

#[test]
fn timers_that_a_worker_sets_at_its_start_end_with_it_and_others_go_on() {
    in_every_mode(|mode| {
        let made = AtomicUsize::new(0);
        let (ticks, ticked) = channel();
        let (stays, stayed) = channel();
        let builder = mode
            .builder()
            .on_start(move |server| {
                let stays = stays.clone();
                server.tick(5, move |_| tell(&stays, ()));
            })
            .handlers(move |set| {
                let (number, ticks) = (made.fetch_add(1, SeqCst) + 1, ticks.clone());
                set.on_worker_start(move |server, _| {
                    let ticks = ticks.clone();
                    server.tick(5, move |_| tell(&ticks, number));
                    // By another handle, and never due.
                    server.handle().after(3_600_000, |_| {});
                });
                Ok(())
            });
        let server = LocalServer::start(builder);
        let timers = || server.stats().user_timers;
        let expected = 1 + 2 * threads(mode);
        until("all timers are set", || timers() == expected);
        for number in 2..=4 {
            assert_eq!(renew(&server.handle), all_of(mode));
            assert_eq!(timers(), expected);
            // What had fallen due before is among them.
            until("the new ones tick", || next(&ticked) == number);
            ticked.try_iter().for_each(drop);
            for _ in 0..20 {
                assert_eq!(next(&ticked), number);
            }
            stayed.try_iter().for_each(drop);
            next(&stayed);
        }
        assert!(server.stop().is_clean());
    });
}

#[test]
fn old_callbacks_are_dropped_with_what_they_have() {
    in_every_mode(|mode| {
        let (sender, receiver) = channel::<Weak<()>>();
        let builder = mode.builder().handlers(move |set| {
            let owned = Arc::new(());
            sender.send(Arc::downgrade(&owned))?;
            set.on_message(move |server, frame| {
                let _ = &owned;
                server.push(frame.fd, frame).unwrap();
            });
            Ok(())
        });
        let server = LocalServer::start(builder);
        let mut client = WebSocketClient::join(&server.handle);
        let mut old = next(&receiver);
        for _ in 0..3 {
            client.echo("there");
            assert!(old.upgrade().is_some());
            renew(&server.handle);
            until("the old ones are gone", || old.upgrade().is_none());
            old = next(&receiver);
        }
        client.echo("there");
        drop(client);
    });
}

#[test]
fn a_message_that_is_handled_in_parts_goes_on_where_it_stopped() {
    in_every_mode(|mode| {
        let (made, (sender, parts)) = (AtomicUsize::new(0), channel());
        let builder = mode.builder().handlers(move |set| {
            let (number, sender) = (made.fetch_add(1, SeqCst) + 1, sender.clone());
            set.on_message(move |server, frame| {
                for part in frame.parts..200 {
                    thread::sleep(Duration::from_micros(200));
                    sender.send((number, frame.fd, part)).unwrap();
                    if server.must_stop(frame.fd) {
                        return server.stop_at(part + 1);
                    }
                }
                server.push(frame.fd, "done").unwrap();
            });
            Ok(())
        });
        let server = LocalServer::start(builder);
        let mut client = WebSocketClient::join(&server.handle);
        client.say("go");
        let first = next(&parts);
        assert_eq!(first.2, 0);
        renew(&server.handle);
        assert_eq!(client.hear_text(), "done");
        let all: Vec<(usize, Fd, u32)> = std::iter::once(first).chain(parts.try_iter()).collect();
        let numbers: Vec<_> = all.iter().map(|(.., part)| *part).collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        assert_eq!(
            all.last().map(|last| last.0),
            Some(2),
            "the new callback ended it"
        );
        drop(client);
    });
}

#[test]
fn all_who_ask_during_a_renewal_get_the_next_one() {
    let mode = Mode {
        workers: 1,
        reactors: 1,
    };
    let (made, door) = (Arc::new(AtomicUsize::new(0)), Arc::new(Door::default()));
    let (count, at_the_door) = (Arc::clone(&made), Arc::clone(&door));
    let builder = mode.builder().handlers(move |_| {
        if count.fetch_add(1, SeqCst) == 1 {
            at_the_door.wait();
        }
        Ok(())
    });
    let server = LocalServer::start(builder);
    let first = server.handle.reload();
    until("it has begun", || made.load(SeqCst) == 2);
    let next = [(); 50].map(|()| server.handle.reload());
    door.open();
    assert_eq!(end_of(&first), Ok(all_of(mode)));
    for renewal in &next {
        assert_eq!(end_of(renewal), Ok(all_of(mode)));
    }
    assert_eq!(
        made.load(SeqCst),
        3,
        "the start, the first, and one for all the others"
    );
}

#[test]
fn a_stop_ends_a_renewal_and_loses_nothing() {
    in_every_mode(|mode| {
        let (door, (sender, stuck)) = (Arc::new(Door::default()), channel());
        let server = LocalServer::start(sticking(mode.builder(), &door, sender));
        let mut client = WebSocketClient::join(&server.handle);
        client.say("stick");
        next(&stuck);
        client.say("waits");
        if mode.workers > 0 {
            let waiting = || {
                server
                    .stats()
                    .workers
                    .iter()
                    .map(|queue| queue.items)
                    .sum::<usize>()
            };
            until("it is read", || waiting() == 2);
        }
        let renewal = server.handle.reload();
        assert_eq!(renewal.wait_for(Duration::from_millis(50)), None);
        server.handle.stop();
        assert_eq!(end_of(&renewal), Err(RenewalError::Stopping));
        let late = server.handle.reload();
        assert_eq!(end_of(&late), Err(RenewalError::Stopping));
        door.open();
        let (heard, end) = client.hear_all();
        assert!(
            heard.iter().all(|heard| *heard == Heard::Text("1".into())),
            "{heard:?}"
        );
        // Where a reactor is stuck, it may not have read the second one.
        let least = 1 + usize::from(mode.workers > 0);
        assert!(heard.len() >= least, "{heard:?}");
        assert_eq!(end, Heard::Close(1001));
        drop(client);
        assert!(server.stop().is_clean());
    });
}

/// What a thread that is stuck in `on_worker_stop` leaves waits for its successor.
#[test]
fn a_worker_that_is_stuck_in_its_stop_is_named_and_followed_all_the_same() {
    let mode = Mode {
        workers: 1,
        reactors: 1,
    };
    let door = Arc::new(Door::default());
    let at_the_door = Arc::clone(&door);
    let builder = mode
        .builder()
        .settings(renewal_ms(1_000))
        .on_worker_stop(move |_, _| at_the_door.wait());
    let server = LocalServer::start(numbered(builder));
    let mut client = WebSocketClient::join(&server.handle);
    assert_eq!(answer(&mut client), 1);
    let outcome = renew(&server.handle);
    assert_eq!(outcome.threads_stuck, ["worker-0"]);
    client.say("which?");
    door.open();
    assert_eq!(client.hear_text(), "2");
    assert_eq!(renew(&server.handle), all_of(mode));
    assert_eq!(answer(&mut client), 3);
    drop(client);
    assert!(server.stop().is_clean());
}
