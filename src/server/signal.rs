//! The signals that a program may give a meaning of its own.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

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

pub(super) fn name_of(signal: i32) -> &'static str {
    match signal {
        SIGTERM => "SIGTERM",
        SIGINT => "SIGINT",
        SIGHUP => "SIGHUP",
        SIGUSR1 => "SIGUSR1",
        _ => "SIGUSR2",
    }
}
