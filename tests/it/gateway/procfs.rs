//! Processes and sockets, as `/proc` tells of them; of what has gone meanwhile it tells nothing.

use std::fs;
use std::net::SocketAddr;

use rustix::process::Pid;

pub fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Also those that have died and weren't waited for.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    processes()
        .filter(|child| parent_of(*child) == Some(pid))
        .collect()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    // `4711 (a name, which may have anything in it) S 4710 …`
    let (_, fields) = stat.rsplit_once(')')?;
    Pid::from_raw(fields.split(' ').nth(2)?.parse().ok()?)
}

pub fn open_in(pid: Pid) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).into_iter();
    let links = entries.flatten().flatten();
    links.filter_map(|link| Some(fs::read_link(link.path()).ok()?.to_str()?.to_owned()))
}

pub fn described(pid: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_pid()));
    format!("{} {}", pid.as_raw_pid(), name.unwrap_or_default().trim())
}

/// A socket that somebody has.
pub struct Socket {
    /// As the links in `fd` call it: `socket:[4711]`.
    pub name: String,
    /// All that is told of it.
    pub line: String,
}

/// All of them, but for those that the kernel alone brings to their end.
pub fn sockets() -> impl Iterator<Item = Socket> {
    let tables = [("tcp", 9), ("tcp6", 9), ("unix", 6)];
    let sockets = tables.into_iter().flat_map(|(table, column)| {
        let lines = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let sockets = lines.lines().skip(1).filter_map(|line| {
            let number = line.split_whitespace().nth(column)?;
            Some(Socket {
                name: format!("socket:[{number}]"),
                line: line.to_owned(),
            })
        });
        sockets.collect::<Vec<_>>()
    });
    sockets.filter(|socket| socket.name != "socket:[0]")
}

/// Whether a server still has a connection, be it one that its client has closed.
pub fn is_anybody_connected(server: SocketAddr) -> bool {
    let own = format!(":{:04X}", server.port());
    sockets().any(|socket| {
        let fields: Vec<&str> = socket.line.split_whitespace().collect();
        let is_listener = fields[3] == "0A";
        fields[1].ends_with(&own) && !is_listener
    })
}
