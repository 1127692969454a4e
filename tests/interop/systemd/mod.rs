//! systemd itself as the manager of `tidings serve` and `tidings gateway`, with the units of `contrib/`: it
//! starts them, reloads them or is told why not, keeps its main process through an upgrade, starts one
//! anew that is stuck, and stops them.
//!
//! Where a machine lets no systemd run in namespaces, the test says why; with `TIDINGS_SYSTEMD=required` it
//! fails then. `tests/it/service/manager.rs` holds the same protocol everywhere.

mod booted;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::chat_client::{ChatClient, say};
use crate::support::http::HttpClient;
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;
use booted::Booted;

const LINK_KEY: &str = "0123456789abcdef0123456789abcdef";

/// What the units of the tests have besides: the log in a file, nothing of a whole system, and a watchdog.
fn more(watchdog_s: u32) -> String {
    format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nStandardError=append:/etc/log\nRestartSec=1\n\
         WatchdogSec={watchdog_s}\n"
    )
}

/// One that also a busy machine feeds in time.
const WATCHDOG_S: u32 = 6;

struct Service {
    unit: &'static str,
    settings: &'static str,
    /// How it is asked.
    asked: &'static [&'static str],
}

const SERVICES: [Service; 2] = [
    Service {
        unit: "tidings.service",
        settings: "tidings.toml",
        asked: &["--control", "/run/tidings/control.sock"],
    },
    Service {
        unit: "tidings-gateway.service",
        settings: "gateway.toml",
        asked: &[
            "--gateway",
            "--control",
            "/run/tidings-gateway/control.sock",
        ],
    },
];

fn settings(service: &Service, more: &str) -> String {
    let own = match service.settings {
        "gateway.toml" => format!(
            "[gateway]\nupstreams = [\"ws://127.0.0.1:9/link\"]\nlink_key = \"{LINK_KEY}\"\n"
        ),
        _ => String::new(),
    };
    format!("listen = \"127.0.0.1:0\"\n{more}\n{own}")
}

impl Service {
    fn write(&self, booted: &Booted, text: &str) {
        let path = booted.folder.path().join("etc/tidings").join(self.settings);
        fs::write(path, text).unwrap();
    }

    /// A command of `tidings`: its exit code, and what it said.
    fn tidings(&self, booted: &Booted, command: &[&str]) -> (i32, String) {
        let mut inside = booted.inside("/usr/local/bin/tidings");
        let output = inside.args(command).args(self.asked).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        (output.status.code().unwrap(), said)
    }

    fn status(&self, booted: &Booted) -> Value {
        let (code, said) = self.tidings(booted, &["status", "--json"]);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(&said).unwrap()
    }

    fn address(&self, booted: &Booted) -> SocketAddr {
        let status = self.status(booted);
        status["listen"][0].as_str().unwrap().parse().unwrap()
    }

    /// It serves, and systemd knows that and its process.
    #[track_caller]
    fn serves(&self, booted: &Booted, pid: &str) {
        let property = |name| booted.property(self.unit, name);
        until("it is active", || property("ActiveState") == "active");
        assert_eq!(property("MainPID"), pid, "{}", booted.log());
        let serving = format!("serving on {}", self.address(booted));
        until("systemd is told", || {
            property("StatusText").starts_with(&serving)
        });
    }
}

