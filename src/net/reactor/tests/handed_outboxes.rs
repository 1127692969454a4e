//! What waits for slow readers goes on with another reactor, whatever was half written.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;

use super::super::ReactorLimits;
use super::bench::{Bench, Peer, frame};
use crate::base::Tick;
use crate::net::command::{AwaitedBy, Command, CommandBatch, DeliveryWay, SlowWay};
use crate::proto::connection::CloseReason;
use crate::proto::http::Response;
use crate::proto::websocket::{MessageKind, encode_message};

/// More than the buffers of a socket take.
const LARGE: usize = 3_000_000;

const PATIENCE: Duration = Duration::from_secs(30);

/// The kind of the piece that is half written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Own,
    Whole,
    Shared,
    Latest,
}

/// When another reactor goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    Never,
    Once,
    /// Behind each read of the slow reader.
    OftenWhileRead,
}

fn limits() -> ReactorLimits {
    ReactorLimits {
        outbox_bytes_max: 1 << 30,
        outbox_pause_bytes: 1 << 30,
        ..ReactorLimits::default()
    }
}

/// Has the sockets of all connections take little.
pub(super) fn narrow(bench: &Bench) {
    for (_, slot) in bench.reactor.slots.iter() {
        SockRef::from(&slot.socket)
            .set_send_buffer_size(16_384)
            .unwrap();
    }
}

/// A frame that is counted as all frames for many are.
fn shared(bench: &Bench, text: &str) -> Bytes {
    bench.reactor.shared.budget.shared(frame(text).to_vec())
}

fn publish(bench: &Bench, text: &str) {
    bench.command(Command::Publish {
        topic: "tea".into(),
        frame: shared(bench, text).into(),
    });
}

fn deliver(bench: &Bench, text: &str, slow: SlowWay) {
    let frames = match slow {
        SlowWay::Latest { .. } => {
            let both = [frame("instead"), frame(text)].concat();
            bench.reactor.shared.budget.shared(both)
        }
        SlowWay::Waits | SlowWay::Fence => shared(bench, text),
    };
    bench.command(Command::Deliver {
        topic: "tea".into(),
        frames,
        way: DeliveryWay { delay_ms: 0, slow },
    });
}

fn latest() -> SlowWay {
    SlowWay::Latest {
        start: frame("instead").len() as u32,
    }
}

/// Pushes of one batch, which share its memory.
fn push_batch(bench: &Bench, peer: &Peer, texts: &[&str]) {
    let (mut frames, mut commands) = (Vec::new(), Vec::new());
    for text in texts {
        let start = frames.len() as u32;
        encode_message(&mut frames, MessageKind::Text, text.as_bytes());
        let (fd, end) = (peer.fd, frames.len() as u32);
        commands.push(Command::Push { fd, start, end });
    }
    let frames = Bytes::from(frames);
    let size = frames.len();
    drop(bench.mailbox.send(CommandBatch { commands, frames }, size));
}

/// Reads until these bytes have come, while the reactor takes its turns, or others theirs.
fn read_until(bench: &mut Bench, socket: &mut TcpStream, end: &[u8], goes: Goes) -> Vec<u8> {
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 200_000]);
    let late = Instant::now() + PATIENCE;
    socket.set_nonblocking(true).unwrap();
    while !heard.ends_with(end) {
        assert!(Instant::now() < late, "{} bytes came", heard.len());
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(size) => heard.extend_from_slice(&buffer[..size]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if goes == Goes::OftenWhileRead {
            bench.hand_over();
        }
        bench.nudge();
        bench.turn();
    }
    socket.set_nonblocking(false).unwrap();
    heard
}

pub(super) fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let [0x81, short, rest @ ..] = bytes {
        let (size, rest) = match short {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            127 => {
                let (size, rest) = rest.split_first_chunk().unwrap();
                (u64::from_be_bytes(*size) as usize, rest)
            }
            size => (usize::from(*size), rest),
        };
        let (text, rest) = rest.split_at(size);
        let text = std::str::from_utf8(text).unwrap();
        texts.push(format!("{}…{size}", &text[..text.len().min(10)]));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a whole number of texts");
    texts
}

