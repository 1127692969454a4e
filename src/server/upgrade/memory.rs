//! The memory that an upgrade needs, and what is free.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::error::UpgradeError;

/// Bytes of memory beside the handover that a program needs at its start.
const PROGRAM_BYTES: u64 = 32 << 20;

/// Fails unless there is memory for the handover twice and for what a rehearsal makes of it: a write
/// beyond the limit of a group of processes is no error, but the end of the largest of them.
pub(super) fn memory_for(handover_size: usize) -> Result<(), UpgradeError> {
    // A connection of 200 bytes in a handover has five times that in memory.
    let needed = 7 * handover_size as u64 + PROGRAM_BYTES;
    match free_memory() {
        Some(free) if free < needed => Err(UpgradeError::Memory {
            needed_mib: needed >> 20,
            free_mib: free >> 20,
        }),
        _ => Ok(()),
    }
}

/// Counts the bytes that this process may still get; `None` where that can't be known.
fn free_memory() -> Option<u64> {
    [of_the_machine(), of_the_group(), of_the_process()]
        .into_iter()
        .flatten()
        .min()
}

fn of_the_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// What the limits of this process leave, which the next image and a rehearsal have, too.
fn of_the_process() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let used = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
    };
    let limits = [(Resource::As, "VmSize:"), (Resource::Data, "VmData:")];
    let left = limits.into_iter().filter_map(|(resource, name)| {
        let limit = getrlimit(resource).current?;
        Some(limit.saturating_sub(used(name)?))
    });
    left.min()
}

/// What the tightest of the groups that this process is in leaves.
fn of_the_group() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folders = Path::new(own).ancestors().map(|folder| root.join(folder));
    folders.filter_map(|folder| left_in(&folder)).min()
}

fn left_in(folder: &Path) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let (max, current) = (number("memory.max")?, number("memory.current")?);
    // Pages of files can be given back.
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "));
    let cached: u64 = cached.and_then(|text| text.parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_there_is_is_refused_with_both_numbers() {
        memory_for(0).unwrap();
        let refused = memory_for(1 << 50).unwrap_err().to_string();
        assert!(refused.contains("MiB are free"), "{refused}");
    }
}
