//! The signals that a program may give a meaning of its own.

use std::io;

use mio::{Interest, Poll, Token};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook_mio::v1_0::Signals;

use super::orphans::is_first_process;

/// A signal that doesn't have to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerSignal {
    /// SIGHUP: by custom the settings are read anew. A terminal that closes sends it as well.
    Hangup,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

impl ServerSignal {
    /// The signal of this number, unless that one always stops a server.
    pub(super) fn of(signal: i32) -> Option<Self> {
        match signal {
            SIGHUP => Some(Self::Hangup),
            SIGUSR1 => Some(Self::User1),
            SIGUSR2 => Some(Self::User2),
            _ => None,
        }
    }
}

/// Whether whoever started this process wants it to outlive the terminal, as `nohup` does: then SIGHUP
/// isn't heeded. To be asked before anything heeds that signal.
///
/// Where `/proc` can't be read the answer is no.
#[must_use]
pub fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

/// Has a poll report the signals that a server heeds.
pub(super) fn watch(poll: &Poll, token: Token) -> io::Result<Signals> {
    // That a file can't grow any more is an error of the write, and no end of the program.
    let mut heeded = vec![SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGXFSZ];
    if !is_hangup_ignored() {
        heeded.push(SIGHUP);
    }
    if is_first_process() {
        heeded.push(SIGCHLD);
    }
    let mut signals = Signals::new(heeded)?;
    poll.registry()
        .register(&mut signals, token, Interest::READABLE)?;
    Ok(signals)
}

/// Takes the signals that came, but for those of writes.
pub(super) fn pending(signals: &mut Signals) -> Vec<i32> {
    let pending = signals.pending();
    pending.filter(|signal| *signal != SIGXFSZ).collect()
}

pub(super) fn name_of(signal: i32) -> &'static str {
    match signal {
        SIGTERM => "SIGTERM",
        SIGINT => "SIGINT",
        SIGHUP => "SIGHUP",
        SIGUSR1 => "SIGUSR1",
        _ => "SIGUSR2",
    }
}

/// The source of a stop beside [`Handle::stop`](super::Handle::stop).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopSource {
    /// SIGTERM, SIGINT and SIGHUP stop the server, too.
    Signals,
    /// Only [`Handle::stop`](super::Handle::stop) stops the server.
    Handle,
}
