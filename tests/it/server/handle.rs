//! What a handle does: push, close, look, bind, topics, timers; from callbacks and other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::SystemTime;

use tidings::server::{
    BindError, Builder, CloseReason, Fd, Message, MessageKind, PushError, ServerSettings,
};

use crate::support::http::HttpClient;
use crate::support::server::{LocalServer, in_every_mode, until_nothing_is_left, with_workers};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// Tells each client its fd as the first thing, and echoes.
fn telling(builder: Builder) -> Builder {
    builder
        .on_open(|server, request| {
            let fd = request.fd;
            server.push(fd, &fd.to_string()).unwrap();
        })
        .on_message(|server, frame| server.push(frame.fd, frame).unwrap())
}

fn join(server: &LocalServer) -> (WebSocketClient, Fd) {
    let mut client = WebSocketClient::join(&server.handle);
    let fd = Fd(client.hear_text().parse().unwrap());
    (client, fd)
}

fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

#[test]
fn a_push_arrives_as_it_was_said_text_or_binary_of_any_size() {
    in_every_mode(|mode| {
        let server = LocalServer::start(telling(mode.builder()));
        let (mut client, fd) = join(&server);
        for size in [0, 1, 125, 126, 65_535, 65_536, 3_000_000] {
            let bytes = vec![7; size];
            server.handle.push(fd, &bytes).unwrap();
            assert!(client.hear() == Heard::Binary(bytes), "{size} bytes");
        }
        server.handle.push(fd, "grüße").unwrap();
        assert_eq!(client.hear(), text("grüße"));
        let message = Message {
            kind: MessageKind::Text,
            data: b"plain",
        };
        server.handle.push(fd, message).unwrap();
        assert_eq!(client.hear(), text("plain"));
    });
}

#[test]
fn pushes_of_one_callback_arrive_in_order_however_many_bytes_they_are() {
    const SIZES: [usize; 5] = [10, 20_000, 100, 60_000, 16_000];
    in_every_mode(|mode| {
        let builder = mode.builder().on_message(|server, frame| {
            for number in 0..100_u8 {
                let bytes = vec![number; SIZES[usize::from(number) % SIZES.len()]];
                server.push(frame.fd, &bytes).unwrap();
            }
        });
        // Without a bound for slow readers: this is about the order.
        let mut settings = ServerSettings::default();
        settings.reactor.outbox_bytes_max = usize::MAX;
        let server = LocalServer::start(builder.settings(settings));
        let mut client = WebSocketClient::join(&server.handle);
        client.say("go");
        for number in 0..100_u8 {
            let bytes = vec![number; SIZES[usize::from(number) % SIZES.len()]];
            assert!(client.hear() == Heard::Binary(bytes), "number {number}");
        }
    });
}

