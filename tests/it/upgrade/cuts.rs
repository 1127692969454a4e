//! An upgrade at every byte: whatever a connection is in the middle of, it is answered afterwards as one
//! that nothing happened to. Each upgrade carries many connections, each of them at another byte.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::json;

use super::Upgradable;
use crate::support::PATIENCE;
use crate::support::api::{ask_json, number, post};
use crate::support::chat_client::{ChatClient, say};
use crate::support::frame::frame;
use crate::support::http::json_request;
use crate::support::random::Random;
use crate::support::wait::until;
use crate::support::websocket::{Heard, WebSocketClient};

/// What a client sends, to the end of its connection.
struct Input {
    name: &'static str,
    bytes: Vec<u8>,
    /// Whether it says that no more comes; else the server ends the connection.
    shuts: bool,
    /// Messages to the room that are among it.
    messages: u64,
}

const PING: &[u8] = b"a ping among them";

/// The bytes of the last frame: a head, a mask, a code and two words.
const CLOSE_SIZE: usize = 2 + 4 + 2 + 7;

/// The last message before a Close; a Close overtakes the answers to what stands before it.
const LAST: &str = "the last message before the Close";

/// Behind this many bytes each is like the one before.
const CUTS_MAX: usize = 1_200;

const OPEN: &str = "GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn inputs() -> Vec<Input> {
    let message = json!({"to": {"room": "tea"}, "data": "one of many"}).to_string();
    let (first, last) = message.split_at(20);
    let chunked = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/json\r\n\r\n{:x};x=y\r\n{first}\r\n{:X}\r\n{last}\r\n0\r\nTrailer: x\r\n\r\n",
        first.len(),
        last.len(),
    );
    let size = message.len();
    let expects = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n{message}"
    );
    let get = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let posted = json_request("POST", "/v1/messages", &message);
    // The slow ones, which wait for the disk, stand before quick ones.
    let pipeline = [get, &posted, get, &chunked, &expects, get, &posted, last].concat();
    let frames = [
        OPEN.as_bytes(),
        &frame(0x81, b"behind the handshake"),
        &frame(0x01, "fr\u{20ac}".as_bytes()),
        &frame(0x89, PING),
        &frame(0x00, b""),
        &frame(0x80, b"mented"),
        &frame(0x82, &[7; 300]),
        &frame(0x8a, b"a pong"),
        &frame(0x82, &vec![1; 70_000]),
        &frame(0x81, LAST.as_bytes()),
        &frame(0x88, &[&4_321_u16.to_be_bytes()[..], b"the end"].concat()),
    ];
    let bad = |bytes: &[u8]| [OPEN.as_bytes(), bytes].concat();
    let input = |name, bytes, shuts, messages| Input {
        name,
        bytes,
        shuts,
        messages,
    };
    let too_large = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n{}",
        "x".repeat(300)
    );
    vec![
        input("a pipeline", pipeline.into_bytes(), false, 4),
        input("frames", frames.concat(), false, 0),
        input("no UTF-8", bad(&frame(0x81, b"a\xffb")), false, 0),
        input("no mask", bad(b"\x81\x03abc"), false, 0),
        input(
            "a bad head",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
            true,
            0,
        ),
        input("too large a body", too_large.into_bytes(), true, 0),
    ]
}

/// Each cut is tried, or only some of them, beginning at a random one.
fn cuts(length: usize, random: &mut Random) -> Vec<usize> {
    const FEW: usize = 23;
    let all = 1..length.min(CUTS_MAX);
    match std::env::var_os("TIDINGS_UPGRADE_CUTS").is_some() {
        true => all.collect(),
        false => all.skip(random.below(FEW)).step_by(FEW).collect(),
    }
}

