//! A reload: the settings of a changed file are in force as a whole once the command returns, or not at
//! all; nobody who is connected notices.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::manager::Manager;
use super::served::{OTHER_SECRET, SECRET, Served, with_keys, write_secret};
use super::{said, tidings};
use crate::support::chat_client::{ChatClient, say};
use crate::support::http::{HttpClient, JSON};
use crate::support::program::Program;
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

#[test]
fn what_a_reload_puts_into_force_is_in_force_once_the_command_returns() {
    let open = |top: &str| format!("{top}\n[store]\ndata = \"d\"\n");
    let served = Served::with(&open(""));
    let mut client = ChatClient::login(&served.server, "ann", &["tea"]);
    let evil = "Origin: https://app.example\r\n";
    assert_eq!(served.get("/v1/stats", evil), 403);
    let out = served.reload(&open("origins_allowed = [\"https://app.example\"]"));
    assert_eq!(
        out,
        "origins_allowed: [] → [\"https://app.example\"]\n\
         in force: generation 2 of the settings\n"
    );
    assert_eq!(served.get("/v1/stats", evil), 200);
    assert_eq!(served.get("/", ""), 200);
    served.reload(&open("page = \"off\""));
    assert_eq!(served.get("/v1/stats", evil), 403);
    assert_eq!(served.get("/", ""), 404);
    served.reload(&open("echo = true"));
    served.server.websocket("/echo").echo("it is there");
    let host = "Host: chat.example\r\n";
    let from_elsewhere = |served: &Served| {
        let mut http = served.server.http();
        http.send(format!("GET /v1/stats HTTP/1.1\r\n{host}\r\n"))
            .unwrap();
        http.answer().unwrap().status
    };
    assert_eq!(from_elsewhere(&served), 403);
    served.reload(&open("insecure = true"));
    assert_eq!(from_elsewhere(&served), 200);
    let stats = served
        .server
        .http()
        .ask("GET", "/v1/stats", "")
        .unwrap()
        .body;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["settings_generation"], 5);
    let status = served.status();
    assert_eq!(status["settings"]["generation"], 5);
    assert_eq!(status["last_reload"]["ok"], true);
    client.ok(say("tea", "still here"));
    drop(client);
    served.server.stop();
}

#[test]
fn new_keys_and_rules_for_tokens_count_from_the_reload_on() {
    let served = Served::with(&with_keys("", ""));
    let old = served.token(&[]);
    assert!(served.lets_in(&old));
    let mut client = ChatClient::on(served.server.websocket("/ws"));
    client.ok(json!({"type": "login", "token": old, "rooms": ["tea"]}));
    assert_eq!(served.bearer(&format!("{OTHER_SECRET}-ops")), 401);
    let more = format!(
        "[api_keys.ops]\nkey = \"{OTHER_SECRET}-ops\"\n[tokens.keys.k2]\nsecret_file = \"k2\"\n"
    );
    write_secret(&served.path().join("k2"), OTHER_SECRET);
    let file = with_keys("", &more);
    served.write(&file);
    let new = served.token(&["--kid", "k2"]);
    assert!(!served.lets_in(&new), "before the reload");
    let out = served.reload(&file);
    assert!(
        out.starts_with("api_keys.ops: added\ntokens.keys.k2: added\n"),
        "{out}"
    );
    assert!(served.lets_in(&new) && served.lets_in(&old));
    assert_eq!(served.bearer(&format!("{OTHER_SECRET}-ops")), 200);
    assert_eq!(served.bearer(&format!("{SECRET}-shop")), 200);
    let rules = with_keys("", &more).replace(
        "[tokens.keys.k1]",
        "[tokens]\naudience = [\"us\"]\n[tokens.keys.k1]",
    );
    served.reload(&rules);
    assert!(!served.lets_in(&old), "it names no audience");
    assert!(served.lets_in(&served.token(&[])));
    client.ok(say("tea", "still here"));
    drop(client);
    served.server.stop();
}

