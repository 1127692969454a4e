//! Readers that don't read, and handlers that don't return: who waits for whom, and who doesn't.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use tidings::server::{Builder, CloseReason, Fd, ServerSettings, Watermarks};

use crate::support::PATIENCE;
use crate::support::frame::frame;
use crate::support::server::{
    LocalServer, Mode, in_every_mode, until_nothing_is_left, with_one_reactor, with_workers,
};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// Much more than a narrow client's kernel and the server's take together: some megabytes stay in
/// the server's own send buffer.
const MUCH: usize = 12 << 20;

fn settings(change: impl FnOnce(&mut ServerSettings)) -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.reactor.stall_ms_max = 60_000;
    change(&mut settings);
    settings
}

fn echo(mode: Mode) -> Builder {
    mode.builder().on_message(|server, frame| {
        // One that was closed meanwhile gets nothing.
        server.push(frame.fd, frame).ok();
    })
}

/// Everyone hears `tea`.
fn room(mode: Mode) -> (Builder, Receiver<(Fd, CloseReason)>) {
    let (sender, closes) = channel();
    let builder = mode
        .builder()
        .on_open(|server, request| server.subscribe(request.fd, "tea"))
        .on_close(move |_, fd, reason| sender.send((fd, reason.clone())).unwrap());
    (builder, closes)
}

fn only(server: &LocalServer) -> Fd {
    server.handle.connections(Fd(0), 2)[0]
}

