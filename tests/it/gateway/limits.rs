//! The limits of a gateway: what is counted together, and what a client over them is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use super::machine::{LINK_KEY, Machine};
use crate::support::http::{Answer, HttpClient, JSON};
use crate::support::parsed;

/// Where no upstream is: what a gateway takes waits in its outbox.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

const ONE: &str = r#"{"to":{"room":"tea"},"data":1}"#;

/// Hardly one more is let through while a test runs.
const SLOW: [&str; 4] = [
    "--set",
    "limits.requests_per_s_max=1",
    "--set",
    "limits.requests_burst_max=3",
];

fn post(address: SocketAddr, path: &str, fields: &str, body: &str) -> Answer {
    let fields = format!("{JSON}{fields}");
    let mut http = HttpClient::connect(address);
    http.ask_with("POST", path, &fields, body).unwrap()
}

#[test]
fn an_address_over_the_limit_gets_429_and_when_to_come_again() {
    let machine = Machine::start_with(&[NOWHERE], &SLOW);
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(post(machine.address(), "/v1/messages", "", ONE).status);
    }
    assert_eq!(statuses[..3], [202; 3]);
    assert!(statuses[3..].contains(&429), "{statuses:?}");
    // A batch is taken as a whole, and paid for afterwards.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let batch = format!(r#"{{"messages":[{ONE},{ONE},{ONE},{ONE}]}}"#);
    let batch = post(machine.address(), "/v1/messages/batch", "", &batch);
    assert_eq!(batch.status, 202, "{}", batch.body);
    let refused = post(machine.address(), "/v1/messages", "", ONE);
    assert_eq!(parsed(&refused.body)["error"]["code"], "rate_limited");
    let after = refused.fields.split_once("retry-after: ").unwrap().1;
    let after: u64 = after.split_once("\r\n").unwrap().0.parse().unwrap();
    assert!((2..=4).contains(&after), "{}", refused.fields);
    // The numbers are always there, and tell of it.
    let stats = machine.stats();
    let refused = statuses.iter().filter(|status| **status == 429).count() as u64 + 1;
    assert_eq!(stats["limits"]["requests_refused"], refused);
    assert_eq!(stats["refusals"]["rate"], refused);
}

#[test]
fn each_api_key_has_a_limit_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    let keys = [
        "a-key-of-the-shop-0123456789",
        "a-key-of-the-game-0123456789",
    ];
    let [shop, game] = keys.map(|key| format!("Authorization: Bearer {key}\r\n"));
    let text = format!(
        "[api_keys.shop]\nkey = \"{}\"\n[api_keys.game]\nkey = \"{}\"\n",
        keys[0], keys[1]
    );
    std::fs::write(&file, text).unwrap();
    let flags = [&SLOW[..], &["--config", file.to_str().unwrap()]].concat();
    let machine = Machine::start_with(&[NOWHERE], &flags);
    let statuses: Vec<u16> = (0..5)
        .map(|_| post(machine.address(), "/v1/messages", &shop, ONE).status)
        .collect();
    assert_eq!(statuses[4], 429, "{statuses:?}");
    assert_eq!(
        post(machine.address(), "/v1/messages", &game, ONE).status,
        202
    );
    assert_eq!(post(machine.address(), "/v1/messages", "", ONE).status, 401);
}

#[test]
fn a_setting_that_a_gateway_has_no_use_for_is_refused_at_the_start() {
    for setting in [
        "limits.commands_per_s_max=5",
        "chat.channels_max=5",
        "store.sync=os",
        "websocket.ping_ms=5",
        "uplink.key=0123456789abcdef0123",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args(["gateway", "--listen", "127.0.0.1:0", "--upstream"])
            .args(["ws://127.0.0.1:1/link", "--set", setting])
            .env("TIDINGS_GATEWAY_LINK_KEY", LINK_KEY)
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        let (key, _) = setting.split_once('=').unwrap();
        assert!(!output.status.success(), "{setting}");
        assert!(
            log.contains(&format!("{key} is a setting of `tidings serve`")),
            "{setting}: {log}"
        );
    }
}
