//! Autobahn's test suite against `/echo` of the real server.
//!
//! A short set by default; `TIDINGS_AUTOBAHN=full` takes all 301 cases of the groups 1 to 10.
//! The programs come from `tests/tools/install`.

use std::io::{Write, stderr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fmt, fs};

use serde_json::{Value, json};

use super::tools::{run, serve_echo, tool};

/// What the suite may take, by far: on a quiet machine the full set takes 20 s.
const SUITE_TIME_MAX: Duration = Duration::from_secs(300);

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

impl Set {
    fn chosen() -> Self {
        match std::env::var("TIDINGS_AUTOBAHN").as_deref() {
            Err(_) | Ok("short") => SHORT,
            Ok("full") => FULL,
            Ok(other) => panic!("TIDINGS_AUTOBAHN is {other:?}, but has to be short or full"),
        }
    }
}

#[test]
fn a_server_that_echoes_on_its_reactor_conforms() {
    conforms("handlers on the reactor", &["--workers", "0"]);
}

#[test]
fn a_server_that_echoes_on_its_worker_conforms() {
    conforms(
        "a worker, 2 reactors",
        &["--workers", "1", "--reactors", "2"],
    );
}

fn conforms(name: &str, flags: &[&str]) {
    let set = Set::chosen();
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
                _ => report
                    .failed
                    .push(format!("{case}: {behavior}, close {close}")),
            }
        }
        report
    }

    fn cases(&self) -> usize {
        self.ok.len() + self.non_strict.len() + self.informational.len() + self.failed.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases: {} ok, {} non-strict ({}), {} informational ({}), {} failed",
            self.cases(),
            self.ok.len(),
            self.non_strict.len(),
            self.non_strict.join(" "),
            self.informational.len(),
            self.informational.join(" "),
            self.failed.len(),
        )
    }
}