fn connect(server: &Upgradable) -> TcpStream {
    let stream = TcpStream::connect(server.program.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends the rest, and reads to the end.
fn finish(mut stream: TcpStream, input: &Input, cut: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let what = |error| panic!("{}, cut at {cut}: {error}", input.name);
    let rest = &input.bytes[cut..];
    let close = rest.len().saturating_sub(CLOSE_SIZE);
    let (rest, close) = match input.name {
        "frames" => rest.split_at(close),
        _ => (rest, &[][..]),
    };
    let sent = stream.write_all(rest);
    while !close.is_empty() && !bytes.ends_with(LAST.as_bytes()) {
        let mut some = [0; 65_536];
        let size = stream.read(&mut some).unwrap_or_else(what);
        assert!(size > 0, "{}, cut at {cut}: the end", input.name);
        bytes.extend_from_slice(&some[..size]);
    }
    if input.shuts {
        // A connection that was refused may have ended.
        _ = stream.shutdown(Shutdown::Write);
    } else {
        sent.and_then(|()| stream.write_all(close)).unwrap();
    }
    stream.read_to_end(&mut bytes).unwrap_or_else(what);
    // It comes from another thread than the messages do, and overtakes them or not.
    let pong = [b"\x8a\x11", PING].concat();
    match bytes.windows(pong.len()).position(|window| *window == pong) {
        Some(at) => drop(bytes.drain(at..at + pong.len())),
        None => assert_ne!(input.name, "frames", "cut at {cut}: no pong"),
    }
    bytes
}

/// What was answered, without what is another thing for each: numbers, names of messages, the date. Whether
/// a client is told to continue depends on how much of the body came with the head.
fn without_names(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    let mut plain = String::new();
    for (number, part) in text.split("\"id\":\"").enumerate() {
        let rest = match number {
            0 => part,
            _ => part.split_once('"').map_or("", |(_, rest)| rest),
        };
        plain += rest;
    }
    let lines = plain
        .split("\r\n")
        .filter(|line| !line.starts_with("Date: "));
    let lines: Vec<String> = lines
        .map(|line| line.replace(|c: char| c.is_ascii_digit(), ""))
        .collect();
    lines.join("\n")
}

/// Waits until the server has read all that has come.
fn has_read_all(server: &Upgradable) {
    let port = format!(":{:04X}", server.program.address.port());
    until("all is read", || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().skip(1).all(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().unwrap();
            let (state, queues) = (fields.nth(1).unwrap(), fields.next().unwrap());
            // A listening socket has connections there.
            !local.ends_with(&port) || state == "0A" || queues.ends_with(":00000000")
        })
    });
}

#[test]
fn cut_at_any_byte_a_client_is_answered_as_one_that_was_not() {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let server = Upgradable::serve(&["--echo", "--set", "websocket.ping_ms=0"]);
    let inputs = inputs();
    let twins = inputs
        .iter()
        .map(|input| finish(connect(&server), input, 0));
    let twins: Vec<String> = twins.map(|bytes| without_names(&bytes)).collect();
    let mut messages: u64 = inputs.iter().map(|input| input.messages).sum();
    let mut half: Vec<_> = Vec::new();
    for (input, twin) in inputs.iter().zip(&twins) {
        for cut in cuts(input.bytes.len(), &mut random) {
            let mut stream = connect(&server);
            stream.write_all(&input.bytes[..cut]).unwrap();
            half.push((stream, input, cut, twin));
            messages += input.messages;
        }
    }
    has_read_all(&server);
    let out = server.is_upgraded(&[]);
    println!("{} cuts: {out}", half.len());
    for (stream, input, cut, twin) in half {
        let answered = without_names(&finish(stream, input, cut));
        assert_eq!(answered, *twin, "{}, cut at {cut}", input.name);
    }
    // Each message is there, and there once.
    let next = post(&mut server.program.http(), "tea", 1, &json!("the last one"));
    assert_eq!(next.offset, messages + 1);
    server.program.stop();
}

