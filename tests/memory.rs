//! The memory that a logged-in connection takes, as the kernel counts it.
//!
//! A binary of its own: a page that processes share counts in parts for each of them, so that another
//! `tidings` that starts or ends meanwhile would change the result.
#![cfg(feature = "cli")]

#[path = "support/mod.rs"]
mod support;

use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

/// Few, so that it is quick; with 10,000 what doesn't depend on their number weighs less. That is
/// `tidings bench idle --url 'ws://…/ws?uid=u{member}&room=r{member}'`.
const CONNECTIONS: usize = 2_000;

/// Three times the goal of 1,024: tables grow by doubling, and where they stand is luck.
const BYTES_MAX: u64 = 3_072;

/// Bytes of PSS: pages that are shared count in parts.
fn pss(server: &Program) -> u64 {
    let pid = server.pid().as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let mut lines = text.lines();
    let kib = lines.find_map(|line| line.strip_prefix("Pss:")).unwrap();
    let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1_024
}

#[test]
fn a_connection_with_user_room_and_heartbeat_takes_a_few_hundred_bytes() {
    let server = Program::serve(&[]);
    let come = |number: usize| {
        let path = format!("/ws?uid=u{number}&room=r{number}");
        let mut client = server.websocket(&path);
        assert!(client.hear_text().contains("hello"));
        assert!(client.hear_text().contains(&format!("r{number}")));
        client
    };
    // What is made once is there already.
    let _first: Vec<WebSocketClient> = (0..50).map(come).collect();
    let before = pss(&server);
    let _clients: Vec<WebSocketClient> = (50..50 + CONNECTIONS).map(come).collect();
    let each = (pss(&server).saturating_sub(before)) / CONNECTIONS as u64;
    assert!(
        (300..=BYTES_MAX).contains(&each),
        "{each} bytes a connection"
    );
}
