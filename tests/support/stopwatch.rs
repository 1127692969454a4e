//! Time that a promise is measured by: what passes while the system has no processor for those who have to
//! keep it doesn't count, or a test that runs beside others would say nothing.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// A clock that stands while one thread could run and may not: this one, or one of some processes,
/// whichever was kept waiting the longest.
pub struct Stopwatch {
    began: Instant,
    processes: Vec<Pid>,
    /// For how long each thread had waited before.
    before: HashMap<PathBuf, Duration>,
}

impl Stopwatch {
    /// Starts it; these processes have to keep the promise, and this thread looks whether they do.
    pub fn start(processes: impl IntoIterator<Item = Pid>) -> Self {
        let mut new = Self {
            began: Instant::now(),
            processes: processes.into_iter().collect(),
            before: HashMap::new(),
        };
        new.before = new.waits().into_iter().collect();
        new
    }

    /// Returns the time so far.
    pub fn elapsed(&self) -> Duration {
        let since = |(task, waited): (PathBuf, Duration)| {
            let before = self.before.get(&task).copied().unwrap_or_default();
            waited.saturating_sub(before)
        };
        let longest = self.waits().into_iter().map(since).max();
        self.wall().saturating_sub(longest.unwrap_or_default())
    }

    /// Returns the whole time so far.
    pub fn wall(&self) -> Duration {
        self.began.elapsed()
    }

    /// For how long each thread has waited for a processor since it began.
    fn waits(&self) -> Vec<(PathBuf, Duration)> {
        let own = PathBuf::from("/proc/thread-self");
        let tasks = self.processes.iter().flat_map(|pid| {
            let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
            let tasks = fs::read_dir(tasks).into_iter().flatten().flatten();
            tasks.map(|task| task.path())
        });
        let waits = tasks.chain([own]).filter_map(|task| {
            let waited = wait_of(&task)?;
            Some((task, waited))
        });
        waits.collect()
    }
}

/// The time for which a thread has waited for a processor since it began; it may have ended.
fn wait_of(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let nanos = text.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(Duration::from_nanos(nanos))
}
