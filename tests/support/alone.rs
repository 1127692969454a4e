//! The test binary once more, as a process of its own that runs one test.

use std::process::Command;

/// Tells the process that it is that one, and what part it plays.
const PART_VAR: &str = "TIDINGS_TEST_PART";

/// The command that runs one test, in this part; `module` is the test's `module_path!()`.
pub fn again(module: &str, test: &str, part: &str) -> Command {
    let path = match module.split_once("::") {
        Some((_crate, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &path, "--nocapture"])
        .env(PART_VAR, part);
    command
}

/// Runs one test in a process of its own, where it has to pass.
#[track_caller]
pub fn passes_alone(module: &str, test: &str, part: &str) {
    let output = again(module, test, part).output().unwrap();
    let (out, err) = [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .into();
    println!("{out}{err}");
    assert!(output.status.success(), "{}", output.status);
    // A name that no test has would pass, too.
    assert!(out.contains(" 1 passed"), "{module}::{test} did not run");
}

/// The part of this process, if [`again`] started it.
pub fn part() -> Option<String> {
    std::env::var(PART_VAR).ok()
}
