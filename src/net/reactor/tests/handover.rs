//! Connections go on with another reactor as if nothing had happened.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::super::adopt::Adoption;
use super::super::time::Clock;
use super::super::{Reactor, ReactorHandover, ReactorLimits};
use super::bench::{Bench, Peer, frame};
use crate::base::{Fd, Tick};
use crate::net::budget::ByteBudget;
use crate::net::command::Command;
use crate::net::frame_table::HandedFrames;
use crate::net::outbox::Content;
use crate::net::slots::{ReadState, SlotPhase};
use crate::proto::connection::CloseReason;
use crate::proto::http::Response;

/// Bytes of an idle connection in the section of a reactor: half of what a whole handover may take.
const IDLE_BYTES_MAX: usize = 110;

pub(super) fn subscribe(bench: &Bench, fd: Fd, topic: &str) {
    bench.command(Command::Subscribe {
        fd,
        topic: topic.into(),
        frames_first: bytes::Bytes::new(),
    });
}

/// Members of a room who are known by name, each with a topic of its own.
fn crowd(bench: &mut Bench, count: usize) -> Vec<Peer> {
    let peers = bench.open_members("a room", count);
    for (number, peer) in peers.iter().enumerate() {
        let user: Arc<str> = format!("user-{number:05}").into();
        bench.reactor.shared.directory.bind(peer.fd, &user).unwrap();
        subscribe(bench, peer.fd, &format!("@{user}"));
        subscribe(bench, peer.fd, "*");
    }
    bench.turn_until(|bench| bench.reactor.topics.memberships() == 3 * count);
    peers
}

fn expect_echo(bench: &mut Bench, peer: &mut Peer, text: &str) {
    let before = bench.reactor.sink().heard;
    peer.say(text);
    bench.turn_until(|bench| bench.reactor.sink().heard > before);
    assert_eq!(peer.hear(), text);
}

pub(super) fn adopted(bench: &mut Bench) {
    while bench.reactor.is_adopting() {
        bench.nudge();
        bench.turn();
    }
}

#[test]
fn a_crowd_goes_on_with_its_names_topics_and_counts_and_costs_few_bytes() {
    const MANY: usize = 300;
    let mut bench = Bench::new();
    let mut peers = crowd(&mut bench, MANY);
    let size = bench.written().reactor.size();
    // The name of each user stands there twice.
    assert!(size <= MANY * IDLE_BYTES_MAX, "{} each", size / MANY);
    let counters = Arc::clone(&bench.reactor.shared.counters);
    bench.hand_over();
    let now = &bench.reactor.shared.counters;
    assert_eq!(now.accepted.get(), counters.accepted.get());
    assert_eq!(now.bytes_in.get(), counters.bytes_in.get());
    assert_eq!(now.websockets.get(), MANY as u64);
    assert_eq!(now.subscriptions.get(), 3 * MANY as u64);
    let directory = Arc::clone(&bench.reactor.shared.directory);
    for (number, peer) in peers.iter().enumerate() {
        let entry = directory.find(peer.fd).unwrap();
        let user = format!("user-{number:05}");
        assert_eq!(entry.user.as_deref(), Some(&*user));
        assert!(entry.established);
        let address = peer.socket.get_ref().local_addr().unwrap();
        assert_eq!(entry.peer(), address);
        bench.publish(&format!("@{user}"), "you");
    }
    // What one says is heard in the turn in which it is read, whatever waits in the mailbox.
    bench.publish("a room", "all");
    for peer in &mut peers {
        peer.say("I");
    }
    bench.turn_until(|bench| bench.reactor.sink().heard == MANY);
    bench.write_rest();
    for peer in &mut peers {
        let mut heard = [peer.hear(), peer.hear(), peer.hear()];
        heard.sort();
        assert_eq!(heard, ["I", "all", "you"]);
        assert!(peer.hears_nothing());
    }
    assert_eq!(bench.reactor.sink().closed, []);
}

#[test]
fn a_connection_is_never_known_by_the_name_of_one_that_was() {
    let mut bench = Bench::new();
    let mut peers = bench.open(3);
    let last = peers.pop().unwrap().fd;
    bench.turn_until(|bench| bench.reactor.sink().closed == [last]);
    let others = peers.iter().map(|peer| peer.fd);
    let names: Vec<Fd> = others.chain([last]).collect();
    // As a clock that was set back would have it.
    bench.reactor.fds = crate::base::fd::FdSource::new(0, last.serial() + 1_000_000_000);
    bench.hand_over();
    let next = bench.open(1)[0].fd;
    assert!(names.iter().all(|name| *name < next));
    assert_eq!(next.serial(), last.serial() + 1_000_000_001);
}