#[test]
fn who_does_not_read_what_is_published_is_closed_with_4008_and_the_others_miss_nothing() {
    const SIZE: usize = 60_000;
    in_every_mode(|mode| {
        let (builder, closes) = room(mode);
        let server = LocalServer::start(builder.settings(settings(|_| {})));
        let mut slow = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        until("it is there", || server.stats().totals.websockets == 1);
        let slow_fd = only(&server);
        let mut others: Vec<_> = (0..3)
            .map(|_| WebSocketClient::join(&server.handle))
            .collect();
        until("all are subscribed", || {
            server.stats().totals.subscriptions == 4
        });
        let mut published = 0;
        let evicted = loop {
            server.handle.publish("tea", &vec![published as u8; SIZE]);
            for other in &mut others {
                assert!(other.hear() == Heard::Binary(vec![published as u8; SIZE]));
            }
            published += 1;
            if let Ok(closed) = closes.try_recv() {
                break closed;
            }
            if published * SIZE > MUCH {
                // Its own reactor may be late.
                break next(&closes);
            }
        };
        assert_eq!(evicted, (slow_fd, CloseReason::SlowReader));
        assert_eq!(server.stats().totals.slow_readers, 1);

        // When it reads at last, it gets whole frames in order and is told why there are no more.
        let (heard, end) = slow.hear_all();
        assert_eq!(end, Heard::Close(4_008));
        assert!(heard.len() < published);
        for (number, heard) in heard.into_iter().enumerate() {
            assert!(heard == Heard::Binary(vec![number as u8; SIZE]), "{number}");
        }
        server.handle.publish("tea", "still here");
        for other in &mut others {
            assert_eq!(other.hear_text(), "still here");
        }
        drop((slow, others));
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn one_message_may_be_larger_than_the_bound_and_the_next_may_not() {
    in_every_mode(|mode| {
        let (builder, closes) = room(mode);
        let small = settings(|settings| settings.reactor.outbox_bytes_max = 100_000);
        let server = LocalServer::start(builder.settings(small));
        let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        until("it is there", || server.stats().totals.subscriptions == 1);
        let fd = only(&server);
        server.handle.push(fd, &vec![1; MUCH]).unwrap();
        until("it waits", || server.stats().totals.backlogged == 1);
        assert!(client.hear() == Heard::Binary(vec![1; MUCH]));
        until("it waits no more", || server.stats().outbox_bytes == 0);

        server.handle.publish("tea", &vec![2; MUCH]);
        until("it waits", || server.stats().totals.backlogged == 1);
        server.handle.push(fd, "one more").unwrap();
        assert_eq!(next(&closes), (fd, CloseReason::SlowReader));
        let (heard, end) = client.hear_all();
        assert!(
            heard == [Heard::Binary(vec![2; MUCH])],
            "begun, so finished"
        );
        assert_eq!(end, Heard::Close(4_008));
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

/// Says all of it from a thread of its own, as fast as the server takes it.
fn say_much(client: &mut WebSocketClient, message: &[u8], times: usize) -> JoinHandle<()> {
    let mut stream = client.stream().try_clone().unwrap();
    let bytes = frame(0x82, message);
    thread::spawn(move || {
        for _ in 0..times {
            stream.write_all(&bytes).unwrap();
        }
    })
}

const MESSAGE: [u8; 10_000] = [9; 10_000];

#[track_caller]
fn hear_much(client: &mut WebSocketClient, times: usize) {
    for number in 0..times {
        assert!(
            client.hear() == Heard::Binary(MESSAGE.to_vec()),
            "{number} of {times}"
        );
    }
}

#[test]
fn who_asks_much_and_does_not_read_is_not_read_from_and_loses_nothing() {
    const TIMES: usize = MUCH / MESSAGE.len();
    in_every_mode(|mode| {
        let server = LocalServer::start(echo(mode).settings(settings(|_| {})));
        let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        let saying = say_much(&mut client, &MESSAGE, TIMES);
        until("it is paused", || server.stats().totals.paused == 1);
        let stats = server.stats();
        assert!(
            stats.outbox_bytes <= 1 << 20,
            "{} bytes",
            stats.outbox_bytes
        );
        hear_much(&mut client, TIMES);
        saying.join().unwrap();
        client.echo("read from again");
        let totals = server.stats().totals;
        assert_eq!((totals.paused, totals.slow_readers), (0, 0));
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn who_asks_much_and_never_reads_is_closed_for_the_stall_and_told_so() {
    in_every_mode(|mode| {
        let (sender, closes) = channel();
        let builder = echo(mode).on_close(move |_, _, reason| sender.send(reason.clone()).unwrap());
        let short = settings(|settings| settings.reactor.stall_ms_max = 200);
        let server = LocalServer::start(builder.settings(short));
        let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        let bytes = frame(0x82, &MESSAGE).repeat(MUCH / MESSAGE.len());
        client.pour(&bytes);
        assert_eq!(next(&closes), CloseReason::SlowReader);
        // The socket stays for a while, so that the Close gets through.
        let (_, end) = client.hear_all();
        assert_eq!(end, Heard::Close(4_008));
        drop(client);
        until_nothing_is_left(&server.handle);
    });
}

/// Over the budget of the whole server those go whom most waits for; the others stay.
#[test]
fn over_the_budget_of_the_server_the_slowest_reader_goes_first() {
    with_one_reactor(|mode| {
        let (builder, closes) = room(mode);
        let tight = settings(|settings| {
            settings.reactor.outbox_bytes_max = usize::MAX;
            settings.outbox_bytes_total_max = 2 * MUCH + MUCH / 4;
        });
        let server = LocalServer::start(builder.settings(tight));
        let mut clients: Vec<_> = (0..3)
            .map(|_| WebSocketClient::connect_narrow(server.handle.addresses()[0], "/"))
            .collect();
        until("they are there", || {
            server.stats().totals.subscriptions == 3
        });
        let fds = server.handle.connections(Fd(0), 3);
        let push = |number: usize, size: usize| {
            server.handle.push(fds[number], &vec![0; size]).unwrap();
        };
        push(0, MUCH / 2);
        push(1, MUCH);
        push(2, MUCH / 2 + 100_000);
        until("all wait", || server.stats().totals.backlogged == 3);
        assert!(closes.try_recv().is_err());
        push(0, 100);
        push(2, MUCH / 3);
        assert_eq!(next(&closes), (fds[1], CloseReason::SlowReader));
        assert!(clients[0].hear() == Heard::Binary(vec![0; MUCH / 2]));
        assert!(clients[2].hear() == Heard::Binary(vec![0; MUCH / 2 + 100_000]));
        assert!(clients[2].hear() == Heard::Binary(vec![0; MUCH / 3]));
        assert_eq!(server.stats().totals.slow_readers, 1);
        drop(clients);
        until_nothing_is_left(&server.handle);
    });
}

/// A handler that stops at the message `wait` until it is let through, and echoes everything.
struct Gated {
    server: LocalServer,
    is_reached: Receiver<()>,
    open: Sender<()>,
}

impl Gated {
    fn start(mode: Mode, settings: ServerSettings) -> Self {
        let (reached, is_reached) = channel();
        let (open, is_open) = channel();
        let is_open = Mutex::new(is_open);
        let builder = mode.builder().on_message(move |server, frame| {
            if frame.text() == Some("wait") {
                reached.send(()).unwrap();
                is_open.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            server.push(frame.fd, frame).ok();
        });
        Self {
            server: LocalServer::start(builder.settings(settings)),
            is_reached,
            open,
        }
    }

    /// Has the worker of this client wait.
    fn block(&self, client: &mut WebSocketClient) {
        client.say("wait");
        next(&self.is_reached);
    }

    fn release(&self) {
        self.open.send(()).unwrap();
    }
}

fn queue_bytes_peak(server: &LocalServer) -> usize {
    let peaks = server
        .stats()
        .workers
        .into_iter()
        .map(|queue| queue.bytes_peak);
    peaks.max().unwrap_or(0)
}

#[test]
fn answers_to_its_own_messages_never_close_a_peer_however_late_they_come() {
    const TIMES: usize = MUCH / MESSAGE.len();
    with_workers(|mode| {
        let gated = Gated::start(mode, settings(|_| {}));
        let mut client = WebSocketClient::connect_narrow(gated.server.handle.addresses()[0], "/");
        gated.block(&mut client);
        let saying = say_much(&mut client, &MESSAGE, TIMES);
        until("it isn't read from", || {
            gated.server.stats().totals.held == 1
        });
        // A pause and a turn's reading, and nothing near the marks of the queue.
        let peak = queue_bytes_peak(&gated.server);
        assert!(peak < 512 * 1024, "{peak} bytes wait for the worker");
        gated.release();
        until("it is paused for its outbox", || {
            gated.server.stats().totals.paused == 1
        });
        assert_eq!(client.hear_text(), "wait");
        hear_much(&mut client, TIMES);
        saying.join().unwrap();
        assert_eq!(gated.server.stats().totals.slow_readers, 0);
    });
}

#[test]
fn a_worker_that_blocks_stops_the_reading_for_it_and_loses_nothing() {
    const CLIENTS: usize = 4;
    const TIMES: usize = 200;
    with_workers(|mode| {
        let tight = settings(|settings| {
            settings.worker_queue = Watermarks {
                items_high: 1_000_000,
                items_low: 0,
                bytes_high: 200_000,
                bytes_low: 50_000,
            };
        });
        let gated = Gated::start(mode, tight);
        let handle = &gated.server.handle;
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|_| WebSocketClient::join(handle))
            .collect();
        until("all are there", || {
            gated.server.stats().totals.websockets == CLIENTS as u64
        });
        // Accepted one after the other, so in the order of their serials on each reactor.
        let worker_of = |client: &WebSocketClient| {
            let fds = handle.connections(Fd(0), CLIENTS);
            let infos = fds.iter().filter_map(|fd| handle.connection_info(*fd));
            let mut own = infos.filter(|info| info.peer == client.local_address());
            own.next().unwrap().worker.unwrap()
        };
        let blocked = worker_of(&clients[0]);
        let (mut stopped, mut free): (Vec<_>, Vec<_>) = clients
            .drain(..)
            .partition(|client| worker_of(client) == blocked);
        gated.block(&mut stopped[0]);
        let saying: Vec<_> = stopped
            .iter_mut()
            .map(|client| say_much(client, &MESSAGE, TIMES))
            .collect();
        until("the queue is above its mark", || {
            gated.server.stats().workers[blocked].is_high
        });
        for client in &mut free {
            client.echo("the others go on");
        }
        // The mark, and one turn's reading of each.
        let most = 200_000 + stopped.len() * (64 * 1024 + 10_000) + 10_000;
        let peak = queue_bytes_peak(&gated.server);
        assert!(peak <= most, "{peak} bytes wait, {most} may");
        gated.release();
        assert_eq!(stopped[0].hear_text(), "wait");
        for client in &mut stopped {
            hear_much(client, TIMES);
            client.echo("read from again");
        }
        for saying in saying {
            saying.join().unwrap();
        }
        let peak = queue_bytes_peak(&gated.server);
        assert!(peak <= most, "{peak} bytes waited, {most} may");
        drop((stopped, free));
        until_nothing_is_left(handle);
    });
}

/// Marks that anything at all presses.
const FULL_WITH_ONE: Watermarks = Watermarks {
    items_high: 0,
    items_low: 0,
    bytes_high: 0,
    bytes_low: 0,
};

#[test]
fn whoever_waited_for_a_full_queue_is_read_when_it_is_empty_without_another_event() {
    const CLIENTS: usize = 5;
    const ROUNDS: usize = 200;
    in_every_mode(|mode| {
        let tiny = settings(|settings| {
            settings.worker_queue = FULL_WITH_ONE;
            settings.mailbox = FULL_WITH_ONE;
        });
        let server = LocalServer::start(echo(mode).settings(tiny));
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|_| WebSocketClient::join(&server.handle))
            .collect();
        for round in 0..ROUNDS {
            for client in &mut clients {
                client.say(format!("{round}"));
            }
            // Nobody says anything before all have heard, so nothing wakes the server by chance.
            for client in &mut clients {
                assert_eq!(client.hear_text(), format!("{round}"));
            }
        }
    });
}

#[test]
fn with_the_smallest_marks_and_both_ways_full_everything_still_arrives() {
    const CLIENTS: usize = 6;
    const TIMES: usize = 150;
    in_every_mode(|mode| {
        let tiny = settings(|settings| {
            settings.worker_queue = FULL_WITH_ONE;
            settings.mailbox = FULL_WITH_ONE;
            settings.reactor.outbox_pause_bytes = 1_000;
            settings.reactor.read_bytes_max = 4_096;
        });
        let server = LocalServer::start(echo(mode).settings(tiny));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
                thread::spawn(move || {
                    let saying = say_much(&mut client, &MESSAGE, TIMES);
                    hear_much(&mut client, TIMES);
                    saying.join().unwrap();
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        assert_eq!(server.stats().totals.slow_readers, 0);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn a_blocked_worker_does_not_cost_its_peers_their_heartbeat() {
    with_workers(|mode| {
        let quick = settings(|settings| {
            settings.reactor.connection.ping_ms = 50;
            settings.reactor.connection.pong_ms_max = 50;
            settings.worker_queue.items_high = 0;
            settings.worker_queue.items_low = 0;
        });
        let gated = Gated::start(mode, quick);
        let mut client = WebSocketClient::join(&gated.server.handle);
        gated.block(&mut client);
        client.say("unread");
        until("it isn't read from", || {
            gated.server.stats().totals.held == 1
        });
        // Many times what a silent peer is given.
        let until_ms = gated.server.stats().uptime_ms + 300;
        until("time goes by", || gated.server.stats().uptime_ms > until_ms);
        assert_eq!(gated.server.stats().totals.ping_timeouts, 0);
        gated.release();
        assert_eq!(client.hear_text(), "wait");
        assert_eq!(client.hear_text(), "unread");
    });
}
