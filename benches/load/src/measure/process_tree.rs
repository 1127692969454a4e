//! A process with all its descendants, found in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::io;

/// What `/proc/PID/stat` says of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The parent's process id.
    pub(crate) parent: u32,
    /// User and system time of all its threads, the ended ones too, in clock ticks.
    pub(crate) own_ticks: u64,
    /// User and system time of the children that it has waited for, in clock ticks.
    pub(crate) children_ticks: u64,
}

/// Reads `/proc/PID/stat`.
///
/// # Errors
///
/// There is no such process, or its `stat` has another form than Linux gives it.
pub(crate) fn stat_of(pid: u32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::other("unknown form of /proc/PID/stat"))
}

/// The process and its descendants, itself first; this process and what is below it left out.
///
/// # Errors
///
/// There is no such process, or `/proc` can't be read.
pub(crate) fn tree_of(root: u32) -> io::Result<Vec<u32>> {
    stat_of(root).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("process {root} can't be read: {error}"),
        )
    })?;
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Ok(stat) = stat_of(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let own = std::process::id();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(pid) = tree.get(next) {
        let below = children.remove(pid).unwrap_or_default();
        tree.extend(below.into_iter().filter(|&pid| pid != own));
        next += 1;
    }
    Ok(tree)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name in parentheses may hold anything, so the fields are counted from the last one.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks: number(11)? + number(12)?,
        children_ticks: number(13)? + number(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_forge_the_fields() {
        let text = "7 (a) R 1 2) S 42 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 5";
        let expected = Stat {
            parent: 42,
            own_ticks: 30,
            children_ticks: 70,
        };
        assert_eq!(parse_stat(text), Some(expected));
    }

    #[test]
    fn a_child_is_in_its_parents_tree() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep")
            .arg("10")
            .spawn()
            .unwrap();
        let tree = tree_of(own).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(tree[0], own);
        assert!(tree.contains(&child.id()));
    }
}