#[test]
fn sockets_are_watched_in_shares_and_first_those_with_something_to_do() {
    const MANY: usize = 1_200;
    let mut bench = Bench::new();
    let mut peers = bench.open(MANY);
    let _http = bench.connect_http();
    let waiting = bench.slot_of(&peers[700]);
    // Nothing may be written to it, as far as the reactor knows.
    bench.reactor.slots[waiting].stalled = bench.reactor.context.clock.now();
    bench.push(peers[700].fd, "waited");
    bench.turn();
    bench.hand_over();
    let left = |bench: &Bench| match &bench.reactor.adoption {
        Adoption::Registering(left) => left.len(),
        Adoption::Arming(_) | Adoption::Done => 0,
    };
    assert_eq!(left(&bench), MANY + 1);
    assert_eq!(bench.reactor.timeout(), Some(Duration::ZERO));
    assert!(bench.reactor.wheel.is_empty());
    bench.turn();
    assert_eq!(left(&bench), MANY + 1 - 1_024);
    assert!(
        bench.reactor.wheel.is_empty(),
        "no deadline is looked at yet"
    );
    assert_eq!(peers[700].hear(), "waited");
    adopted(&mut bench);
    assert_eq!(bench.reactor.wheel.len(), 1, "that of the first request");
    for at in [0, 1, 699, 1_199] {
        expect_echo(&mut bench, &mut peers[at], "hello");
    }
}

#[test]
fn what_was_said_while_nobody_read_is_heard_and_so_are_ends_and_resets() {
    let mut bench = Bench::new();
    let mut peers = bench.open(4);
    peers[0].say("hello");
    let ended = peers.remove(1);
    ended.socket.get_ref().shutdown(Shutdown::Write).unwrap();
    let reset = peers.remove(1);
    let linger = SockRef::from(reset.socket.get_ref()).set_linger(Some(Duration::ZERO));
    linger.unwrap();
    let fds = [ended.fd, reset.fd];
    drop(reset);
    bench.hand_over();
    bench.turn_until(|bench| bench.reactor.sink().closed.len() == 2);
    assert!(
        fds.iter()
            .all(|fd| bench.reactor.sink().closed.contains(fd))
    );
    assert_eq!(peers[0].hear(), "hello");
    expect_echo(&mut bench, &mut peers[1], "here");
}

#[test]
fn half_a_frame_and_half_a_request_go_on() {
    let mut bench = Bench::new();
    let mut peer = bench.open(1).remove(0);
    let message = b"\x81\x85\x01\x02\x03\x04igohn";
    for at in 1..message.len() {
        let before = bench.reactor.shared.counters.bytes_in.get();
        peer.socket.get_mut().write_all(&message[..at]).unwrap();
        bench
            .turn_until(|bench| bench.reactor.shared.counters.bytes_in.get() == before + at as u64);
        bench.hand_over();
        // What has come of the payload counts; the header, of six bytes, is kept in place.
        let kept = bench.reactor.shared.unfinished.bytes();
        assert_eq!(kept, at.saturating_sub(6));
        peer.socket.get_mut().write_all(&message[at..]).unwrap();
        let heard = bench.reactor.sink().heard;
        bench.turn_until(|bench| bench.reactor.sink().heard > heard);
        assert_eq!(peer.hear(), "hello", "cut at {at}, with {kept} bytes kept");
        assert_eq!(bench.reactor.shared.unfinished.bytes(), 0);
    }
}

/// Sends the bytes of requests, and takes turns until the reactor has read them.
pub(super) fn request(bench: &mut Bench, socket: &mut std::net::TcpStream, bytes: &[u8]) {
    let before = bench.reactor.shared.counters.bytes_in.get();
    socket.write_all(bytes).unwrap();
    let read = before + bytes.len() as u64;
    bench.turn_until(|bench| bench.reactor.shared.counters.bytes_in.get() == read);
}

pub(super) fn answer(bench: &Bench, request: usize, body: &'static str) {
    let (fd, asked) = &bench.reactor.sink().requests[request];
    bench.command(Command::Answer {
        fd: *fd,
        serial: asked.serial,
        response: Box::new(Response::text(body)),
    });
}

