//! Two machines: a gateway, its push process, and upstreams behind a network that breaks.
#![cfg(feature = "cli")]

mod contract;
mod faults;
mod held;
mod machine;
mod pressure;
mod procfs;
#[path = "../program/mod.rs"]
mod program;
mod proxy;
mod random;
mod real;
mod sender;
mod server;
mod traces;
mod upstream;

use std::time::{Duration, Instant};

/// A link that is back has to bring what waits within this time.
const FLOWS_WITHIN: Duration = Duration::from_secs(5);

/// Waits until `is_so`; how long it took.
#[track_caller]
fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < patience, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    began.elapsed()
}
