//! CPU time of a process tree between two moments.
//!
//! `/proc/PID/stat` counts in ticks of 10 ms; `/proc/PID/task/TID/schedstat` counts in nanoseconds,
//! but only threads that still live. So live threads are taken from the second, and the first fills
//! in for threads and children that ended meanwhile.

use std::collections::HashMap;
use std::fs;
use std::io;

use crate::measure::process_tree::{stat_of, tree_of};

/// One clock tick of `/proc`, in nanoseconds: `USER_HZ` is 100 on every Linux.
const TICK_NS: u64 = 10_000_000;

/// Which processes are accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The process alone.
    Process,
    /// The process with all its descendants.
    Tree,
}

/// CPU time of every thread in scope, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    processes: HashMap<u32, Process>,
}

#[derive(Clone, Debug, Default)]
struct Process {
    threads: HashMap<u32, u64>,
    own_ns: u64,
    children_ns: u64,
}

impl Usage {
    /// Reads the CPU time of `pid` now.
    ///
    /// # Errors
    ///
    /// There is no such process, or it can't be read.
    pub(crate) fn sample(pid: u32, scope: Scope) -> io::Result<Self> {
        // The slow walk through /proc comes first, so that the readings are close together.
        let pids = match scope {
            Scope::Process => vec![pid],
            Scope::Tree => tree_of(pid)?,
        };
        let mut usage = Self::default();
        for id in pids {
            match sample_process(id) {
                Ok(process) => _ = usage.processes.insert(id, process),
                Err(error) if id == pid => return Err(error),
                Err(_) => {} // ended while we looked: its parent has waited for it
            }
        }
        Ok(usage)
    }

    /// CPU time from `begin` until this moment, in nanoseconds.
    pub(crate) fn since(&self, begin: &Self) -> u64 {
        let nothing = Process::default();
        let mut ns = 0;
        for (pid, end) in &self.processes {
            let begin = begin.processes.get(pid).unwrap_or(&nothing);
            ns += end.own_since(begin) + end.children_ns.saturating_sub(begin.children_ns);
        }
        // Who ended is in a parent's children time with all of its life: take off what was before.
        let ended = begin
            .processes
            .iter()
            .filter(|(pid, _)| !self.processes.contains_key(pid));
        let before: u64 = ended.map(|(_, process)| process.own_ns).sum();
        ns.saturating_sub(before)
    }
}

impl Process {
    fn own_since(&self, begin: &Self) -> u64 {
        let fine = self.threads.iter();
        let fine = fine
            .map(|(tid, ns)| ns.saturating_sub(begin.threads.get(tid).copied().unwrap_or(0)))
            .sum();
        let all_alive = begin
            .threads
            .keys()
            .all(|tid| self.threads.contains_key(tid));
        let coarse = self.own_ns.saturating_sub(begin.own_ns);
        // A thread that came and went in between shows only as more coarse than fine time.
        if all_alive && coarse <= fine + 2 * TICK_NS {
            fine
        } else {
            coarse.max(fine)
        }
    }
}

fn sample_process(pid: u32) -> io::Result<Process> {
    let stat = stat_of(pid)?;
    let mut threads = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Some(tid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")) else {
            continue;
        };
        let ns = text
            .split_ascii_whitespace()
            .next()
            .and_then(|ns| ns.parse().ok());
        threads.insert(tid, ns.unwrap_or(0));
    }
    Ok(Process {
        threads,
        own_ns: stat.own_ticks * TICK_NS,
        children_ns: stat.children_ticks * TICK_NS,
    })
}

/// CPU time of server and generator at one moment.
#[derive(Debug)]
pub(crate) struct CpuTimes {
    server: Option<Usage>,
    generator: Usage,
}

impl CpuTimes {
    /// Reads both now; the server's with all its descendants, when its pid is known.
    ///
    /// # Errors
    ///
    /// There is no such process, or it can't be read.
    pub(crate) fn sample(pid: Option<u32>) -> io::Result<Self> {
        let server = pid.map(|pid| Usage::sample(pid, Scope::Tree)).transpose()?;
        Ok(Self {
            server,
            generator: Usage::sample(std::process::id(), Scope::Process)?,
        })
    }

    /// CPU time of the server since `begin`, in nanoseconds.
    pub(crate) fn server_since(&self, begin: &Self) -> Option<u64> {
        Some(self.server.as_ref()?.since(begin.server.as_ref()?))
    }

    /// CPU time of this process since `begin`, in nanoseconds.
    pub(crate) fn generator_since(&self, begin: &Self) -> u64 {
        self.generator.since(&begin.generator)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn process(threads: &[(u32, u64)], own_ns: u64) -> Process {
        Process {
            threads: threads.iter().copied().collect(),
            own_ns,
            children_ns: 0,
        }
    }

    #[test]
    fn live_threads_are_counted_to_the_nanosecond() {
        let begin = process(&[(1, 5_000), (2, 0)], 0);
        let end = process(&[(1, 9_123), (2, 1), (3, 10)], TICK_NS);
        assert_eq!(end.own_since(&begin), 4_134);
    }

    #[test]
    fn a_thread_that_ended_is_counted_in_ticks() {
        let begin = process(&[(1, 0), (2, 4 * TICK_NS)], 4 * TICK_NS);
        let end = process(&[(1, 500)], 9 * TICK_NS);
        assert_eq!(end.own_since(&begin), 5 * TICK_NS);
    }

    #[test]
    fn a_child_that_ended_counts_only_for_what_it_used_since() {
        let mut begin = Usage::default();
        begin.processes.insert(1, process(&[(1, 0)], 0));
        begin.processes.insert(2, process(&[(2, 0)], 3 * TICK_NS));
        let mut parent = process(&[(1, 0)], 0);
        parent.children_ns = 7 * TICK_NS;
        let mut end = Usage::default();
        end.processes.insert(1, parent);
        assert_eq!(end.since(&begin), 4 * TICK_NS);
    }

    #[test]
    fn work_shows_in_the_own_process() {
        let pid = std::process::id();
        let begin = Usage::sample(pid, Scope::Process).unwrap();
        // The kernel brings a running thread's time up to date at its own tick, at most 10 ms.
        let (started, mut sum) = (Instant::now(), 0_u64);
        while started.elapsed() < Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
        }
        let end = Usage::sample(pid, Scope::Process).unwrap();
        assert!(end.since(&begin) > 0, "{sum}");
    }
}