/// A WebSocket of a back end that shows this key.
fn back_end(served: &Served, key: &str) -> WebSocketClient {
    let bearer = format!("Bearer {key}");
    let mut client = served
        .server
        .websocket_with("/ws", &[("Authorization", &bearer)]);
    client.hear_text();
    client
}

#[test]
fn a_key_that_is_withdrawn_takes_its_connections_with_it_and_no_others() {
    let ops = format!("[api_keys.ops]\nkey = \"{OTHER_SECRET}-ops\"\n");
    let k2 = format!("[tokens.keys.k2]\nsecret = \"{OTHER_SECRET}\"\n");
    let served = Served::with(&with_keys("", &format!("{ops}{k2}")));
    let (by_k1, by_k2) = (
        served.token(&["--kid", "k1"]),
        served.token(&["--kid", "k2"]),
    );
    let user = |token: &str| {
        let mut client = ChatClient::on(served.server.websocket("/ws"));
        client.ok(json!({"type": "login", "token": token, "rooms": ["tea"]}));
        client
    };
    let (mut of_k1, mut of_k2, mut renewed) = (user(&by_k1), user(&by_k2), user(&by_k1));
    let mut of_shop = back_end(&served, &format!("{SECRET}-shop"));
    let mut of_ops = back_end(&served, &format!("{OTHER_SECRET}-ops"));
    // One that has logged in anew is the other key's.
    renewed.ok(json!({"type": "login", "token": by_k2, "rooms": ["tea"]}));
    let without_k1 = with_keys("", &ops).replace("tokens.keys.k1", "tokens.keys.k2");
    let without_k1 = without_k1.replace(&format!("\"{SECRET}\""), &format!("\"{OTHER_SECRET}\""));
    // The key of the same name is another one.
    let changed = without_k1.replace(&format!("{SECRET}-shop"), &format!("{SECRET}-shop-new"));
    let out = served.reload(&changed);
    assert!(
        out.starts_with("api_keys.shop.key: another value\ntokens.keys.k1: withdrawn\n"),
        "{out}"
    );
    let closed = |client: &mut WebSocketClient| loop {
        match client.hear_text_or_close() {
            Ok(text) if text.contains("\"kick\"") => {
                assert!(text.contains("the key was withdrawn"), "{text}");
            }
            Ok(_) => {}
            Err(code) => return code,
        }
    };
    assert_eq!(closed(&mut of_shop), 4001);
    assert_eq!(closed(&mut of_k1.client), 4005);
    assert!(!served.lets_in(&by_k1) && served.lets_in(&by_k2));
    assert_eq!(served.bearer(&format!("{SECRET}-shop")), 401);
    assert_eq!(served.bearer(&format!("{SECRET}-shop-new")), 200);
    for client in [&mut of_k2, &mut renewed] {
        client.ok(say("tea", "still here"));
    }
    let hello = json!({"type": "say", "seq": 1, "to": {"room": "tea"}, "from": "ops", "data": 1});
    of_ops.say(hello.to_string());
    assert!(of_ops.hear_text().contains("\"ok\""));
    let of_new = back_end(&served, &format!("{SECRET}-shop-new"));
    drop((of_k1, of_k2, renewed, of_shop, of_ops, of_new));
    served.server.stop();
}

