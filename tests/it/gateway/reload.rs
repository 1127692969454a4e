//! A reload of a gateway: other upstreams and other settings of links, while messages are on the way.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::machine::{Machine, message};
use super::sender::Senders;
use super::upstream::Upstream;
use crate::support::tls::everywhere;
use crate::support::wait::until;

/// A gateway with a file of settings that the test changes.
struct Reloaded {
    machine: Machine,
    file: TempDir,
}

impl Reloaded {
    fn start(upstreams: &[SocketAddr], more: &str) -> Self {
        let file = tempfile::tempdir().unwrap();
        let path = file.path().join("t.toml");
        std::fs::write(&path, text(upstreams, more)).unwrap();
        let config = ["--config", path.to_str().unwrap()];
        // What these tests are about are links that stay, also on a busy machine.
        let patient = ["--set", "gateway.silence_ms_max=20000"];
        let machine = Machine::start_with(&[], &[config, patient].concat());
        Self { machine, file }
    }

    /// Has a file put into force, and gives what the command said.
    #[track_caller]
    fn reload(&self, upstreams: &[SocketAddr], more: &str) -> String {
        std::fs::write(self.file.path().join("t.toml"), text(upstreams, more)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .env_clear()
            .args(["reload", "--gateway", "--data"])
            .arg(self.machine.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn numbers_of(&self, upstream: &Upstream) -> Value {
        let stats = self.machine.stats();
        let upstreams = stats["upstreams"].as_array().unwrap();
        let url = everywhere::websocket_url(upstream.address, "/link");
        let found = upstreams.iter().find(|one| one["url"] == *url);
        found
            .unwrap_or_else(|| panic!("no {url} in {stats}"))
            .clone()
    }
}

fn text(upstreams: &[SocketAddr], more: &str) -> String {
    let urls = upstreams.iter();
    let urls = urls.map(|at| format!("{:?}", everywhere::websocket_url(*at, "/link")));
    let urls: Vec<_> = urls.collect();
    format!("[gateway]\nupstreams = [{}]\n{more}\n", urls.join(", "))
}

#[test]
fn an_upstream_that_comes_gets_what_waits_and_one_that_stays_keeps_its_link() {
    let (stays, comes) = (Upstream::start(), Upstream::start());
    stays.state().is_mute = true;
    let mut gateway = Reloaded::start(&[stays.address], "");
    for number in 1..=3 {
        assert_eq!(gateway.machine.say("ann", number).status, 202);
    }
    until("they are on the way", || stays.count() == 3);
    let push = gateway.machine.push_pid();
    let out = gateway.reload(&[comes.address, stays.address], "");
    assert!(out.contains("gateway.upstreams: ["), "{out}");
    until("the new one has them all", || {
        comes.heard_of("ann") == [1, 2, 3]
    });
    until("they are settled there", || {
        gateway.numbers_of(&comes)["waiting"] == 0
    });
    let numbers = gateway.numbers_of(&stays);
    assert_eq!(
        (&numbers["waiting"], &numbers["state"]),
        (&3.into(), &"open".into())
    );
    assert_eq!(stays.state().opens.len(), 1, "its link stays");
    assert_eq!(gateway.machine.stats()["outbox"]["messages"], 3);
    stays.state().is_mute = false;
    assert_eq!(gateway.machine.say("ann", 4).status, 202);
    gateway.machine.until_settled();
    assert_eq!(stays.heard_of("ann"), [1, 2, 3, 4]);
    assert_eq!(stays.state().opens.len(), 1);
    assert_eq!(gateway.machine.push_pid(), push);
    gateway.machine.stop();
}

#[test]
fn an_upstream_that_leaves_keeps_nothing_back_and_its_link_says_goodbye() {
    let (stays, leaves) = (Upstream::start(), Upstream::start());
    leaves.state().is_mute = true;
    let mut gateway = Reloaded::start(&[leaves.address, stays.address], "");
    for number in 1..=3 {
        assert_eq!(gateway.machine.say("ann", number).status, 202);
    }
    until("one has them", || stays.count() == 3);
    assert_eq!(gateway.machine.stats()["outbox"]["messages"], 3);
    gateway.reload(&[stays.address], "");
    gateway.machine.until_settled();
    until("the link says goodbye", || {
        leaves.state().ends.back() == Some(&Some(1001))
    });
    assert_eq!(stays.state().opens.len(), 1);
    gateway.machine.stop();
}

#[test]
fn what_one_upstream_says_settles_nothing_of_another_however_often_the_list_changes() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let (a, b) = (first.address, second.address);
    let mut gateway = Reloaded::start(&[a, b], "");
    let senders = Senders::start(gateway.machine.address(), 2);
    // The second one is always among them, but its place changes.
    for round in 0..10 {
        let taken = senders.taken();
        until("messages go on", || senders.taken() > taken + 20);
        let list = [vec![b, a], vec![b], vec![a, b]];
        gateway.reload(&list[round % 3], "");
    }
    let taken = senders.stop();
    gateway.machine.until_settled();
    for (name, count) in taken {
        let all: Vec<u64> = (1..=count).collect();
        assert_eq!(second.heard_of(&name), all, "{name}");
        let heard = first.heard_of(&name);
        assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
        assert_eq!(heard.last(), all.last());
    }
    assert_eq!(second.state().opens.len(), 1, "its link stays");
    gateway.machine.stop();
}

#[test]
fn a_refusal_under_another_list_is_still_one_dead_letter() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let (a, b) = (first.address, second.address);
    let mut gateway = Reloaded::start(&[a, b], "");
    for round in 0..6 {
        second.state().refused.insert(format!("ann-{round}"));
        let answer = gateway.machine.post("/v1/messages", &message("ann", round));
        assert_eq!(answer.status, 202);
        let list = [vec![b], vec![a, b]];
        gateway.reload(&list[round as usize % 2], "");
    }
    gateway.machine.until_settled();
    until("each is a dead letter", || {
        gateway.machine.stats()["outbox"]["dead_letters"] == 6
    });
    assert!(second.heard_of("ann").is_empty());
    gateway.machine.stop();
}

#[test]
fn links_are_made_anew_with_other_times_and_nothing_is_lost() {
    let upstream = Upstream::start();
    upstream.state().is_mute = true;
    let mut gateway = Reloaded::start(&[upstream.address], "on_way_max = 2");
    for number in 1..=5 {
        assert_eq!(gateway.machine.say("ann", number).status, 202);
    }
    until("no more is on the way", || upstream.count() == 2);
    gateway.reload(
        &[upstream.address],
        "on_way_max = 100\noutbox_size_max = 2_000_000",
    );
    until("the rest is on the way", || upstream.count() == 5);
    assert_eq!(upstream.state().opens.len(), 2);
    upstream.state().is_mute = false;
    assert_eq!(gateway.machine.say("ann", 6).status, 202);
    gateway.machine.until_settled();
    assert_eq!(upstream.heard_of("ann"), [1, 2, 3, 4, 5, 6]);
    gateway.machine.stop();
}

#[test]
fn the_bounds_of_messages_and_of_the_outbox_change() {
    let upstream = Upstream::start();
    let mut gateway = Reloaded::start(&[upstream.address], "");
    let large = format!(
        r#"{{"to":{{"room":"tea"}},"data":"{}"}}"#,
        "x".repeat(100_000)
    );
    assert_eq!(gateway.machine.post("/v1/messages", &large).status, 413);
    let more = "[websocket]\nmessage_size_max = 200_000";
    gateway.reload(&[upstream.address], more);
    assert_eq!(gateway.machine.post("/v1/messages", &large).status, 202);
    gateway.machine.until_settled();
    upstream.state().is_mute = true;
    gateway.reload(
        &[upstream.address],
        &format!("outbox_size_max = 1_048_576\n{more}"),
    );
    until("the outbox is full", || {
        gateway.machine.post("/v1/messages", &large).status == 503
    });
    gateway.reload(&[upstream.address], more);
    until("there is room again", || {
        gateway.machine.post("/v1/messages", &large).status == 202
    });
    upstream.state().is_mute = false;
    gateway.machine.kill_push();
    gateway.machine.until_settled();
    gateway.machine.stop();
}

#[test]
fn the_push_process_logs_by_the_new_level_without_a_restart_and_after_one() {
    let nobody = Upstream::start().address;
    let level = |level: &str| format!("[log]\nlevel = \"{level}\"");
    let mut gateway = Reloaded::start(&[nobody], &level("error"));
    let push = gateway.machine.push_pid();
    gateway.reload(&[nobody], &level("debug"));
    let said = "tidings::gateway::push";
    gateway.machine.program().stderr.wait_for(said);
    assert_eq!(gateway.machine.push_pid(), push);
    gateway.reload(&[nobody], &level("error"));
    gateway.machine.kill_push();
    until("another one runs", || gateway.machine.push_pid() != push);
    gateway.reload(&[nobody], &level("error,tidings::gateway::push=debug"));
    gateway.machine.program().stderr.wait_for(said);
    gateway.machine.stop();
}

#[test]
fn a_gateway_without_an_upstream_is_refused_and_goes_on() {
    let upstream = Upstream::start();
    let mut gateway = Reloaded::start(&[upstream.address], "");
    std::fs::write(gateway.file.path().join("t.toml"), text(&[], "")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .env_clear()
        .args(["reload", "--gateway", "--data"])
        .arg(gateway.machine.folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("a gateway needs an upstream"), "{told}");
    assert_eq!(gateway.machine.say("ann", 1).status, 202);
    gateway.machine.until_settled();
    assert_eq!(upstream.state().opens.len(), 1);
    gateway.machine.stop();
}
