//! Turns on a worker, or on a reactor without workers: who asks for much gets all of it, and nobody else waits for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tidings::server::{CloseReason, Fd, ServerSettings};

use crate::support::frame::frame;
use crate::support::http::HttpClient;
use crate::support::server::{LocalServer, Mode, in_every_mode, until_nothing_is_left};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// An answer that is much more than its question.
const PAGE: usize = 200_000;

const PAGES: usize = 64;

fn patient() -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.reactor.stall_ms_max = 60_000;
    settings
}

fn hear_pages(client: &mut WebSocketClient) {
    for number in 0..PAGES {
        let Heard::Binary(page) = client.hear() else {
            panic!("page {number} was to come");
        };
        assert_eq!((page.len(), page[0]), (PAGE, number as u8));
    }
}

/// Has the client's answers wait for a while, and gives the most bytes that did.
fn most_waiting(server: &LocalServer, client: &mut WebSocketClient) -> usize {
    until("it waits", || server.stats().totals.backlogged == 1);
    let mut other = WebSocketClient::join(&server.handle);
    let most = (0..50).map(|_| {
        // Each shows that the workers and reactors went on in between.
        other.echo("how are you");
        server.stats().outbox_bytes
    });
    let most = most.max().unwrap();
    hear_pages(client);
    client.echo("and more");
    most
}