#[test]
fn rates_and_the_time_for_a_login_change_with_a_reload() {
    let file = |limits: &str| with_keys("", &format!("{limits}\n"));
    let served = Served::with(&file(""));
    let shop = || {
        let fields = format!("Authorization: Bearer {SECRET}-shop\r\n{JSON}");
        let body = r#"{"to":{"room":"other"},"data":1}"#;
        let mut http = served.server.http();
        let answer = http.ask_with("POST", "/v1/messages", &fields, body);
        answer.unwrap().status
    };
    assert_eq!([shop(), shop(), shop()], [200; 3]);
    let token = served.token(&[]);
    let mut client = ChatClient::on(served.server.websocket("/ws"));
    client.ok(json!({"type": "login", "token": token, "rooms": ["tea"]}));
    let limits = "[limits]\nrequests_per_s_max = 1\nrequests_burst_max = 2\n\
                  commands_per_s_max = 1\ncommands_burst_max = 1\n";
    served.reload(&file(limits));
    until("a request is one too many", || shop() == 429);
    until("a command is one too many", || {
        client.ask(say("tea", "again"))["code"] == "rate_limited"
    });
    served.reload(&file(""));
    assert_eq!(shop(), 200);
    client.ok(say("tea", "three"));
    let soon = file("").replace(
        "[tokens.keys.k1]",
        "[tokens]\nlogin_ms_max = 100\n[tokens.keys.k1]",
    );
    served.reload(&soon);
    let mut late = served.server.websocket("/ws");
    let closed = loop {
        if let Err(code) = late.hear_text_or_close() {
            break code;
        }
    };
    assert_eq!(closed, 4002);
    drop((client, late));
    served.server.stop();
}

#[test]
fn the_level_of_the_log_changes_with_a_reload() {
    let level = |level: &str| format!("[log]\nlevel = \"{level}\"\n[store]\ndata = \"d\"\n");
    let mut served = Served::with(&level("error"));
    let refuse = |served: &Served| served.get("/v1/stats", "Origin: https://evil.example\r\n");
    assert_eq!(refuse(&served), 403);
    served.reload(&level("info"));
    let line = served.server.stderr.wait_for("");
    assert!(line.contains("the settings were read anew"), "{line}");
    // Until another line may be written.
    until("a refusal is logged", || {
        refuse(&served);
        served.server.stderr.has("refused")
    });
    served.server.stop();
}

/// A file that changes nothing, and a part of the reason.
fn wrong_files(folder: &Path) -> Vec<(String, &'static str)> {
    let key_file = folder.join("gone");
    let keys = |top: &str| with_keys(top, "");
    vec![
        (keys("workers = "), "t.toml:1: that is no TOML"),
        (keys("\nworkers = \"many\""), "t.toml:2: workers is"),
        (keys("wrkers = 2"), "did you mean workers?"),
        (
            keys("\n\nworkers = 3"),
            "t.toml:3: workers: 1 → 3, which takes `tidings upgrade`",
        ),
        (
            keys("page = \"on\"\nnode = \"n\""),
            "t.toml:2: node: \"\" → \"n\", which takes `tidings upgrade`",
        ),
        (
            "[store]\ndata = \"d\"\n".to_owned(),
            "from open mode to keys, and back, takes a restart",
        ),
        (
            with_keys("", &format!("[api_keys.ops]\nkey_file = {key_file:?}\n")),
            "api_keys.ops.key_file: can't read",
        ),
        (
            with_keys(
                "",
                "[tokens.keys.k2]\nalgorithm = \"ES256\"\npublic_key = \"-----BEGIN X\"\n",
            ),
            "tokens.keys.k2",
        ),
        (
            with_keys("", "[api_keys.ops]\nkey = \"short\"\n"),
            "needs at least 20",
        ),
    ]
}

#[test]
fn a_file_that_is_wrong_or_takes_a_restart_changes_nothing() {
    let served = Served::with(&with_keys("", ""));
    let token = served.token(&[]);
    let before = served.status();
    for (file, reason) in wrong_files(served.path()) {
        let err = served.refused(&file);
        assert!(err.contains(reason), "{reason}: {err}");
        let after = served.status();
        assert_eq!(after["last_reload"]["ok"], false);
        let told = after["last_reload"]["error"].as_str().unwrap();
        assert!(told.contains(reason), "{reason}: {told}");
        for field in ["settings", "pid", "listen", "state"] {
            assert_eq!(after[field], before[field], "{reason}");
        }
        assert_eq!(served.get("/", ""), 404, "the page is off");
        assert_eq!(served.bearer(&format!("{SECRET}-shop")), 200);
        served.write(&with_keys("", ""));
        assert!(served.lets_in(&token), "{reason}");
        until("whoever asked has gone", || {
            served.status()["connections"] == before["connections"]
        });
    }
    let gone = fs::remove_file(served.path().join("t.toml"));
    gone.unwrap();
    let reload = &mut tidings(served.path(), &["reload", "--data", "d"]);
    let (code, _, err) = said(reload);
    assert_eq!(code, 1);
    assert!(err.contains("t.toml: can't read the settings"), "{err}");
    served.server.stop();
}