#[test]
fn pipelined_requests_are_answered_in_their_order_whoever_answers() {
    let mut bench = Bench::new();
    let mut socket = bench.connect_http();
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream = get.repeat(4);
    request(&mut bench, &mut socket, &stream[..2 * get.len() + 9]);
    answer(&bench, 1, "two");
    bench.turn();
    bench.hand_over();
    assert_eq!(
        bench.reactor.shared.budget.bytes(),
        3,
        "the answer that waits"
    );
    request(&mut bench, &mut socket, &stream[2 * get.len() + 9..]);
    bench.turn_until(|bench| bench.reactor.sink().requests.len() == 4);
    answer(&bench, 3, "four");
    answer(&bench, 0, "one");
    bench.turn();
    bench.hand_over();
    answer(&bench, 2, "three");
    bench.turn();
    let mut heard = String::new();
    while !heard.ends_with("four") {
        let mut buffer = [0; 4_096];
        let size = socket.read(&mut buffer).unwrap();
        heard.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
    }
    let bodies: Vec<&str> = heard
        .split("\r\n\r\n")
        .skip(1)
        .map(|body| &body[..3])
        .collect();
    assert_eq!(bodies, ["one", "two", "thr", "fou"]);
    assert_eq!(bench.reactor.shared.budget.bytes(), 0);
}

#[test]
fn a_connection_that_was_paused_for_its_answers_is_read_again() {
    let mut bench = Bench::new();
    let mut socket = bench.connect_http();
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    request(&mut bench, &mut socket, get.repeat(16).as_bytes());
    bench.turn_until(|bench| bench.reactor.sink().requests.len() == 16);
    socket.write_all(get.as_bytes()).unwrap();
    bench.turn_until(|bench| bench.reactor.shared.counters.paused.get() == 1);
    bench.hand_over();
    assert_eq!(bench.reactor.shared.counters.paused.get(), 1);
    adopted(&mut bench);
    assert_eq!(bench.reactor.sink().requests.len(), 16);
    answer(&bench, 0, "one");
    bench.turn_until(|bench| bench.reactor.sink().requests.len() == 17);
    assert_eq!(bench.reactor.shared.counters.paused.get(), 0);
}

#[test]
fn a_close_that_waits_for_the_peers_is_answered() {
    let mut bench = Bench::new();
    let mut peer = bench.open(1).remove(0);
    bench.command(Command::Disconnect {
        fd: peer.fd,
        code: 4_005,
        reason: "bye".into(),
    });
    bench.turn();
    bench.hand_over();
    assert!(!bench.reactor.shared.directory.is_established(peer.fd));
    assert_eq!(peer.hear_close(), 4_005);
    let close = b"\x88\x82\0\0\0\0\x0f\xa5";
    peer.socket.get_mut().write_all(close).unwrap();
    bench.turn_until(|bench| !bench.reactor.sink().closed.is_empty());
    assert_eq!(bench.reactor.sink().reasons, [CloseReason::Server(4_005)]);
}

#[test]
fn one_that_lingers_is_waited_for_and_cut_in_its_time() {
    for ends in [true, false] {
        let limits = ReactorLimits {
            linger_ms_max: if ends { 60_000 } else { 100 },
            ..ReactorLimits::default()
        };
        let mut bench = Bench::with(limits, 0);
        let mut peer = bench.open(1).remove(0);
        let index = bench.slot_of(&peer);
        peer.socket
            .get_mut()
            .write_all(b"\x88\x80\0\0\0\0")
            .unwrap();
        bench.turn_until(|bench| bench.reactor.slots[index].phase == SlotPhase::Lingering);
        let cut_at = bench.reactor.slots[index].cut_at;
        bench.hand_over();
        let slot = &bench.reactor.slots[0];
        assert_eq!((slot.phase, slot.cut_at), (SlotPhase::Lingering, cut_at));
        let mut rest = Vec::new();
        peer.socket.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"\x88\0");
        if ends {
            drop(peer);
        }
        bench.turn_until(|bench| bench.reactor.slots.is_empty());
        assert_eq!(bench.reactor.sink().closed.len(), 1, "it is told once");
    }
}

#[test]
fn one_whose_last_bytes_are_unread_is_read_to_its_end() {
    let mut bench = Bench::new();
    let mut peer = bench.open(1).remove(0);
    bench.reactor.sink.is_full = true;
    peer.say("last words");
    peer.socket.get_ref().shutdown(Shutdown::Write).unwrap();
    let index = bench.slot_of(&peer);
    bench.turn_until(|bench| bench.reactor.slots[index].peer_ended);
    assert_eq!(bench.reactor.slots[index].reading, ReadState::Queued);
    bench.hand_over();
    assert!(bench.reactor.slots[0].peer_ended && bench.reactor.slots[0].gone);
    bench.turn();
    assert_eq!(bench.reactor.sink().heard, 0, "the pause goes on");
    bench.reactor.sink.is_full = false;
    bench.nudge();
    bench.turn_until(|bench| !bench.reactor.sink().closed.is_empty());
    assert_eq!(bench.reactor.sink().heard, 1);
}