#[test]
fn what_was_pushed_before_a_disconnect_arrives_before_the_close() {
    in_every_mode(|mode| {
        let (sender, closes) = channel();
        let builder = telling(mode.builder())
            .on_close(move |_, fd, reason| sender.send((fd, reason.clone())).unwrap());
        let server = LocalServer::start(builder);
        let (mut client, fd) = join(&server);
        server.handle.push(fd, "last words").unwrap();
        server.handle.disconnect(fd, 4_321, "enough").unwrap();
        // Too late: the Close was asked for before.
        server.handle.push(fd, "not this").ok();
        let (heard, end) = client.hear_all();
        assert_eq!(heard, [text("last words")]);
        assert_eq!(end, Heard::Close(4_321));
        assert_eq!(next(&closes), (fd, CloseReason::Server(4_321)));
        client.end();
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn a_connection_that_closes_is_established_no_more() {
    in_every_mode(|mode| {
        let server = LocalServer::start(telling(mode.builder()));
        let (client, fd) = join(&server);
        server.handle.disconnect(fd, 1_000, "").unwrap();
        // The client says nothing, so the connection stays for a while.
        until("the Close went out", || !server.handle.is_established(fd));
        assert!(server.handle.exists(fd));
        let refused = Err(PushError::NotEstablished(fd));
        assert_eq!(server.handle.push(fd, "x"), refused);
        assert_eq!(server.handle.disconnect(fd, 1_000, ""), refused);
        drop(client);
        until("it is gone", || !server.handle.exists(fd));
    });
}

#[test]
fn unknown_fds_and_codes_that_must_not_be_sent_are_refused() {
    in_every_mode(|mode| {
        let server = LocalServer::start(telling(mode.builder()));
        let (mut client, fd) = join(&server);
        let handle = &server.handle;
        for unknown in [Fd(0), Fd(1), Fd(fd.0 + 64), Fd(63), Fd(u64::MAX)] {
            let refused = Err(PushError::NotEstablished(unknown));
            assert_eq!(handle.push(unknown, "x"), refused);
            assert_eq!(handle.disconnect(unknown, 1_000, ""), refused);
            assert!(!handle.exists(unknown) && !handle.is_established(unknown));
            assert_eq!(handle.connection_info(unknown), None);
            let error = Err(BindError::NotEstablished(unknown));
            assert_eq!(handle.bind(unknown, "ann"), error);
            assert_eq!(handle.unbind(unknown), None);
            handle.subscribe(unknown, "tea");
            handle.unsubscribe(unknown, "tea");
        }
        for code in [0, 999, 1_004, 1_005, 1_006, 1_015, 2_999, 5_000] {
            let refused = Err(PushError::CloseCode(code));
            assert_eq!(handle.disconnect(fd, code, ""), refused);
        }
        client.echo("nothing happened");
        assert_eq!(server.stats().totals.topics, 0);
    });
}

#[test]
fn an_http_connection_exists_but_is_not_established() {
    in_every_mode(|mode| {
        let (sender, fds) = channel();
        let builder = mode
            .builder()
            .on_request(move |server, request, responder| {
                let refused = server.push(request.fd, "x");
                assert_eq!(refused, Err(PushError::NotEstablished(request.fd)));
                sender.send(request.fd).unwrap();
                responder.end("fine");
            });
        let server = LocalServer::start(builder);
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        assert_eq!(http.get("/").status, 200);
        let fd = next(&fds);
        assert!(server.handle.exists(fd) && !server.handle.is_established(fd));
        let info = server.handle.connection_info(fd).unwrap();
        assert!(!info.is_established);
        drop(http);
        until("it is gone", || !server.handle.exists(fd));
    });
}

#[test]
fn connection_info_says_who_where_and_since_when() {
    in_every_mode(|mode| {
        let before = SystemTime::now();
        let server = LocalServer::start(telling(mode.builder()));
        let (client, fd) = join(&server);
        server.handle.bind(fd, "ann").unwrap();
        let info = server.handle.connection_info(fd).unwrap();
        assert_eq!(info.fd, fd);
        assert_eq!(info.peer, client.local_address());
        assert!(info.is_established);
        assert!(before <= info.connected_at && info.connected_at <= SystemTime::now());
        assert_eq!(info.user.as_deref(), Some("ann"));
        assert!(info.reactor < mode.reactors);
        assert_eq!(info.worker.is_some(), mode.workers > 0);
        assert!(info.worker.unwrap_or(0) < mode.workers.max(1));
    });
}

#[test]
fn connections_are_listed_in_pages_without_a_gap_or_a_repeat() {
    in_every_mode(|mode| {
        let server = LocalServer::start(telling(mode.builder()));
        let joined: Vec<_> = (0..23).map(|_| join(&server)).collect();
        let mut fds: Vec<_> = joined.iter().map(|(_, fd)| *fd).collect();
        fds.sort();
        for size in [1, 7, 23, 100] {
            let (mut listed, mut after) = (Vec::new(), Fd(0));
            loop {
                let page = server.handle.connections(after, size);
                assert!(page.len() <= size);
                let Some(last) = page.last() else { break };
                after = *last;
                listed.extend(page);
            }
            assert_eq!(listed, fds, "pages of {size}");
        }
    });
}

#[test]
fn a_user_hears_on_all_connections_that_are_bound_and_on_no_other() {
    in_every_mode(|mode| {
        let server = LocalServer::start(telling(mode.builder()));
        let handle = &server.handle;
        let ((mut one, fd_one), (mut two, fd_two)) = (join(&server), join(&server));
        let (mut bob, fd_bob) = join(&server);
        handle.bind(fd_one, "ann").unwrap();
        handle.bind(fd_two, "ann").unwrap();
        handle.bind(fd_two, "ann").unwrap();
        handle.bind(fd_bob, "bob").unwrap();
        let bound = Err(BindError::BoundToAnother(fd_bob));
        assert_eq!(handle.bind(fd_bob, "ann"), bound);
        handle.push_to_user("ann", "for ann");
        handle.push_to_user("nobody", "for nobody");
        assert_eq!((one.hear(), two.hear()), (text("for ann"), text("for ann")));
        bob.echo("nothing for bob");

        assert_eq!(handle.unbind(fd_two).as_deref(), Some("ann"));
        assert_eq!(handle.unbind(fd_two), None);
        handle.push_to_user("ann", "for one");
        assert_eq!(one.hear(), text("for one"));
        two.echo("unbound");
        handle.bind(fd_two, "bob").unwrap();
        handle.push_to_user("bob", "for bob");
        assert_eq!((two.hear(), bob.hear()), (text("for bob"), text("for bob")));
    });
}

#[test]
fn a_topic_reaches_its_members_only_and_only_while_they_are() {
    in_every_mode(|mode| {
        let server = LocalServer::start(telling(mode.builder()));
        let handle = &server.handle;
        let ((mut ann, fd_ann), (mut bob, fd_bob)) = (join(&server), join(&server));
        handle.subscribe(fd_ann, "tea");
        handle.subscribe(fd_ann, "tea");
        handle.publish("tea", "one");
        handle.subscribe(fd_bob, "tea");
        handle.publish("tea", "two");
        handle.publish("coffee", "nobody hears");
        assert_eq!((ann.hear(), ann.hear()), (text("one"), text("two")));
        assert_eq!(bob.hear(), text("two"));
        handle.unsubscribe(fd_ann, "tea");
        handle.publish("tea", "three");
        assert_eq!(bob.hear(), text("three"));
        ann.echo("unsubscribed");
        drop((ann, bob));
        until_nothing_is_left(handle);
    });
}

#[test]
fn frames_first_come_before_anything_of_the_topic() {
    in_every_mode(|mode| {
        let stopped = Arc::new(AtomicBool::new(false));
        let builder = mode.builder().on_open(|server, request| {
            let history = [Message::text("history 1"), Message::text("history 2")];
            server.subscribe_after(request.fd, "tea", &history);
        });
        let server = LocalServer::start(builder);
        let publisher = {
            let (handle, stopped) = (server.handle.clone(), Arc::clone(&stopped));
            thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    handle.publish("tea", "live");
                    thread::yield_now();
                }
            })
        };
        for _ in 0..20 {
            let mut client = WebSocketClient::join(&server.handle);
            assert_eq!(client.hear(), text("history 1"));
            assert_eq!(client.hear(), text("history 2"));
            assert_eq!(client.hear(), text("live"));
        }
        stopped.store(true, Ordering::Relaxed);
        publisher.join().unwrap();
    });
}

