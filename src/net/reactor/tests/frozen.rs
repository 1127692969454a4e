//! What comes up while a reactor is frozen is told to nobody there, and once by the one that goes on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::super::{Reactor, ReactorLimits};
use super::bench::{Bench, EchoSink};
use super::handed_outboxes::narrow;
use super::handover::{adopted, answer, request};
use crate::net::command::{AwaitedBy, Command};
use crate::net::freeze::FreezeOrder;
use crate::net::slots::SlotPhase;
use crate::proto::connection::CloseReason;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The number of the freeze.
const FREEZE: u64 = 7;

/// Freezes the reactor, up to the hush.
fn hush(bench: &mut Bench) {
    order(bench, FreezeOrder::Hush);
    bench.turn();
    assert!(bench.reactor.is_hushed());
}

/// Freezes the hushed reactor, and goes on with another one.
fn hand_over(bench: &mut Bench) {
    order(bench, FreezeOrder::Rest);
    bench.turn();
    order(bench, FreezeOrder::Still);
    bench.turn();
    assert_eq!(bench.reactor.stands_still(), Some(FREEZE));
    bench.hand_over();
}

fn order(bench: &Bench, order: FreezeOrder) {
    bench.command(Command::Freeze {
        number: FREEZE,
        order,
    });
}

fn events(reactor: &Reactor<EchoSink>) -> usize {
    let sink = reactor.sink();
    sink.opened.len() + sink.closed.len() + sink.requests.len() + sink.emptied.len() + sink.heard
}

#[test]
fn the_next_request_of_a_pipeline_comes_up_with_the_one_that_goes_on() {
    let mut limits = ReactorLimits::default();
    limits.connection.pipeline_requests_max = 1;
    let mut bench = Bench::with(limits, 0);
    let mut socket = bench.connect_http();
    request(&mut bench, &mut socket, GET.repeat(3).as_bytes());
    assert_eq!(bench.reactor.sink().requests.len(), 1);
    hush(&mut bench);
    answer(&bench, 0, "one");
    bench.turn();
    assert_eq!(bench.reactor.sink().requests.len(), 1, "it waits");
    hand_over(&mut bench);
    adopted(&mut bench);
    assert_eq!(bench.reactor.sink().requests.len(), 2);
    answer(&bench, 1, "two");
    bench.turn_until(|bench| bench.reactor.sink().requests.len() == 3);
    answer(&bench, 2, "three");
    bench.turn();
    read_until(&mut socket, "three");
}

#[test]
fn an_upgrade_behind_an_answer_opens_with_the_one_that_goes_on() {
    let mut bench = Bench::new();
    let mut socket = bench.connect_http();
    let stream = [GET.as_bytes(), UPGRADE.as_bytes(), b"\x81\x82\0\0\0\0hi"].concat();
    request(&mut bench, &mut socket, &stream);
    hush(&mut bench);
    answer(&bench, 0, "one");
    bench.turn();
    assert_eq!(bench.reactor.sink().opened, []);
    hand_over(&mut bench);
    bench.turn_until(|bench| bench.reactor.sink().heard == 1);
    assert_eq!(bench.reactor.sink().opened.len(), 1);
    read_until(&mut socket, "\u{2}hi");
}