#[test]
fn the_clock_goes_on_from_where_it_stood() {
    let mut bench = Bench::new();
    let year = Tick(400 * 86_400_000);
    bench.reactor.context.clock = Clock::at(year);
    bench.hand_over();
    let since_ms = bench.reactor.context.clock.now().since(year);
    assert!(since_ms < 60_000, "{since_ms}");
    assert!(bench.reactor.context.clock.now() >= year);
}

#[test]
fn nobody_is_cut_off_for_an_answer_that_is_still_unread() {
    const MANY: usize = 1_100;
    let mut limits = ReactorLimits::default();
    limits.connection.ping_ms = 300_000;
    limits.connection.pong_ms_max = 1_000_000;
    limits.stall_ms_max = 10_000_000;
    let mut bench = Bench::with(limits, 0);
    let mut peers = bench.open(MANY);
    let later = |bench: &mut Bench, ms| {
        let now = bench.reactor.context.clock.now();
        bench.reactor.context.clock = Clock::at(now.after(ms));
    };
    later(&mut bench, 400_000);
    bench.turn_until(|bench| bench.reactor.shared.counters.pings.get() == MANY as u64);
    for peer in &mut peers[1..] {
        peer.socket
            .get_mut()
            .write_all(b"\x8a\x80\0\0\0\0")
            .unwrap();
    }
    later(&mut bench, 1_100_000);
    // Something waits for each, so that each is looked at before its socket is.
    let now = bench.reactor.context.clock.now();
    for peer in &peers {
        let slot = bench.slot_of(peer);
        let Reactor { slots, arena, .. } = &mut bench.reactor;
        slots[slot].stalled = now;
        slots[slot]
            .outbox
            .push(arena, frame("waits"), Content::Whole);
    }
    bench.hand_over();
    bench.turn_until(|bench| !bench.reactor.sink().closed.is_empty());
    adopted(&mut bench);
    assert_eq!(bench.reactor.sink().closed, [peers[0].fd]);
    assert_eq!(bench.reactor.sink().reasons, [CloseReason::PingTimeout]);
    bench.turn_until(|bench| bench.reactor.has_read_all());
    // And the next ping comes in time, with no answer from the second.
    later(&mut bench, 301_000);
    bench.turn_until(|bench| bench.reactor.shared.counters.pings.get() == 2 * MANY as u64 - 1);
}

#[test]
fn those_who_have_not_shown_who_they_are_are_still_counted() {
    let mut bench = Bench::with(ReactorLimits::default(), 2);
    let peers = bench.open(2);
    bench.hand_over();
    let address = peers[0].socket.get_ref().local_addr().unwrap();
    assert!(!bench.reactor.shared.strangers.admits(address));
    bench.reactor.shared.strangers.remove(peers[0].fd);
    bench.hand_over();
    assert!(bench.reactor.shared.strangers.admits(address));
    bench.open(1);
    assert!(!bench.reactor.shared.strangers.admits(address));
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_has_an_owner() {
    let mut bench = Bench::new();
    let peers = crowd(&mut bench, 3);
    bench.command(Command::Disconnect {
        fd: peers[2].fd,
        code: 4_000,
        reason: "".into(),
    });
    bench.push(peers[1].fd, "waits");
    let index = bench.slot_of(&peers[1]);
    bench.reactor.slots[index].stalled = bench.reactor.context.clock.now();
    bench.publish("*", &"x".repeat(200));
    bench.turn();
    let written = bench.written();
    let frames = HandedFrames::read(written.frames(), &ByteBudget::new(0)).unwrap();
    let (mut taken, mut refused) = (0, 0);
    let bytes = written.reactor.as_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1 << bit;
            let section = crate::handover::Section::of("reactor.0", 1, &bytes);
            match ReactorHandover::read(section, &frames) {
                Ok(_) => taken += 1,
                Err(_) => refused += 1,
            }
        }
        let section = crate::handover::Section::of("reactor.0", 1, &bytes[..at]);
        assert!(
            ReactorHandover::read(section, &frames).is_err(),
            "cut at {at}"
        );
    }
    assert!(refused > bytes.len(), "{refused} refused, {taken} taken");
}
