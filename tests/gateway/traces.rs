//! What processes hold, and what they leave behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::Pid;

use super::program::PATIENCE;
use super::until;

/// What a process has open: so many sockets, pipes, files of each name.
pub type Descriptors = BTreeMap<String, usize>;

/// What a process has open now.
pub fn descriptors(pid: Pid) -> Descriptors {
    let mut held = Descriptors::new();
    for target in open_in(&pid.as_raw_nonzero().to_string()) {
        // `socket:[4711]`, `pipe:[4712]`: the numbers differ each time.
        let kind = target.split('[').next().unwrap_or_default();
        *held.entry(kind.to_owned()).or_default() += 1;
    }
    held
}

/// Waits until a process holds no more than it did; requests that have ended may take a moment.
#[track_caller]
pub fn until_it_holds(pid: Pid, before: &Descriptors) {
    let mut now = Descriptors::new();
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        now = descriptors(pid);
        if now == *before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(now, *before, "descriptors were left open");
}

/// After the death of a gateway, and of what it started, nothing is left but the journal: no
/// process with this folder among its arguments, no descriptor and so no lock in it, no file that
/// belongs to something under way.
#[track_caller]
pub fn nothing_is_left(folder: &Path) {
    let name = folder.to_str().unwrap();
    until("the last process ends", PATIENCE, || {
        !processes().any(|pid| arguments(&pid).contains(name))
    });
    let holders: Vec<String> = processes()
        .filter(|pid| open_in(pid).any(|target| target.starts_with(name)))
        .collect();
    assert!(holders.is_empty(), "{holders:?} hold something in {name}");
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap();
        let kind = file.file_type().unwrap();
        let own = file.file_name().into_string().unwrap();
        let is_journal = own.starts_with("journal-") && own.ends_with(".log");
        assert!(
            kind.is_file() && (is_journal || own == "lock"),
            "{own} was left in {name}"
        );
    }
}

fn processes() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Nothing of a process that has gone meanwhile.
fn arguments(pid: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn open_in(pid: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
    let links = entries.flatten().flatten();
    links.filter_map(|link| Some(fs::read_link(link.path()).ok()?.to_str()?.to_owned()))
}