#[test]
fn who_asks_for_much_in_many_messages_and_reads_late_gets_all_of_it() {
    in_every_mode(|mode| {
        let builder = mode.builder().on_message(|server, frame| {
            match frame.text() {
                Some(_) => server.push(frame.fd, frame).ok(),
                None => server.push(frame.fd, &vec![frame.data[0]; PAGE]).ok(),
            };
        });
        let server = LocalServer::start(builder.settings(patient()));
        let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        let questions = (0..PAGES).flat_map(|number| frame(0x82, &[number as u8]));
        let questions: Vec<u8> = questions.collect();
        assert_eq!(client.pour(&questions), questions.len());
        let most = most_waiting(&server, &mut client);
        assert!(most < 1 << 20, "{most} bytes");
        assert_eq!(server.stats().totals.slow_readers, 0);
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

/// Answers a binary message, byte by byte, with a page each, and stops when it should.
fn in_parts(mode: Mode) -> LocalServer {
    let builder = mode.builder().on_message(|server, frame| {
        if frame.text().is_some() {
            server.push(frame.fd, frame).ok();
            return;
        }
        for (number, part) in frame.data.iter().enumerate().skip(frame.parts as usize) {
            server.push(frame.fd, &vec![*part; PAGE]).ok();
            if number + 1 < frame.data.len() && server.must_stop(frame.fd) {
                return server.stop_at(number as u32 + 1);
            }
        }
    });
    LocalServer::start(builder.settings(patient()))
}

#[test]
fn who_asks_for_much_in_one_message_and_reads_late_gets_all_of_it_before_what_follows() {
    in_every_mode(|mode| {
        let server = in_parts(mode);
        let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        let parts: Vec<u8> = (0..PAGES as u8).collect();
        client.say_bytes(&parts);
        let most = most_waiting(&server, &mut client);
        assert!(most < 1 << 20, "{most} bytes");
        assert_eq!(server.stats().totals.slow_readers, 0);
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn who_asks_for_much_and_never_reads_is_closed_for_the_stall() {
    in_every_mode(|mode| {
        let (sender, closes) = channel();
        let mut short = patient();
        short.reactor.stall_ms_max = 200;
        let builder = mode
            .builder()
            .on_message(|server, frame| {
                server.push(frame.fd, &vec![0; PAGE]).ok();
            })
            .on_close(move |_, _, reason| sender.send(reason.clone()).unwrap());
        let server = LocalServer::start(builder.settings(short));
        let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        client.pour(&frame(0x82, b"?").repeat(1_000));
        assert_eq!(next(&closes), CloseReason::SlowReader);
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

/// One thread for the callbacks: a worker, or the reactor.
fn on_one_thread(test: impl Fn(Mode)) {
    for workers in [0, 1] {
        println!("with {workers} workers");
        test(Mode {
            workers,
            reactors: 1,
        });
    }
}

/// A server whose handler needs a while for each message, and counts them; the text of a message is
/// echoed.
fn laborious(
    mode: Mode,
    handled: &Arc<AtomicUsize>,
    closed: impl Fn(usize) + Send + Sync + 'static,
) -> LocalServer {
    const WORK: Duration = Duration::from_micros(500);
    let (count, at_close) = (Arc::clone(handled), Arc::clone(handled));
    let builder = mode
        .builder()
        .on_message(move |server, frame| {
            if frame.text().is_none() {
                let began = Instant::now();
                while began.elapsed() < WORK {}
                count.fetch_add(1, Ordering::SeqCst);
            }
            server.push(frame.fd, frame).ok();
        })
        .on_close(move |_, _, _| closed(at_close.load(Ordering::SeqCst)));
    // One that isn't heard yet doesn't answer pings either.
    let mut settings = patient();
    settings.reactor.connection.ping_ms = 0;
    LocalServer::start(builder.settings(settings))
}

#[test]
fn nobody_waits_until_another_has_had_everything_it_asked_for() {
    const HOGS: usize = 10;
    const EACH: usize = 300;
    on_one_thread(|mode| {
        let handled = Arc::new(AtomicUsize::new(0));
        let server = laborious(mode, &handled, |_| {});
        let mut victim = WebSocketClient::join(&server.handle);
        victim.echo("alone");
        let mut hogs: Vec<_> = (0..HOGS)
            .map(|_| WebSocketClient::join(&server.handle))
            .collect();
        for hog in &mut hogs {
            hog.pour(&frame(0x82, b"work").repeat(EACH));
        }
        until("they work", || handled.load(Ordering::SeqCst) > HOGS * 3);
        let mut most = 0;
        for _ in 0..20 {
            let before = handled.load(Ordering::SeqCst);
            victim.echo("beside them");
            most = most.max(handled.load(Ordering::SeqCst) - before);
        }
        assert!(
            handled.load(Ordering::SeqCst) < HOGS * EACH,
            "they were done"
        );
        // A turn of one of them has a few messages; all that they sent had thousands.
        assert!(most < 100, "{most} messages of others went before");
        let waiting = server.stats().postponed;
        assert!(waiting.items > HOGS && waiting.bytes > waiting.items * 4);
        for hog in &mut hogs {
            for number in 0..EACH {
                assert_eq!(hog.hear(), Heard::Binary(b"work".into()), "{number}");
            }
        }
        let none = server.stats().postponed;
        assert_eq!((none.items, none.bytes), (0, 0));
        assert!(none.items_peak >= waiting.items && none.bytes_peak >= waiting.bytes);
    });
}

#[test]
fn what_a_connection_said_before_its_end_is_handled_before_its_end() {
    const EACH: usize = 300;
    on_one_thread(|mode| {
        let handled = Arc::new(AtomicUsize::new(0));
        let (sender, closes) = channel();
        let server = laborious(mode, &handled, move |count| sender.send(count).unwrap());
        let mut client = WebSocketClient::join(&server.handle);
        client.pour(&frame(0x82, b"work").repeat(EACH));
        assert_eq!(client.close(1000, ""), Heard::Close(1000));
        assert_eq!(next(&closes), EACH);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn what_waits_for_its_turn_is_handled_before_a_stop_is_over() {
    const EACH: usize = 300;
    on_one_thread(|mode| {
        let handled = Arc::new(AtomicUsize::new(0));
        let server = laborious(mode, &handled, |_| {});
        let mut client = WebSocketClient::join(&server.handle);
        client.pour(&frame(0x82, b"work").repeat(EACH));
        until("it works", || handled.load(Ordering::SeqCst) > 3);
        assert!(server.stop().is_clean());
        assert_eq!(handled.load(Ordering::SeqCst), EACH);
        let (heard, end) = client.hear_all();
        assert_eq!((heard.len(), end), (EACH, Heard::Close(1001)));
    });
}

#[test]
fn what_waits_for_its_turn_is_handled_also_where_a_stop_cuts_its_connection() {
    const EACH: usize = 50;
    on_one_thread(|mode| {
        let handled = Arc::new(AtomicUsize::new(0));
        let (sender, closes) = channel();
        let (count, at_close) = (Arc::clone(&handled), Arc::clone(&handled));
        let mut settings = patient();
        settings.stop_ms_max = 300;
        let builder = mode
            .builder()
            .on_message(move |server, frame| {
                count.fetch_add(1, Ordering::SeqCst);
                server.push(frame.fd, &vec![0; PAGE]).ok();
            })
            .on_close(move |_, _, _| sender.send(at_close.load(Ordering::SeqCst)).unwrap());
        let server = LocalServer::start(builder.settings(settings));
        let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        client.pour(&frame(0x82, b"page").repeat(EACH));
        until("it waits", || server.stats().postponed.items > EACH / 4);
        assert_eq!(server.stop().connections_cut, 1);
        assert_eq!(next(&closes), EACH);
        drop(client);
    });
}

#[test]
fn more_connections_than_are_accepted_in_a_turn_are_all_accepted() {
    const CONNECTIONS: usize = 600;
    let mode = Mode {
        workers: 0,
        reactors: 1,
    };
    let (release, released) = channel::<()>();
    let released = std::sync::Mutex::new(released);
    let builder = mode.builder().on_request(move |_, _, responder| {
        // The reactor does nothing else until all have connected.
        released.lock().unwrap().recv().ok();
        responder.end("here");
    });
    // None of their deadlines wakes the reactor while the test runs.
    let mut settings = patient();
    settings.reactor.connection.head_ms_max = 120_000;
    let server = LocalServer::start(builder.settings(settings));
    let connect = || HttpClient::connect(server.handle.addresses()[0]);
    let mut first = connect();
    first.send_get("/");
    until("it waits", || server.stats().totals.requests == 1);
    let others: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    drop(release);
    assert_eq!(first.answer().unwrap().body, "here");
    until("all are accepted", || {
        server.stats().totals.accepted == 1 + CONNECTIONS as u64
    });
    drop((first, others));
    until_nothing_is_left(&server.handle);
}

#[test]
fn over_the_bound_of_what_waits_those_with_the_most_go_and_the_others_go_on() {
    /// Each sends some 60 KiB and more that wait, of the 1 MiB that may at the least.
    const LARGE: usize = 40;
    const SMALL: usize = 100;
    on_one_thread(|mode| {
        let (sender, closes) = channel();
        let mut settings = patient();
        settings.worker_queue.bytes_high = 0;
        let builder = mode
            .builder()
            .on_message(|server, frame| {
                server.push(frame.fd, &vec![frame.data[0]; PAGE]).ok();
            })
            .on_close(move |_, fd, reason| sender.send((fd, reason.clone())).unwrap());
        let server = LocalServer::start(builder.settings(settings));
        let connect = || WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        let mut small = connect();
        small.pour(&frame(0x82, b"a").repeat(SMALL));
        until("it waits", || server.stats().postponed.items > SMALL / 2);
        let small_fd = server.handle.connections(Fd(0), 1)[0];
        let large: Vec<_> = (0..LARGE)
            .map(|_| {
                let mut client = connect();
                client.pour(&frame(0x82, &[0; 5_000]).repeat(60));
                client
            })
            .collect();
        until("too much waits", || server.stats().postponed_refused > 0);
        for _ in 0..SMALL {
            assert!(small.hear() == Heard::Binary(vec![b'a'; PAGE]));
        }
        drop(large);
        for _ in 0..LARGE {
            assert_ne!(next(&closes).0, small_fd);
        }
        let refused = server.stats().postponed_refused as usize;
        assert!(refused < LARGE, "what goes makes room for the others");
        drop(small);
        until_nothing_is_left(&server.handle);
    });
}
