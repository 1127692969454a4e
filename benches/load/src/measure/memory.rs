//! Memory of a process tree, by `/proc/PID/smaps_rollup`.
//!
//! That is what the processes themselves occupy; the kernel's memory for their sockets, some
//! kilobytes a connection whatever the server, is in nobody's set.

use std::fs;
use std::io;
use std::ops::AddAssign;

use crate::measure::process_tree::tree_of;

/// What a process tree occupies, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Proportional set size: a page that n processes share counts as 1/n of a page.
    pub(crate) pss: u64,
    /// Resident set size.
    pub(crate) rss: u64,
}

impl Memory {
    /// Reads the memory of `pid` and its descendants now.
    ///
    /// # Errors
    ///
    /// There is no such process, or it belongs to somebody else.
    pub(crate) fn of_tree(pid: u32) -> io::Result<Self> {
        let mut sum = Self::default();
        for id in tree_of(pid)? {
            match fs::read_to_string(format!("/proc/{id}/smaps_rollup")) {
                Ok(text) => sum += parse(&text),
                Err(error) if id == pid => return Err(error),
                Err(_) => {} // a child that ended meanwhile
            }
        }
        Ok(sum)
    }
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.pss += other.pss;
        self.rss += other.rss;
    }
}

fn parse(rollup: &str) -> Memory {
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next());
        kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Memory {
        pss: field("Pss:"),
        rss: field("Rss:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rollup_is_read_in_bytes() {
        let text = "00400000-7fff [rollup]\nRss:  2180 kB\nPss:   612 kB\nPss_Dirty: 9 kB\n";
        assert_eq!(
            parse(text),
            Memory {
                pss: 612 << 10,
                rss: 2180 << 10
            }
        );
    }

    #[test]
    fn the_own_process_occupies_something() {
        assert!(Memory::of_tree(std::process::id()).unwrap().pss > 100_000);
    }
}
