//! Small talk beside a room, as `tidings bench fanout --beside` measures it.

use std::process::Command;

use serde_json::Value;

use crate::support::parsed;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

/// The report of a short run against a room of 100.
fn report(server: &Program, flags: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(["bench", "fanout", "--members", "100", "--json", "-"])
        .args(["--seconds", "0.3", "--warm-up", "0.1", "--settle", "0.05"])
        .args(["--url", &server.url("ws", "/ws")])
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    parsed(std::str::from_utf8(&output.stdout).unwrap())
}

#[test]
fn a_report_says_how_long_small_talk_waits_beside_the_room() {
    let server = Program::serve(&["--echo"]);
    let json = report(&server, &["--beside", "2"]);
    for key in [
        "beside_latency_p50_us",
        "beside_latency_p99_us",
        "deliveries",
    ] {
        assert!(json[key].as_f64() > Some(0.0), "{key} in {json}");
    }
    assert_eq!((&json["lost"], &json["misordered"]), (&0.into(), &0.into()));
    let alone = report(&server, &[]);
    assert_eq!(alone["beside_latency_p50_us"], Value::Null, "{alone}");
    server.stop();
}

#[test]
fn a_setting_says_how_many_members_of_a_large_room_are_written_to_in_one_turn() {
    let server = Program::serve(&[
        "--set",
        "reactor.turn_writes_max=1",
        "--set",
        "chat.presence_users_max=0",
    ]);
    let path = |number| format!("/ws?uid=u{number}&room=tea");
    let members = (0..100).map(|number| server.websocket(&path(number)));
    let mut members: Vec<WebSocketClient> = members.collect();
    for member in &mut members {
        let greeting = [member.hear_text(), member.hear_text()];
        assert!(greeting[1].contains(r#""type":"ok""#), "{greeting:?}");
    }
    let mut http = server.http();
    let mut turns = || {
        let stats = http.ask("GET", "/v1/stats", "").unwrap().body;
        parsed(&stats)["totals"]["turns"].as_u64().unwrap()
    };
    let before = turns();
    members[0].say(r#"{"type":"say","to":{"room":"tea"},"data":1}"#);
    for member in &mut members {
        while !member.hear_text().contains(r#""data":1"#) {}
    }
    // Nobody else is at work, so each turn writes to one.
    assert!(turns() - before >= 100 - 2);
    drop((members, http));
    server.stop();
}
