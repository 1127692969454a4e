//! A reactor that an earlier version has written down is adopted by this one.
//!
//! `golden-1.bin` was written by the first version. `TIDINGS_GOLDEN=golden-2.bin cargo test --lib golden`
//! writes what this version writes of the same connections.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{OwnedFd, RawFd};

use super::super::REACTOR;
use super::bench::{Bench, frame};
use super::handover::{adopted, request, subscribe};
use crate::base::Tick;
use crate::handover::{Handover, HandoverHead, HandoverWriter};
use crate::net::command::Command;
use crate::net::frame_table::FRAMES;
use crate::proto::connection::CloseReason;
use crate::proto::http::Response;

const FIRST: &[u8] = include_bytes!("golden-1.bin");

const KNOWN: [crate::handover::SectionFormat; 2] = [REACTOR, FRAMES];

/// Writes down a reactor with four connections: half a frame has come, something waits, a request isn't
/// answered, a Close was sent.
fn written() -> Vec<u8> {
    let mut bench = Bench::new();
    let mut peers = bench.open_members("tea", 2);
    subscribe(&bench, peers[0].fd, "*");
    bench.turn();
    let read = bench.reactor.shared.counters.bytes_in.get() + 8;
    let half = b"\x81\x85\x01\x02\x03\x04ig";
    peers[0].socket.get_mut().write_all(half).unwrap();
    bench.turn_until(|bench| bench.reactor.shared.counters.bytes_in.get() == read);
    let slot = bench.slot_of(&peers[1]);
    bench.reactor.slots[slot].stalled = bench.reactor.context.clock.now();
    bench.push(peers[1].fd, "waits");
    let ann = "ann".into();
    bench
        .reactor
        .shared
        .directory
        .bind(peers[1].fd, &ann)
        .unwrap();
    let mut http = bench.connect_http();
    let two = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT";
    request(&mut bench, &mut http, two.as_bytes());
    let (fd, second) = &bench.reactor.sink().requests[1];
    bench.command(Command::Answer {
        fd: *fd,
        serial: second.serial,
        response: Box::new(Response::text("two")),
    });
    let closing = bench.open(1).remove(0);
    bench.command(Command::Disconnect {
        fd: closing.fd,
        code: 4_005,
        reason: "bye".into(),
    });
    bench.turn();
    let sections = bench.written();
    let mut writer = HandoverWriter::new();
    let (reactor, frames) = (REACTOR, FRAMES);
    let (version, oldest) = (reactor.version, reactor.oldest_reader);
    writer.insert("reactor.0", version, oldest, sections.reactor);
    let (version, oldest) = (frames.version, frames.oldest_reader);
    writer.insert("frames", version, oldest, sections.frames);
    writer.finish(&HandoverHead {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        tick: bench.reactor.context.clock.now(),
        serials_from: bench.reactor.fds.last_serial(),
    })
}

/// Adopts these connections with new sockets, and goes on with each.
fn expect_to_go_on(bytes: &[u8]) {
    let handover = Handover::read(bytes).unwrap();
    assert_eq!(handover.check(&KNOWN), Ok(()));
    let mut bench = Bench::new();
    let (mut ends, mut sockets) = (Vec::new(), HashMap::<RawFd, OwnedFd>::new());
    let reactor = handover.needed("reactor.0").unwrap();
    let frames = handover.needed("frames").unwrap();
    bench.adopt(reactor, frames, |numbers, bench| {
        for number in numbers {
            let (end, served) = bench.pair();
            ends.push(end);
            sockets.insert(number, OwnedFd::from(served));
        }
        sockets
    });
    adopted(&mut bench);
    let [half, waiting, http, closing] = &mut ends[..] else {
        panic!("four connections");
    };
    half.write_all(b"ohn").unwrap();
    bench.turn_until(|bench| bench.reactor.sink().heard == 1);
    expect(half, &frame("hello"));
    bench.publish("tea", "all");
    bench.turn();
    expect(half, &frame("all"));
    expect(waiting, &[frame("waits"), frame("all")].concat());
    bench.publish("*", "one");
    bench.turn();
    expect(half, &frame("one"));
    http.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").unwrap();
    bench.turn_until(|bench| bench.reactor.sink().requests.len() == 1);
    let (fd, third) = &bench.reactor.sink().requests[0];
    assert_eq!((third.head.target(), third.serial), ("/3", 2));
    for (serial, body) in [(2, "three"), (0, "one")] {
        bench.command(Command::Answer {
            fd: *fd,
            serial,
            response: Box::new(Response::text(body)),
        });
    }
    bench.turn();
    let mut heard = String::new();
    while !heard.ends_with("three") {
        let mut buffer = [0; 1_024];
        let size = http.read(&mut buffer).unwrap();
        heard.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
    }
    let places = ["\r\n\r\none", "\r\n\r\ntwo", "\r\n\r\nthree"].map(|body| heard.find(body));
    assert!(places[0].is_some() && places.is_sorted(), "{heard}");
    closing.write_all(b"\x88\x82\0\0\0\0\x0f\xa5").unwrap();
    bench.turn_until(|bench| !bench.reactor.sink().closed.is_empty());
    assert_eq!(bench.reactor.sink().reasons, [CloseReason::Server(4_005)]);
    let (now, stood) = (bench.reactor.context.clock.now(), handover.head().tick);
    assert!(
        now >= stood && stood >= Tick(86_400_000),
        "{now:?}, {stood:?}"
    );
}

fn expect(socket: &mut TcpStream, bytes: &[u8]) {
    let mut heard = vec![0; bytes.len()];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(heard, bytes);
}

#[test]
fn a_reactor_of_this_and_of_each_earlier_format_goes_on() {
    let present = written();
    if let Some(path) = std::env::var_os("TIDINGS_GOLDEN") {
        std::fs::write(path, &present).unwrap();
    }
    expect_to_go_on(&present);
    expect_to_go_on(FIRST);
}