/// The frames of a server that hold these texts.
fn framed(texts: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.push(0x81);
        match text.len() {
            short @ 0..=125 => bytes.push(short as u8),
            middle @ 126..=0xFFFF => {
                bytes.push(126);
                bytes.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                bytes.push(127);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// Reads an answer to a request, its head and its body.
fn read_answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.extend(read(stream, 1));
    }
    let head = String::from_utf8(bytes.clone()).unwrap().to_lowercase();
    let size = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    bytes.extend(read(stream, size.unwrap().parse().unwrap()));
    bytes
}

/// Reads as many bytes.
fn read(stream: &mut TcpStream, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_half_written_is_written_to_its_end() {
    const READERS: usize = 5;
    let server = Upgradable::serve(&[
        "--echo",
        "--set",
        "outbox.size_max=16777216",
        "--set",
        "chat.page_size_max=8000000",
        "--set",
        "outbox.stall_ms_max=60000",
        // So that nobody hears anything else.
        "--set",
        "websocket.ping_ms=0",
        "--set",
        "chat.presence_users_max=0",
    ]);
    let address = server.program.address;
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut twin = ChatClient::login(&server.program, "twin", &["tea"]);
    let narrow = |path: &str| WebSocketClient::connect_narrow(address, path);
    // Shared by all of a room.
    let members = (0..READERS).map(|n| {
        let mut member = ChatClient::on(narrow("/ws"));
        member.ok(json!({"type": "login", "uid": format!("m{n}"), "rooms": ["tea"]}));
        member.client
    });
    let mut members: Vec<_> = members.collect();
    let mut http = server.program.http();
    // More than the kernel takes for a connection.
    let data = json!("x".repeat(60_000));
    for _ in 0..8 {
        post(&mut http, "tea", 12, &data);
    }
    let texts: Vec<String> = (0..96).map(|_| twin.client.hear_text()).collect();
    let shared = framed(&texts);
    // Of one's own.
    let mut echoes: Vec<_> = (0..READERS).map(|_| narrow("/echo")).collect();
    let message = "y".repeat(6_000_000);
    for one in &mut echoes {
        one.stream()
            .write_all(&frame(0x81, message.as_bytes()))
            .unwrap();
    }
    let own = framed(&[message]);
    // An answer to a request.
    let page = "GET /v1/rooms/tea/messages?limit=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let ask = || {
        let mut stream = connect_narrow(&server);
        stream.write_all(page.as_bytes()).unwrap();
        stream
    };
    let mut asks: Vec<_> = (0..READERS).map(|_| ask()).collect();
    let mut quick = connect(&server);
    quick.write_all(page.as_bytes()).unwrap();
    let whole = read_answer(&mut quick);
    has_read_all(&server);
    // Each reads as it likes between two upgrades.
    let streams = members
        .iter_mut()
        .map(|one| (one.stream().try_clone().unwrap(), &shared));
    let streams = streams.chain(
        echoes
            .iter_mut()
            .map(|one| (one.stream().try_clone().unwrap(), &own)),
    );
    let streams = streams.chain(asks.drain(..).map(|stream| (stream, &whole)));
    let mut streams: Vec<_> = streams
        .map(|(stream, all)| (stream, all, Vec::new()))
        .collect();
    until("each has more to get than the kernel takes", || {
        number(&server.program, "totals", "backlogged") == 3 * READERS as u64
    });
    for _ in 0..super::rounds(2) {
        for (stream, all, got) in &mut streams {
            let size = random.below((all.len() - got.len()) / 8);
            got.extend(read(stream, size));
        }
        server.is_upgraded(&[]);
    }
    for (number, (mut stream, all, mut got)) in streams.into_iter().enumerate() {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        got.extend(read(&mut stream, all.len() - got.len()));
        let differs = std::iter::zip(&got, all).position(|(a, b)| a != b);
        let is_page = number >= 2 * READERS;
        // The page has a date.
        assert!(
            differs.is_none() || is_page,
            "{number}: other bytes from {differs:?} on"
        );
        if is_page {
            assert_eq!(without_names(&got), without_names(all), "{number}");
        }
    }
    server.program.stop();
}

fn connect_narrow(server: &Upgradable) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&server.program.address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_connection_that_ends_is_ended_by_the_next_image_as_it_would_have_been() {
    let server = Upgradable::serve(&[
        "--set",
        "outbox.size_max=300000",
        "--set",
        "outbox.pause_size=100000",
    ]);
    let address = server.program.address;
    // A Close was sent, and waits for the client's.
    let mut kicked = ChatClient::login(&server.program, "kicked", &[]);
    let (status, answer) = ask_json(&server.program, "POST", "/v1/users/kicked/kick");
    assert_eq!((status, &answer["kicked"]), (200, &json!(1)));
    // One that was refused in the middle of its body, which it goes on sending.
    let mut lingers = connect(&server);
    let head = "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n";
    lingers.write_all(head.as_bytes()).unwrap();
    assert_eq!(read(&mut lingers, 12), b"HTTP/1.1 413");
    // Two that read nothing, until they are sent away.
    let slow = ["twin", "slow"].map(|uid| {
        let mut slow = ChatClient::on(WebSocketClient::connect_narrow(address, "/ws"));
        slow.ok(json!({"type": "login", "uid": uid, "rooms": ["tea"]}));
        slow
    });
    let mut http = server.program.http();
    until("both are too slow", || {
        post(&mut http, "tea", 20, &json!("x".repeat(5_000)));
        number(&server.program, "totals", "slow_readers") == 2
    });
    let [mut twin, mut evicted] = slow;
    let (_, end) = twin.client.hear_all();
    server.is_upgraded(&[]);
    assert_eq!(evicted.client.hear_all().1, end);
    assert_eq!(end, Heard::Close(4_008));
    kicked
        .client
        .say("crosses the Close, and is nothing any more");
    let (heard, end) = kicked.client.hear_all();
    assert!(
        heard.iter().all(|one| matches!(one, Heard::Text(_))),
        "{heard:?}"
    );
    assert_eq!(end, Heard::Close(4_004));
    kicked.client.end();
    for _ in 0..10 {
        lingers.write_all(&[b'x'; 10_000]).unwrap();
    }
    lingers.shutdown(Shutdown::Write).unwrap();
    // The rest of the answer, and no reset.
    let mut rest = String::new();
    lingers.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\r\n\r\n{\"error\""), "{rest}");
    let mut last = ChatClient::login(&server.program, "last", &["tea"]);
    last.ok(say("tea", "I am here"));
    until("nobody is left", || {
        number(&server.program, "totals", "websockets") == 1
    });
    server.program.stop();
}
