//! Bytes as they come from a connection, in any segments, against the real server.

use super::raw::RawConnection;
use super::tools::against_both;
use crate::support::frame::frame;

/// The tests below know every byte that comes.
const NO_PINGS: [&str; 2] = ["--ping-ms", "0"];

const HANDSHAKE: &str = "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The answer to that key, by RFC 6455 §1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    const REQUESTS: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
        POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello\
        HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
        GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    against_both(&NO_PINGS, |server| {
        let mut connection = RawConnection::open(server);
        connection.write(REQUESTS.as_bytes());
        let told = connection.read_to_end();
        let statuses: Vec<&str> = told
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| &answer[..3])
            .collect();
        assert_eq!(statuses, ["200", "415", "200", "404"], "{told}");
    });
}

#[test]
fn frames_in_the_segment_of_the_handshake_are_heard() {
    let bytes = handshake_and_frames();
    against_both(&NO_PINGS, |server| {
        let mut connection = RawConnection::open(server);
        connection.write(&bytes);
        assert_opened_and_echoed(&mut connection);
    });
}

#[test]
fn frames_are_heard_when_a_request_comes_before_the_handshake_in_their_segment() {
    let request = "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let bytes = [request.as_bytes(), &handshake_and_frames()].concat();
    against_both(&NO_PINGS, |server| {
        let mut connection = RawConnection::open(server);
        connection.write(&bytes);
        let head = connection.read_head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        connection.read(length.unwrap().parse().unwrap());
        assert_opened_and_echoed(&mut connection);
    });
}

#[test]
fn a_handshake_and_frames_that_come_byte_by_byte_are_heard() {
    let bytes = handshake_and_frames();
    against_both(&NO_PINGS, |server| {
        let mut connection = RawConnection::open(server);
        for byte in &bytes {
            connection.write(&[*byte]);
        }
        assert_opened_and_echoed(&mut connection);
    });
}

/// A handshake, a message and a ping, in one piece.
fn handshake_and_frames() -> Vec<u8> {
    let (message, ping) = (frame(0x81, b"hello"), frame(0x89, b"there?"));
    [HANDSHAKE.as_bytes(), &message, &ping].concat()
}

/// The 101, then the echo and the pong (of a worker and of the reactor: in any order), then,
/// when it was asked for, the Close and the end.
fn assert_opened_and_echoed(connection: &mut RawConnection) {
    let head = connection.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
        "{head}"
    );
    let (echo, pong): (&[u8], &[u8]) = (b"\x81\x05hello", b"\x8a\x06there?");
    let answers = connection.read(echo.len() + pong.len());
    assert!(
        answers == [echo, pong].concat() || answers == [pong, echo].concat(),
        "{}",
        answers.escape_ascii()
    );
    connection.write(&frame(0x88, &1000_u16.to_be_bytes()));
    assert_eq!(connection.read_to_end(), "\u{88}\u{2}\u{3}\u{e8}");
}
