//! The HTTP API against its own description, in open mode and with keys, and its metrics against Prometheus' own parser.
//!
//! The programs come from `tests/tools/install`. `TIDINGS_SCHEMATHESIS=1000` tries so many requests
//! an operation; without it a few do.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::tools::{run, serve_echo, tool};
use crate::support::PATIENCE;
use crate::support::keys::Keys;
use crate::support::program::Program;

/// What is asked for by hand may take longer.
const SUITE: Duration = Duration::from_secs(120);
const LONG_SUITE: Duration = Duration::from_secs(3_600);

#[test]
fn every_operation_answers_as_its_description_says() {
    let server = serve_echo(&["--workers", "1"]);
    schemathesis(&server, &["--phases", THOROUGH], "10");
    server.stop();
}

#[test]
fn with_keys_every_operation_answers_so_with_a_key_and_without() {
    let keys = Keys::make();
    let file = keys.file();
    let server = serve_echo(&["--workers", "1", "--config", &file]);
    let key = format!("Authorization: Bearer {}", keys.api_key);
    schemathesis(&server, &["--phases", THOROUGH, "--header", &key], "10");
    // All the same is refused, whatever it is: some of it will do.
    let wrong = "Authorization: Bearer none-of-ours";
    schemathesis(&server, &["--phases", "fuzzing"], "2");
    schemathesis(&server, &["--phases", "fuzzing", "--header", wrong], "2");
    server.stop();
}

const THOROUGH: &str = "coverage,fuzzing";

/// Tries every operation; `examples` are for CI, where nobody asks for more.
fn schemathesis(server: &Program, flags: &[&str], examples: &str) {
    let asked = std::env::var("TIDINGS_SCHEMATHESIS").ok();
    let limit = if asked.is_some() { LONG_SUITE } else { SUITE };
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance";
    let folder = tempfile::tempdir().unwrap();
    let printed = run(
        Command::new(tool("python3/bin/schemathesis"))
            .current_dir(folder.path())
            .args(["run", &server.url("http", "/openapi.json"), "--no-color"])
            .args(["--checks", checks])
            .args(["--max-examples", asked.as_deref().unwrap_or(examples)])
            .args(["--seed", "1"])
            .args(flags),
        limit,
    );
    // All but the one that it has just asked for the description.
    assert!(printed.contains("Selected: 43/43"), "{printed}");
    assert!(printed.contains("Tested: 43"), "{printed}");
    let cases = printed.lines().find(|line| line.contains(" generated, "));
    println!("{}", cases.unwrap_or(&printed).trim());
}

#[test]
fn prometheus_reads_the_metrics() {
    let server = serve_echo(&["--workers", "2"]);
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