#[test]
fn a_broadcast_reaches_every_websocket_and_no_http_connection() {
    in_every_mode(|mode| {
        let builder = telling(mode.builder()).on_request(|server, _, responder| {
            server.broadcast("to all");
            responder.end("sent");
        });
        let server = LocalServer::start(builder);
        let mut clients: Vec<_> = (0..10).map(|_| join(&server).0).collect();
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        assert_eq!(http.get("/").body, "sent");
        for client in &mut clients {
            assert_eq!(client.hear(), text("to all"));
        }
        assert_eq!(http.get("/").body, "sent");
    });
}

#[test]
fn a_tick_comes_again_and_again_until_it_is_cleared_and_after_comes_once() {
    in_every_mode(|mode| {
        let (sender, ticks) = channel();
        let (again, once) = (sender.clone(), sender);
        let server = LocalServer::start(mode.builder());
        let tick = server.handle.tick(5, move |_| again.send("tick").unwrap());
        for _ in 0..3 {
            assert_eq!(next(&ticks), "tick");
        }
        assert!(server.handle.clear(tick));
        assert!(!server.handle.clear(tick));
        let after = server.handle.after(1, move |_| once.send("after").unwrap());
        until("it came", || ticks.try_iter().any(|what| what == "after"));
        assert!(!server.handle.clear(after), "it has fired");
        let never = server.handle.after(3_600_000, |_| unreachable!());
        assert_eq!(server.stats().user_timers, 1);
        assert!(server.handle.clear(never));
        until_nothing_is_left(&server.handle);
        assert!(ticks.recv().is_err(), "nothing ticks any more");
    });
}

