//! Waiting for what has to happen, never longer than a bound.

use std::fmt::Debug;
use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes longer, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at what is waited for: short beside what a server takes to do something.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Waits until `is_so`; fails with `what` when that takes too long.
#[track_caller]
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    until_within(what, PATIENCE, is_so);
}

/// Waits until `is_so`, which has to be so within `time`; gives how long that took.
#[track_caller]
pub fn until_within(what: &str, time: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < time, "{what}: not within {time:?}");
        sleep(BETWEEN_LOOKS);
    }
    began.elapsed()
}

/// Waits until nothing is left; fails with `what`, and what is left, when that takes too long.
#[track_caller]
pub fn until_none<T: Debug>(what: &str, mut left: impl FnMut() -> Vec<T>) {
    let began = Instant::now();
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {left:#?}");
        sleep(BETWEEN_LOOKS);
    }
}

/// The next thing that a callback reported.
#[track_caller]
pub fn next<T>(events: &Receiver<T>) -> T {
    events
        .recv_timeout(PATIENCE)
        .expect("something is reported")
}