#[test]
fn a_log_folder_that_is_gone_refuses_the_whole_reload() {
    let folder = tempfile::tempdir().unwrap();
    let logs: PathBuf = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let file = |page: &str| {
        format!(
            "page = \"{page}\"\n[store]\ndata = \"d\"\n[log]\nfile = {:?}\n",
            logs.join("log")
        )
    };
    let served = Served::with(&file("open"));
    let moved = folder.path().join("moved");
    fs::rename(&logs, &moved).unwrap();
    let err = served.refused(&file("off"));
    assert!(err.contains("can't open the log file"), "{err}");
    assert_eq!(served.get("/", ""), 200);
    fs::rename(&moved, &logs).unwrap();
    fs::rename(logs.join("log"), logs.join("log.1")).unwrap();
    served.reload(&file("off"));
    assert_eq!(served.get("/", ""), 404);
    // Lines of the log are written by a thread of their own.
    until("the new file has the line", || {
        let log = fs::read_to_string(logs.join("log")).unwrap();
        log.contains("the settings were read anew")
    });
    served.server.stop();
}

#[test]
fn a_check_says_what_would_change_and_changes_nothing() {
    let served = Served::with("[store]\ndata = \"d\"\n");
    served.write("page = \"off\"\n[store]\ndata = \"d\"\n");
    let (code, out, err) = served.command(&["reload", "--check"]);
    assert_eq!((code, &*err), (0, ""));
    assert!(out.starts_with("page: \"open\" → \"off\"\n"), "{out}");
    assert_eq!(served.get("/", ""), 200);
    assert_eq!(served.status()["settings"]["generation"], 1);
    assert_eq!(served.status()["last_reload"], Value::Null);
    served.write("workers = 4\n[store]\ndata = \"d\"\n");
    let (code, _, err) = served.command(&["reload", "--check"]);
    assert_eq!(code, 1);
    assert!(err.contains("workers: 1 → 4"), "{err}");
    served.server.stop();
}

#[test]
fn sighup_is_a_reload_and_a_manager_is_told_of_both_its_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = Manager::within(folder.path());
    let name = manager.name.clone();
    let mut served = Served::started("[store]\ndata = \"d\"\n", |command| {
        command.env("NOTIFY_SOCKET", name);
    });
    manager.wait_for("READY=1");
    let serving = format!("STATUS=serving on {}", served.server.address);
    served.write("page = \"off\"\n[store]\ndata = \"d\"\n");
    served.server.signal(Signal::HUP);
    let began = manager.wait_for("RELOADING=1");
    let (name, usec) = began[1].split_once('=').unwrap();
    assert_eq!(name, "MONOTONIC_USEC");
    assert!(usec.parse::<u64>().unwrap() > 0);
    assert_eq!(manager.wait_for("READY=1")[1], serving);
    assert_eq!(served.get("/", ""), 404);
    served.write("workers = 4\n[store]\ndata = \"d\"\n");
    served.server.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    let status = &manager.wait_for("READY=1")[1];
    assert!(status.starts_with(&serving), "{status}");
    assert!(status.contains("the last reload: "), "{status}");
    served
        .server
        .stderr
        .wait_for("the settings stay what they are");
    assert_eq!(served.status()["settings"]["generation"], 2);
    served.server.stop();
}