#[test]
fn timers_may_be_set_and_cleared_in_callbacks_also_before_any_event() {
    in_every_mode(|mode| {
        let (sender, events) = channel();
        let builder = mode.builder().on_worker_start(move |server, id| {
            let sender = sender.clone();
            let cleared = server.tick(1, |_| unreachable!("cleared at once"));
            server.after(2, move |server| {
                let sender = sender.clone();
                server.after(2, move |_| sender.send(id).unwrap());
            });
            assert!(server.clear(cleared));
        });
        let server = LocalServer::start(builder);
        let threads = if mode.workers == 0 {
            mode.reactors
        } else {
            mode.workers
        };
        let mut ids: Vec<_> = (0..threads).map(|_| next(&events)).collect();
        ids.sort();
        assert_eq!(ids, (0..threads).collect::<Vec<_>>());
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn a_panic_in_a_timer_ends_neither_the_timer_nor_the_worker() {
    in_every_mode(|mode| {
        let times = Arc::new(AtomicUsize::new(0));
        let server = LocalServer::start(telling(mode.builder()));
        let counted = Arc::clone(&times);
        server.handle.tick(1, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("told to");
        });
        until("it ticked thrice", || times.load(Ordering::Relaxed) >= 3);
        let (mut client, _) = join(&server);
        client.echo("alive");
    });
}

#[test]
fn a_late_command_finds_nobody_never_a_stranger() {
    const ROUNDS: usize = 400;
    in_every_mode(|mode| {
        let server = LocalServer::start(telling(mode.builder()));
        let handle = &server.handle;
        let mut gone: Vec<Fd> = Vec::new();
        for round in 0..ROUNDS {
            let (mut client, fd) = join(&server);
            assert!(!gone.contains(&fd), "{fd} came twice");
            // All at the one who left last: their slot is the newcomer's now, or soon.
            for &old in gone.iter().rev().take(3) {
                handle.push(old, "for a stranger").ok();
                handle.disconnect(old, 4_000, "a stranger").ok();
                handle.bind(old, "stranger").ok();
                handle.subscribe(old, "strangers");
            }
            handle.publish("strangers", "for strangers");
            handle.push_to_user("stranger", "for the stranger");
            if round % 8 == 0 {
                client.echo("nobody said anything else");
            }
            match round % 2 {
                0 => drop(client),
                _ => client.reset(),
            }
            gone.push(fd);
        }
        until_nothing_is_left(handle);
    });
}

#[test]
fn the_counters_count() {
    in_every_mode(|mode| {
        let builder = telling(mode.builder()).on_request(|_, _, responder| responder.end("x"));
        let server = LocalServer::start(builder);
        let (mut client, fd) = join(&server);
        for number in 0..10 {
            client.echo(&format!("{number}"));
        }
        server.handle.subscribe(fd, "tea");
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        http.get("/");
        until("what came shows", || {
            let totals = server.stats().totals;
            let now = (totals.websockets, totals.slots, totals.topics);
            let so_far = (totals.accepted, totals.messages_in, totals.requests);
            now == (1, 2, 1) && so_far == (2, 10, 1) && totals.subscriptions == 1
        });
        let stats = server.stats();
        assert_eq!(stats.reactors.len(), mode.reactors);
        assert_eq!(stats.workers.len(), mode.workers);
        assert_eq!(stats.mailboxes.len(), mode.reactors);
        let sum: u64 = stats.reactors.iter().map(|values| values.reads).sum();
        assert_eq!(stats.totals.reads, sum);
        assert!(stats.totals.bytes_in > 0 && stats.totals.bytes_out > 0);
        drop((client, http));
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn many_threads_use_the_handle_while_workers_run() {
    const THREADS: usize = 4;
    const EACH: usize = 300;
    with_workers(|mode| {
        let server = LocalServer::start(telling(mode.builder()));
        let mut joined: Vec<_> = (0..THREADS).map(|_| join(&server)).collect();
        let fds: Vec<_> = joined.iter().map(|(_, fd)| *fd).collect();
        thread::scope(|scope| {
            for (thread, &fd) in fds.iter().enumerate() {
                let handle = server.handle.clone();
                scope.spawn(move || {
                    handle.subscribe(fd, "all");
                    handle.bind(fd, "everyone").unwrap();
                    for number in 0..EACH {
                        handle.push(fd, &format!("{number}")).unwrap();
                        handle.publish("nobody", "x");
                        let topic = format!("{thread} {number}");
                        handle.subscribe(fd, topic.as_str());
                        handle.unsubscribe(fd, topic.as_str());
                        let timer = handle.after(3_600_000, |_| {});
                        assert!(handle.connections(Fd(0), 100).contains(&fd));
                        assert!(handle.connection_info(fd).is_some());
                        assert!(handle.clear(timer));
                    }
                });
            }
            for (client, _) in &mut joined {
                scope.spawn(move || {
                    for number in 0..EACH {
                        assert_eq!(client.hear_text(), format!("{number}"));
                    }
                    client.echo("done");
                });
            }
        });
        assert_eq!(server.stats().user_timers, 0);
        drop(joined);
        until_nothing_is_left(&server.handle);
    });
}
