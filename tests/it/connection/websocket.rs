//! The ends of a WebSocket.

use tidings::proto::connection::{CloseReason, Connection};

use super::peer::*;

fn closed_by_peer(code: Option<u16>, reason: &str) -> Seen {
    let reason = reason.into();
    Seen::Closed(CloseReason::Peer { code, reason })
}

#[test]
fn a_close_is_echoed_with_its_code() {
    for code in [1_000, 1_001, 1_014, 3_000, 4_999] {
        let mut peer = Peer::open();
        peer.receive([close(code), text("behind"), close(1_001)].concat());
        let expected = [Seen::CloseSent(Some(code)), closed_by_peer(Some(code), "")];
        assert_eq!(peer.seen(), expected);
    }
    let mut peer = Peer::open();
    peer.receive(frame(0x88, b""));
    assert_eq!(
        peer.seen(),
        [Seen::CloseSent(None), closed_by_peer(None, "")]
    );
    let mut peer = Peer::open();
    peer.receive(frame(0x88, b"\x03\xe8bye"));
    let expected = [
        Seen::CloseSent(Some(1_000)),
        closed_by_peer(Some(1_000), "bye"),
    ];
    assert_eq!(peer.seen(), expected);
}

#[test]
fn after_our_close_nothing_of_the_peer_counts_but_its_close() {
    for last in [close(1_000), frame(0x88, b""), vec![0xff, 0xff]] {
        let mut peer = Peer::open();
        peer.close(4_004);
        peer.close(1_001);
        peer.receive([text("crossed"), ping("p"), pong(), frame(0x01, b"half")].concat());
        assert_eq!(peer.seen(), [Seen::CloseSent(Some(4_004))], "{last:?}");
        assert!(!peer.connection.is_open() && peer.connection.is_websocket());
        peer.receive([&last[..], &text("behind")].concat());
        assert_eq!(peer.seen(), [Seen::Closed(CloseReason::Server(4_004))]);
    }
}

#[test]
fn the_end_of_the_stream_is_told_by_what_was_said_before() {
    let mut peer = Peer::open();
    peer.half_close();
    assert_eq!(peer.seen(), [Seen::Closed(CloseReason::Lost)]);

    let mut peer = Peer::open();
    peer.close(1_012);
    peer.half_close();
    let expected = [
        Seen::CloseSent(Some(1_012)),
        Seen::Closed(CloseReason::Server(1_012)),
    ];
    assert_eq!(peer.seen(), expected);
    peer.half_close();
    peer.abort(CloseReason::SlowReader);
    peer.close(1_000);
    peer.receive(text("late"));
    assert_eq!(peer.seen(), [], "the end comes once");

    let mut peer = Peer::open();
    peer.abort(CloseReason::SlowReader);
    assert_eq!(peer.seen(), [Seen::Closed(CloseReason::SlowReader)]);

    let mut peer = Peer::open();
    peer.close(1_012);
    peer.seen();
    peer.abort(CloseReason::Lost);
    assert_eq!(peer.seen(), [Seen::Closed(CloseReason::Server(1_012))]);
}

#[test]
fn http_knows_no_close_frame() {
    let mut peer = Peer::new();
    peer.close(1_000);
    peer.receive(get("/0"));
    peer.close(1_000);
    assert_eq!(peer.seen(), [request("/0", "")]);
}

#[test]
fn a_connection_is_small() {
    // An idle connection must cost less than 768 bytes in all, its slot, its place in the
    // directory, its user and its subscriptions among them.
    assert!(
        size_of::<Connection>() <= 144,
        "{}",
        size_of::<Connection>()
    );
}