#[test]
fn sighup_during_a_start_doesnt_end_it_and_is_heeded_once_the_server_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("k1");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let keys = "[tokens.keys.k1]\nsecret_file = \"k1\"\n[store]\ndata = \"d\"\n\
                [gateway]\nupstreams = [\"ws://127.0.0.1:9/link\"]\nlink_key = ";
    let text = format!("{keys}\"{SECRET}\"\n");
    write_secret(&folder.path().join("t.toml"), &text);
    for kind in ["serve", "gateway"] {
        let arguments = [kind, "--listen", "127.0.0.1:0", "--config", "t.toml"];
        let mut command = tidings(folder.path(), &arguments);
        let (sender, receiver) = std::sync::mpsc::channel();
        let signalling = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                // It is there to be signalled once it has opened the pipe, which is in the middle of
                // its start.
                let mut writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
                let pid = receiver.recv().unwrap();
                for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
                    rustix::process::kill_process(pid, signal).unwrap();
                }
                std::io::Write::write_all(&mut writer, SECRET.as_bytes()).unwrap();
            }
        });
        let mut program = Program::start_telling(&mut command, |pid| sender.send(pid).unwrap());
        signalling.join().unwrap();
        // The settings are read once more.
        fs::write(&pipe, SECRET).unwrap();
        program.stderr.wait_for("the settings were read anew");
        program.stop();
    }
}

#[test]
fn a_gateway_takes_new_api_keys_too() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |more: &str| {
        format!(
            "[api_keys.shop]\nkey = \"{SECRET}-shop\"\n{more}[gateway]\nlink_key = \"{SECRET}\"\n"
        )
    };
    fs::write(folder.path().join("t.toml"), keys("")).unwrap();
    let gateway = ["gateway", "--listen", "127.0.0.1:0", "--config", "t.toml"];
    let gateway = [&gateway[..], &["--upstream", "ws://127.0.0.1:9/link"]].concat();
    let gateway = Program::start(&mut tidings(folder.path(), &gateway));
    let ops = format!("Authorization: Bearer {OTHER_SECRET}-ops\r\n");
    let mut http = HttpClient::connect(gateway.address);
    assert_eq!(
        http.ask_with("GET", "/v1/stats", &ops, "").unwrap().status,
        401
    );
    let more = format!("[api_keys.ops]\nkey = \"{OTHER_SECRET}-ops\"\n");
    fs::write(folder.path().join("t.toml"), keys(&more)).unwrap();
    let reload = ["reload", "--gateway", "--config", "t.toml"];
    let (code, out, err) = said(&mut tidings(folder.path(), &reload));
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("api_keys.ops: added\n"), "{out}");
    let answer = http.ask_with("GET", "/v1/stats", &ops, "").unwrap();
    assert_eq!(answer.status, 200);
    let stats: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(stats["settings_generation"], 2);
    drop(http);
    gateway.stop();
}

#[test]
fn a_busy_room_notices_nothing_of_a_hundred_reloads() {
    const MESSAGES: u64 = 1_000;
    // Members that read nothing meanwhile answer no ping.
    const QUIET: &str = "[store]\ndata = \"d\"\n[websocket]\nping_ms = 0\n";
    let served = Served::with(QUIET);
    let mut members: Vec<_> = (0..10)
        .map(|number| ChatClient::login(&served.server, &format!("u{number}"), &["tea"]))
        .collect();
    let mut sender = ChatClient::login(&served.server, "sender", &["tea"]);
    std::thread::scope(|scope| {
        let saying = scope.spawn(|| {
            for number in 0..MESSAGES {
                sender.ok(say("tea", &number.to_string()));
            }
        });
        for number in 0..100 {
            let page = ["on", "off"][number % 2];
            served.reload(&format!("page = \"{page}\"\n{QUIET}"));
        }
        saying.join().unwrap();
    });
    for member in &mut members {
        member.hear_offsets("tea", 1..=MESSAGES);
    }
    assert_eq!(served.status()["settings"]["generation"], 101);
    drop((members, sender));
    served.server.stop();
}
