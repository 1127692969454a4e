//! What a process has while it lives: whoever goes through faults has no more afterwards.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Pid;

use super::procfs::{children_of, open_in};

/// What a process has: so many sockets and pipes, threads and children, and how often a file.
pub type Held = BTreeMap<String, usize>;

/// What a process has now.
pub fn held_by(pid: Pid) -> Held {
    let mut names = Held::new();
    for target in open_in(pid) {
        *names.entry(target).or_default() += 1;
    }
    let mut held = Held::new();
    for (name, count) in names {
        // `socket:[4711]`, `journal-7.log`: the numbers differ each time.
        let kind = held.entry(name.replace(|one: char| one.is_ascii_digit(), ""));
        let kind = kind.or_default();
        // A journal may have several files, but each of them once.
        let is_file = name.starts_with('/');
        *kind = if is_file {
            (*kind).max(count)
        } else {
            *kind + count
        };
    }
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid()));
    let threads = threads.into_iter().flatten().flatten();
    // The helper of the disk begins with the first file that it has to sync.
    let is_counted = |thread: &fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name != "disk-aside\n")
    };
    held.insert("threads".into(), threads.filter(is_counted).count());
    held.insert("children".into(), children_of(pid).len());
    held
}
