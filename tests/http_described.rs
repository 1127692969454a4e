//! The HTTP API against its own description, and its metrics against Prometheus' own parser.
//!
//! The programs come from `tests/tools/install`. `TIDINGS_SCHEMATHESIS=1000` tries so many requests
//! an operation; without it a few do.
#![cfg(feature = "cli")]

mod tools;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tools::{PATIENCE, Server, run, tool};

/// What is asked for by hand may take longer.
const SUITE: Duration = Duration::from_secs(60);
const LONG_SUITE: Duration = Duration::from_secs(3_600);

#[test]
fn every_operation_answers_as_its_description_says() {
    let server = Server::start(&["--workers", "1"]);
    let asked = std::env::var("TIDINGS_SCHEMATHESIS").ok();
    let limit = if asked.is_some() { LONG_SUITE } else { SUITE };
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance";
    let folder = tempfile::tempdir().unwrap();
    let printed = run(
        Command::new(tool("python3/bin/schemathesis"))
            .current_dir(folder.path())
            .args(["run", &server.url("http", "/openapi.json"), "--no-color"])
            .args(["--checks", checks, "--phases", "coverage,fuzzing"])
            .args(["--max-examples", asked.as_deref().unwrap_or("10")])
            .args(["--seed", "1"]),
        limit,
    );
    assert!(printed.contains("Selected: 36/36"), "{printed}");
    assert!(printed.contains("Tested: 36"), "{printed}");
    server.stop();
}

#[test]
fn prometheus_reads_the_metrics() {
    let server = Server::start(&["--workers", "2"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/metrics.py");
    let printed = run(
        Command::new(tool("python3/bin/python"))
            .arg(script)
            .arg(server.url("http", "/metrics")),
        PATIENCE,
    );
    assert!(printed.contains("families"), "{printed}");
    server.stop();
}
