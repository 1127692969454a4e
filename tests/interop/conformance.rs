//! Autobahn's test suite against `/echo` of the real server.
//!
//! A short set by default; `TIDINGS_AUTOBAHN=full` takes all 301 cases of the groups 1 to 10, and with
//! compression all 216 of the groups 12 and 13 as well.
//! The programs come from `tests/tools/install`.

use std::io::{Write, stderr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fmt, fs};

use serde_json::{Value, json};

use super::tools::{run, serve_echo, tool};

/// What the suite may take, by far: on a quiet machine the full set takes 20 s, and the compressed one
/// a few minutes.
const SUITE_TIME_MAX: Duration = Duration::from_secs(600);

/// What the suite calls us in its reports.
const AGENT: &str = "tidings";

/// Which cases run, and how many they are: a case that doesn't run isn't conforming.
struct Set {
    name: &'static str,
    cases: &'static [&'static str],
    count: usize,
}

/// Group 9 is about large messages: one of 64 KiB of each kind, one in frames of 64 bytes, one in
/// segments of 64 bytes, and round trips.
const SHORT: Set = Set {
    name: "short set",
    cases: &[
        "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "8.*", "9.1.1", "9.2.1", "9.3.1", "9.5.1",
        "9.7.1", "9.8.1", "10.*",
    ],
    count: 253,
};

const FULL: Set = Set {
    name: "groups 1 to 10",
    cases: &[
        "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "8.*", "9.*", "10.*",
    ],
    count: 301,
};

/// With compression: of each window that is offered, and each that isn't, a short, a middling and a long
/// message, and those in frames.
const SHORT_DEFLATED: Set = Set {
    name: "short set, compressed",
    cases: &[
        "1.*", "2.*", "5.*", "6.*", "12.1.1", "12.1.5", "12.1.10", "12.2.5", "12.3.5", "12.4.5",
        "12.5.5", "13.1.5", "13.2.5", "13.3.5", "13.4.5", "13.5.5", "13.6.5", "13.7.5", "13.7.13",
    ],
    count: 207,
};

const FULL_DEFLATED: Set = Set {
    name: "groups 1 to 10, 12 and 13, compressed",
    cases: &[
        "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "8.*", "9.*", "10.*", "12.*", "13.*",
    ],
    count: 517,
};

impl Set {
    fn chosen(short: Self, full: Self) -> Self {
        match std::env::var("TIDINGS_AUTOBAHN").as_deref() {
            Err(_) | Ok("short") => short,
            Ok("full") => full,
            Ok(other) => panic!("TIDINGS_AUTOBAHN is {other:?}, but has to be short or full"),
        }
    }
}

#[test]
fn a_server_that_echoes_on_its_reactor_conforms() {
    let set = Set::chosen(SHORT, FULL);
    conforms("handlers on the reactor", &set, &["--workers", "0"]);
}

#[test]
fn a_server_that_echoes_on_its_worker_conforms() {
    let set = Set::chosen(SHORT, FULL);
    conforms(
        "a worker, 2 reactors",
        &set,
        &["--workers", "1", "--reactors", "2"],
    );
}

#[test]
fn a_server_that_compresses_conforms() {
    let set = Set::chosen(SHORT_DEFLATED, FULL_DEFLATED);
    conforms("compression", &set, &["--set", "websocket.deflate=true"]);
}

fn conforms(name: &str, set: &Set, flags: &[&str]) {
    let wstest = tool("python2/bin/wstest");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("autobahn{}", flags.concat()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();

    // Autobahn's client answers a ping also in the middle of a frame that it sends in pieces, and
    // so spoils it: the heartbeat has to be silent.
    let server = serve_echo(&[flags, &["--ping-ms", "0"]].concat());
    let spec = json!({
        "outdir": folder,
        "servers": [{ "agent": AGENT, "url": server.url("ws", "/echo") }],
        "cases": set.cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    fs::write(folder.join("spec.json"), spec.to_string()).unwrap();
    let mut suite = Command::new(wstest);
    suite
        .args(["--mode", "fuzzingclient", "--spec", "spec.json"])
        .current_dir(&folder);
    run(&mut suite, SUITE_TIME_MAX);
    server.stop();

    let report = Report::read(&folder);
    // Past the capture of the harness: the total is worth seeing when all is well, too.
    let total = format!("Autobahn, {name}, {}: {report}\n", set.name);
    stderr().write_all(total.as_bytes()).unwrap();
    let failed = &report.failed;
    assert!(failed.is_empty(), "{failed:#?}; see {}", folder.display());
    assert_eq!(report.cases(), set.count, "every case of the set ran");
}

/// The names of the cases, by how the server did in them.
#[derive(Default)]
struct Report {
    ok: Vec<String>,
    /// Right by the RFC, but not what the suite would like best.
    non_strict: Vec<String>,
    informational: Vec<String>,
    /// What they offer is declined: windows smaller than ours.
    declined: Vec<String>,
    failed: Vec<String>,
}

impl Report {
    fn read(folder: &Path) -> Self {
        let index = fs::read(folder.join("index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        let cases = index[AGENT].as_object().expect("a report about us");
        let mut report = Self::default();
        for (case, verdicts) in cases {
            let [behavior, close] =
                ["behavior", "behaviorClose"].map(|key| verdicts[key].as_str().unwrap_or_default());
            match (behavior, close) {
                ("OK", "OK" | "INFORMATIONAL") => report.ok.push(case.clone()),
                ("NON-STRICT", "OK" | "INFORMATIONAL") => report.non_strict.push(case.clone()),
                ("INFORMATIONAL", "OK" | "INFORMATIONAL") => {
                    report.informational.push(case.clone());
                }
                ("UNIMPLEMENTED", "OK") if offers_small_window(case) => {
                    report.declined.push(case.clone());
                }
                _ => report
                    .failed
                    .push(format!("{case}: {behavior}, close {close}")),
            }
        }
        report
    }

    fn cases(&self) -> usize {
        let good = self.ok.len() + self.non_strict.len() + self.informational.len();
        good + self.declined.len() + self.failed.len()
    }
}

/// Whether a case offers nothing but a window of 512 bytes for the server's messages.
fn offers_small_window(case: &str) -> bool {
    case.starts_with("13.3.") || case.starts_with("13.5.")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases: {} ok, {} non-strict ({}), {} informational ({}), {} declined, {} failed",
            self.cases(),
            self.ok.len(),
            self.non_strict.len(),
            self.non_strict.join(" "),
            self.informational.len(),
            self.informational.join(" "),
            self.declined.len(),
            self.failed.len(),
        )
    }
}