/// What systemd itself finds in the units.
fn the_units_are_right(booted: &Booted) {
    let mut verify = booted.inside("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    let units = SERVICES.map(|service| format!("/etc/systemd/system/{}", service.unit));
    let output = verify.args(units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

fn a_reload_is_obeyed_or_refused(service: &Service, booted: &Booted, pid: &str) {
    let generation = || service.status(booted)["settings"]["generation"].clone();
    assert_eq!(generation(), 1);
    service.write(booted, "not toml");
    let refused = booted.ctl(&["reload", service.unit]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    service.serves(booted, pid);
    assert_eq!(generation(), 1);
    assert!(booted.log().contains("that is no TOML"), "{}", booted.log());
    service.write(booted, &settings(service, "stop_ms_max = 9000"));
    booted.does(&["reload", service.unit]);
    service.serves(booted, pid);
    assert_eq!(generation(), 2);
}

/// A client of a server, or a connection of a gateway, that lives through the upgrades.
enum Carried {
    Chat(Box<ChatClient>),
    Http(HttpClient),
}

impl Carried {
    fn connect(service: &Service, address: SocketAddr) -> Self {
        if service.settings == "gateway.toml" {
            return Self::Http(HttpClient::connect(address));
        }
        let mut client = ChatClient::on(WebSocketClient::connect(address, "/ws"));
        client.ok(json!({"type": "login", "uid": "ann", "rooms": ["tea"]}));
        Self::Chat(client.into())
    }

    #[track_caller]
    fn is_served(&mut self) {
        match self {
            Self::Http(http) => assert_eq!(http.get("/readyz").status, 200),
            Self::Chat(client) => drop(client.ok(say("tea", "still here"))),
        }
    }
}

/// An upgrade that is refused, one by a command and one by a signal; process and connection stay.
fn an_upgrade_keeps_process_and_clients(service: &Service, booted: &Booted, pid: &str) {
    let mut client = Carried::connect(service, service.address(booted));
    client.is_served();
    let upgrades = || booted.log().matches("upgraded from=").count();
    let before = upgrades();
    let (code, said) = service.tidings(booted, &["upgrade", "--binary", "/nowhere"]);
    assert_eq!(code, 1, "{said}");
    service.serves(booted, pid);
    let (code, said) = service.tidings(booted, &["upgrade"]);
    assert_eq!(code, 0, "{said}{}", booted.log());
    assert!(said.contains("1 connections carried"), "{said}");
    service.serves(booted, pid);
    client.is_served();
    booted.does(&["kill", "--kill-who=main", "--signal=SIGUSR2", service.unit]);
    until("that one is done, too", || upgrades() == before + 2);
    service.serves(booted, pid);
    client.is_served();
    let fed = || booted.property(service.unit, "WatchdogTimestampMonotonic");
    let before = fed();
    until("it is fed again", || fed() != before);
    assert_eq!(booted.property(service.unit, "NRestarts"), "0");
}

fn one_that_is_stuck_is_started_anew(service: &Service, booted: &Booted) {
    let pid_outside = |inside: &str| {
        let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status"));
        let all = fs::read_dir("/proc").unwrap().flatten();
        let names = all.filter_map(|one| one.file_name().into_string().ok());
        let ends = format!("\t{inside}");
        let is_ours = |pid: &String| {
            let is_nested = |line: &str| {
                line.starts_with("NSpid:")
                    && line.ends_with(&ends)
                    && line.matches('\t').count() > 1
            };
            let is_tidings = fs::read_to_string(format!("/proc/{pid}/comm"));
            is_tidings.is_ok_and(|name| name.trim() == "tidings")
                && status(pid).is_ok_and(|text| text.lines().any(is_nested))
        };
        let mut ours = names.filter(is_ours);
        let pid: i32 = ours.next().expect("it runs").parse().unwrap();
        Pid::from_raw(pid).unwrap()
    };
    let more_of = format!("etc/systemd/system/{}.d/tests.conf", service.unit);
    fs::write(booted.folder.path().join(more_of), more(2)).unwrap();
    booted.does(&["daemon-reload"]);
    booted.does(&["restart", service.unit]);
    let before = booted.property(service.unit, "MainPID");
    kill_process(pid_outside(&before), Signal::STOP).unwrap();
    let property = |name| booted.property(service.unit, name);
    until("it is ended", || property("Result") == "watchdog");
    until("it is started anew", || {
        let is_another = property("MainPID") != before && property("NRestarts") != "0";
        is_another && property("ActiveState") == "active"
    });
}

#[test]
fn systemd_starts_reloads_upgrades_watches_and_stops_a_server_and_a_gateway() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    let target = "[Unit]\nDescription=tests\nDefaultDependencies=no\n".to_owned();
    let mut files = vec![
        ("systemd/system/tests.target", target),
        (
            "passwd",
            "root:x:0:0::/:/bin/sh\ntidings:x:999:999::/:/bin/false\n".into(),
        ),
        ("group", "root:x:0:\ntidings:x:999:\n".into()),
    ];
    let names: Vec<[String; 3]> = SERVICES
        .iter()
        .map(|service| {
            let unit = format!("systemd/system/{}", service.unit);
            [
                unit.clone(),
                format!("{unit}.d/tests.conf"),
                format!("tidings/{}", service.settings),
            ]
        })
        .collect();
    for (service, [unit, more_of, file]) in SERVICES.iter().zip(&names) {
        let text = fs::read_to_string(units.join(service.unit)).unwrap();
        files.push((unit, text));
        files.push((more_of, more(WATCHDOG_S)));
        files.push((file, settings(service, "")));
    }
    let booted = match Booted::boot(&files) {
        Ok(booted) => booted,
        Err(reason) => {
            assert!(std::env::var_os("TIDINGS_SYSTEMD").is_none(), "{reason}");
            println!("left out, since no systemd runs here: {reason}");
            return;
        }
    };
    the_units_are_right(&booted);
    for service in &SERVICES {
        booted.does(&["start", service.unit]);
        let pid = booted.property(service.unit, "MainPID");
        service.serves(&booted, &pid);
        a_reload_is_obeyed_or_refused(service, &booted, &pid);
        an_upgrade_keeps_process_and_clients(service, &booted, &pid);
        one_that_is_stuck_is_started_anew(service, &booted);
        booted.does(&["stop", service.unit]);
        for (name, value) in [
            ("ActiveState", "inactive"),
            ("Result", "success"),
            ("ExecMainStatus", "0"),
        ] {
            assert_eq!(booted.property(service.unit, name), value, "{name}");
        }
    }
    let log = booted.log();
    println!("{log}");
    for wrong in ["process died", "panic"] {
        assert!(!log.contains(wrong), "{wrong}");
    }
}
