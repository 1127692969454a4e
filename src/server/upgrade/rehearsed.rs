//! A rehearsal, as a program of the library does it that would take over: [`Builder::run`] is called, finds
//! that the program was started for a rehearsal, and reports instead of serving.
//!
//! [`Builder::run`]: crate::server::Builder::run

use std::io::{self, Read, Write};
use std::process::exit;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getppid, setrlimit};
use serde_json::json;

use super::kernel::is_sealed;
use super::processes::rehearse_processes;
use super::program::UpgradableProgram;
use super::rehearsal::REHEARSE_VAR;
use crate::handover::Handover;
use crate::net::reactor::REACTOR;
use crate::server::handler_set::BoxError;
use crate::server::process::ProcessSettings;

/// Bytes of memory that a rehearsal may have beside those that it has at its beginning: those of the handover
/// so many times, and of the program.
const MEMORY_TIMES: u64 = 7;
const MEMORY_BYTES: u64 = 128 << 20;

/// What the system ends first where memory runs out.
const OOM_FIRST: &str = "1000";

/// How much others come first for the processor.
const NICE: i32 = 10;

/// Whether this program was started by a server that has it rehearse.
pub(in crate::server) fn is_rehearsal() -> bool {
    let server = std::env::var(REHEARSE_VAR).ok();
    let server = server.and_then(|pid| pid.parse::<i32>().ok());
    // Programs that a rehearsal starts inherit the variable.
    let is_ours = server.is_some_and(|pid| getppid().is_some_and(|own| own.as_raw_pid() == pid));
    is_ours && is_sealed(rustix::stdio::stdin())
}

/// Reports what came of the rehearsal, and ends the process.
pub(in crate::server) fn report(version: &str, began: Instant, outcome: Result<(), BoxError>) -> ! {
    let report = match outcome {
        Ok(()) => json!({
            "ok": true,
            "version": version,
            "ms": began.elapsed().as_millis() as u64,
        }),
        Err(error) => json!({"ok": false, "error": chain(&*error)}),
    };
    let mut stdout = io::stdout().lock();
    // Whoever doesn't hear it takes it for a refusal.
    _ = writeln!(stdout, "\n{report}").and_then(|()| stdout.flush());
    exit(0)
}

/// Takes over the trial handover on standard input, in a program with so many reactors and with processes of
/// these names.
pub(in crate::server) fn rehearse(
    program: &UpgradableProgram,
    reactors: usize,
    (names, settings): (&[&str], &ProcessSettings),
) -> Result<(), BoxError> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    give_way(bytes.len() as u64);
    let handover = Handover::read(&bytes)?;
    let had = handover.sections();
    let had = had.filter(|one| one.kind() == REACTOR.name).count();
    if had != reactors {
        let error =
            format!("there were {had} reactors, and shall be {reactors}: that takes a restart");
        return Err(error.into());
    }
    rehearse_processes(&handover, names, settings)?;
    program.rehearse(&handover)
}

/// Leaves processor and memory to the server. Each of these may be forbidden, and is no condition.
pub fn give_way(handover_size: u64) {
    _ = rustix::process::nice(NICE);
    _ = std::fs::write("/proc/self/oom_score_adj", OOM_FIRST);
    let bytes = Some(data_bytes() + MEMORY_BYTES + MEMORY_TIMES * handover_size);
    let limit = Rlimit {
        current: bytes,
        maximum: bytes,
    };
    _ = setrlimit(Resource::Data, limit);
}

/// The bytes that the limit counts by now.
fn data_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// An error with all that it comes from, in one line.
pub(in crate::server) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    let texts = errors.map(ToString::to_string);
    texts.collect::<Vec<_>>().join(": ")
}