#[test]
fn what_fails_grows_and_empties_in_a_freeze_is_told_once_afterwards() {
    let limits = ReactorLimits {
        outbox_bytes_max: 400_000,
        ..ReactorLimits::default()
    };
    let mut bench = Bench::with(limits, 0);
    let mut peers = bench.open(4);
    narrow(&bench);
    let [reset, full, emptied, ended] = [0, 1, 2, 3].map(|at: usize| peers[at].fd);
    for fd in [full, emptied] {
        bench.push(fd, &"1".repeat(3_000_000));
    }
    bench.command(Command::AwaitBuffer {
        fd: emptied,
        bytes_max: 0,
        by: AwaitedBy::Worker,
    });
    bench.turn();
    hush(&mut bench);
    let before = events(&bench.reactor);
    let socket = peers[0].socket.get_ref();
    SockRef::from(socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    ended_by(peers[3].socket.get_ref());
    peers.swap_remove(0);
    for _ in 0..20 {
        bench.push(reset, "nobody reads this");
        bench.turn();
    }
    bench.push(full, &"2".repeat(400_000));
    bench.push(full, &"3".repeat(400_000));
    bench.turn();
    let mut heard = vec![0; 3_000_010];
    let reader = peers.iter_mut().find(|peer| peer.fd == emptied).unwrap();
    reader.socket.get_ref().set_nonblocking(true).unwrap();
    let mut size = 0;
    while size < heard.len() {
        bench.nudge();
        bench.turn();
        size += reader.socket.read(&mut heard[size..]).unwrap_or(0);
    }
    bench.nudge();
    bench.turn();
    assert_eq!(events(&bench.reactor), before, "nothing is told");
    hand_over(&mut bench);
    assert_eq!(events(&bench.reactor), before, "nor here");
    bench.turn_until(|bench| bench.reactor.sink().closed.len() == 3);
    adopted(&mut bench);
    bench.turn_until(|bench| !bench.reactor.sink().emptied.is_empty());
    let sink = bench.reactor.sink();
    assert_eq!(sink.emptied, [(emptied, AwaitedBy::Worker)]);
    let mut closed: Vec<_> = sink.closed.iter().zip(&sink.reasons).collect();
    closed.sort_by_key(|(fd, _)| **fd);
    let lost = CloseReason::Lost;
    let expected = [
        (&reset, &lost),
        (&full, &CloseReason::SlowReader),
        (&ended, &lost),
    ];
    assert_eq!(closed, expected);
}

fn ended_by(socket: &TcpStream) {
    socket.shutdown(Shutdown::Write).unwrap();
}

#[test]
fn one_whose_last_bytes_leave_in_a_freeze_is_waited_for_afterwards() {
    const SIZE: usize = 3_000_000;
    let mut bench = Bench::new();
    let mut peer = bench.open(1).remove(0);
    narrow(&bench);
    bench.push(peer.fd, &"1".repeat(SIZE));
    bench.turn();
    let socket = peer.socket.get_mut();
    socket.write_all(b"\x88\x80\0\0\0\0").unwrap();
    bench.turn_until(|bench| bench.reactor.slots[0].phase == SlotPhase::Flushing);
    hush(&mut bench);
    socket.set_nonblocking(true).unwrap();
    let (mut buffer, mut size) = (vec![0; SIZE], 0);
    while size < SIZE + 10 + 2 {
        bench.nudge();
        bench.turn();
        size += socket.read(&mut buffer).unwrap_or(0);
    }
    bench.nudge();
    bench.turn();
    assert!(bench.reactor.slots[0].outbox.is_empty());
    assert_eq!(bench.reactor.slots[0].phase, SlotPhase::Lingering);
    hand_over(&mut bench);
    adopted(&mut bench);
    socket.set_nonblocking(false).unwrap();
    assert_eq!(socket.read(&mut buffer).unwrap(), 0, "the end");
    drop(peer);
    bench.turn_until(|bench| bench.reactor.slots.is_empty());
}

#[test]
fn a_freeze_that_is_taken_back_leaves_all_as_it_was() {
    let mut bench = Bench::new();
    let mut peer = bench.open(1).remove(0);
    hush(&mut bench);
    peer.say("hello");
    order(&bench, FreezeOrder::Still);
    bench.turn();
    let written = bench.written();
    assert!(written.reactor.size() > 0);
    bench.reactor.leave_stand();
    order(&bench, FreezeOrder::Thaw);
    bench.turn_until(|bench| bench.reactor.sink().heard == 1);
    assert_eq!(peer.hear(), "hello");
}

#[test]
fn one_that_has_not_adopted_all_may_be_frozen_again() {
    const MANY: usize = 1_500;
    let mut bench = Bench::new();
    let mut peers = bench.open(MANY);
    hush(&mut bench);
    hand_over(&mut bench);
    // Some are watched, the others aren't.
    bench.turn();
    assert!(bench.reactor.is_adopting());
    hush(&mut bench);
    assert!(bench.reactor.is_adopting());
    hand_over(&mut bench);
    for peer in &mut peers {
        peer.socket
            .get_mut()
            .write_all(b"\x81\x82\0\0\0\0hi")
            .unwrap();
    }
    bench.turn_until(|bench| bench.reactor.sink().heard == MANY);
    for peer in &mut peers {
        assert_eq!(peer.hear(), "hi");
    }
}

fn read_until(socket: &mut TcpStream, end: &str) {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        let mut buffer = [0; 4_096];
        let size = socket.read(&mut buffer).unwrap();
        assert!(size > 0, "{:?}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&buffer[..size]);
    }
}