/// What a slow reader hears in the end, and how many messages were replaced.
fn half_written(first: First, goes: Goes) -> (Vec<String>, u64) {
    let mut bench = Bench::with(limits(), 0);
    let mut reader = bench.open_members("tea", 1).remove(0);
    narrow(&bench);
    let large = "1".repeat(LARGE);
    match first {
        First::Own => push_batch(&bench, &reader, &[&large, "own"]),
        First::Whole => bench.push(reader.fd, &large),
        First::Shared => publish(&bench, &large),
        First::Latest => deliver(&bench, &large, latest()),
    }
    let slot = bench.slot_of(&reader);
    bench.turn_until(|bench| bench.reactor.slots[slot].stalled != Tick::NEVER);
    assert!(bench.reactor.slots[slot].outbox.kept() > LARGE);
    push_batch(&bench, &reader, &["2", "3"]);
    publish(&bench, "small");
    publish(&bench, &"5".repeat(300));
    publish(&bench, &"6".repeat(70_000));
    bench.push(reader.fd, "7");
    deliver(&bench, "lost", latest());
    deliver(&bench, "kept", latest());
    deliver(&bench, "fence", SlowWay::Fence);
    deliver(&bench, "gone", latest());
    bench.turn();
    let (budget, replaced) = (
        bench.reactor.shared.budget.bytes(),
        bench.reactor.shared.counters.latest_replaced.get(),
    );
    assert_eq!(replaced, 1);
    if goes != Goes::Never {
        bench.hand_over();
        // What stood in front of two messages that wait is needed no more.
        let left = bench.reactor.shared.budget.bytes();
        let instead = frame("instead").len();
        assert!(left <= budget && left + 2 * instead >= budget, "{left}");
        assert_eq!(
            bench.reactor.outbox_holders.total(),
            bench.reactor.slots[0].outbox.kept()
        );
    }
    deliver(&bench, "newest", latest());
    bench.command(Command::AwaitBuffer {
        fd: reader.fd,
        bytes_max: 0,
        by: AwaitedBy::User,
    });
    push_batch(&bench, &reader, &["end"]);
    bench.turn();
    let heard = read_until(&mut bench, reader.socket.get_mut(), &frame("end"), goes);
    bench.turn_until(|bench| bench.reactor.slots[0].outbox.is_empty());
    bench.turn_until(|bench| !bench.reactor.sink().emptied.is_empty());
    assert_eq!(bench.reactor.sink().emptied, [(reader.fd, AwaitedBy::User)]);
    assert_eq!(bench.reactor.shared.budget.bytes(), 0);
    assert_eq!(bench.reactor.outbox_holders.total(), 0);
    assert_eq!(bench.reactor.shared.counters.backlogged.get(), 0);
    let replaced = bench.reactor.shared.counters.latest_replaced.get();
    (texts(&heard), replaced)
}

#[test]
fn whatever_is_half_written_comes_whole_and_what_waits_behind_it_in_its_order() {
    for first in [First::Own, First::Whole, First::Shared, First::Latest] {
        let stayed = half_written(first, Goes::Never);
        assert!(stayed.0.iter().any(|text| text == "newest…6"), "{stayed:?}");
        for goes in [Goes::Once, Goes::OftenWhileRead] {
            assert_eq!(half_written(first, goes), stayed, "{first:?}, {goes:?}");
        }
    }
}

/// What a slow client of HTTP reads.
fn half_answered(goes: Goes) -> Vec<u8> {
    let mut bench = Bench::with(limits(), 0);
    let mut socket = bench.connect_http();
    narrow(&bench);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    std::io::Write::write_all(&mut socket, get.repeat(3).as_bytes()).unwrap();
    bench.turn_until(|bench| bench.reactor.sink().requests.len() == 3);
    for (number, body) in [
        (2, "last".to_owned()),
        (0, "1".repeat(LARGE)),
        (1, "2".to_owned()),
    ] {
        let (fd, asked) = &bench.reactor.sink().requests[number];
        bench.command(Command::Answer {
            fd: *fd,
            serial: asked.serial,
            response: Box::new(Response::text(body)),
        });
    }
    bench.turn();
    assert!(bench.reactor.slots[0].stalled != Tick::NEVER);
    let budget = bench.reactor.shared.budget.bytes();
    if goes != Goes::Never {
        bench.hand_over();
        assert_eq!(bench.reactor.shared.budget.bytes(), budget);
    }
    let heard = read_until(&mut bench, &mut socket, b"last", goes);
    bench.turn_until(|bench| bench.reactor.shared.budget.bytes() == 0);
    let text = String::from_utf8(heard).unwrap();
    let lines = text.split("\r\n").filter(|line| !line.starts_with("Date"));
    lines.collect::<String>().into_bytes()
}

#[test]
fn an_answer_that_is_half_written_comes_whole() {
    let stayed = half_answered(Goes::Never);
    assert!(stayed.len() > LARGE);
    for goes in [Goes::Once, Goes::OftenWhileRead] {
        assert!(half_answered(goes) == stayed, "{goes:?}");
    }
}

#[test]
fn one_that_is_sent_away_for_reading_too_slowly_gets_its_begun_frame_and_its_close() {
    for goes in [Goes::Never, Goes::Once, Goes::OftenWhileRead] {
        let limits = ReactorLimits {
            outbox_bytes_max: 100_000,
            ..limits()
        };
        let mut bench = Bench::with(limits, 0);
        let mut reader = bench.open_members("tea", 1).remove(0);
        narrow(&bench);
        bench.push(reader.fd, &"1".repeat(LARGE));
        bench.turn();
        publish(&bench, "never heard");
        bench.push(reader.fd, &"2".repeat(100_000));
        bench.turn_until(|bench| !bench.reactor.sink().closed.is_empty());
        assert_eq!(bench.reactor.sink().reasons, [CloseReason::SlowReader]);
        if goes != Goes::Never {
            bench.hand_over();
        }
        let mut close = vec![0x88, 19, 0x0f, 0xa8];
        close.extend_from_slice(b"too slow a reader");
        let heard = read_until(&mut bench, reader.socket.get_mut(), &close, goes);
        let heard = heard.strip_suffix(&close[..]).expect("the Close is last");
        assert_eq!(texts(heard), [format!("1111111111…{LARGE}")]);
        assert_eq!(bench.reactor.sink().closed.len(), 1, "it is told once");
        drop(reader);
        bench.turn_until(|bench| bench.reactor.slots.is_empty());
        assert_eq!(bench.reactor.shared.budget.bytes(), 0);
    }
}

#[test]
fn one_that_stopped_reading_has_no_more_time_than_it_had() {
    let limits = ReactorLimits {
        stall_ms_max: 400,
        ..limits()
    };
    let mut bench = Bench::with(limits, 0);
    let reader = bench.open(1).remove(0);
    narrow(&bench);
    bench.push(reader.fd, &"1".repeat(LARGE));
    bench.turn();
    let stalled = bench.reactor.slots[0].stalled;
    assert_ne!(stalled, Tick::NEVER);
    bench.hand_over();
    assert_eq!(bench.reactor.slots[0].stalled, stalled);
    bench.turn_until(|bench| !bench.reactor.sink().closed.is_empty());
    assert_eq!(bench.reactor.sink().reasons, [CloseReason::SlowReader]);
}

#[test]
fn a_large_delivery_half_way_through_its_members_goes_on_in_shares() {
    const MANY: usize = 600;
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", MANY);
    for text in ["one", "two", "three"] {
        publish(&bench, text);
        bench.turn();
        assert!(bench.reactor.writes.has_later());
        let (budget, later) = (
            bench.reactor.shared.budget.bytes(),
            members.iter().filter(|member| bench.waits(member)).count(),
        );
        bench.hand_over();
        assert_eq!(
            bench.reactor.shared.budget.bytes(),
            budget,
            "a frame is one"
        );
        assert_eq!(bench.reactor.writes.later_len(), later);
    }
    bench.turn_until(|bench| !bench.reactor.writes.has_later());
    for member in &mut members {
        assert_eq!(
            [member.hear(), member.hear(), member.hear()],
            ["one", "two", "three"]
        );
        assert!(member.hears_nothing());
    }
    assert_eq!(bench.reactor.shared.budget.bytes(), 0);
}

#[test]
fn what_waits_for_more_of_its_topic_goes_out_in_its_time_and_from_each_ones_start() {
    for texts in [&["one"][..], &["one", "two"]] {
        let mut bench = Bench::new();
        let mut early = bench.open_members("tea", 2);
        let way = DeliveryWay {
            delay_ms: 300,
            slow: SlowWay::Waits,
        };
        let gather = |bench: &Bench, text: &str| {
            bench.command(Command::Deliver {
                topic: "tea".into(),
                frames: shared(bench, text),
                way,
            });
        };
        texts.iter().for_each(|text| gather(&bench, text));
        bench.turn();
        let mut late = bench.open(1).remove(0);
        let gone = early.pop().unwrap();
        drop(gone);
        bench.command(Command::Subscribe {
            fd: late.fd,
            topic: "tea".into(),
            frames_first: frame("welcome"),
        });
        bench.turn_until(|bench| bench.reactor.topics.members("tea").len() == 2);
        bench.turn_until(|bench| bench.reactor.slots.len() == 2);
        let waiting = bench.reactor.gathering.messages();
        bench.hand_over();
        assert_eq!(bench.reactor.gathering.messages(), waiting);
        gather(&bench, "three");
        bench.turn_until(|bench| bench.reactor.gathering.is_empty());
        let mut expected = texts.to_vec();
        expected.push("three");
        for text in expected {
            assert_eq!(early[0].hear(), text);
        }
        assert_eq!([late.hear(), late.hear()], ["welcome", "three"]);
        assert!(early[0].hears_nothing() && late.hears_nothing());
        assert_eq!(bench.reactor.shared.counters.gathered_bytes.get(), 0);
    }
}
