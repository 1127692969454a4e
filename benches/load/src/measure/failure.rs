//! What can go wrong with one connection, and the count of it all by kind.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that the generator needs besides its connections: epoll, standard streams, `/proc`.
const DESCRIPTORS_SPARE: u64 = 64;

/// The end of one connection, or of the attempt to make it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// Nobody listens there.
    #[error("connection refused by {0}: is the server running?")]
    Refused(SocketAddr),
    /// The server answered the handshake with another status than 101.
    #[error("handshake refused with status {0}")]
    Status(u16),
    /// The server's answer is not what RFC 6455 or RFC 9112 asks for.
    #[error("the server broke the protocol: {0}")]
    Violation(&'static str),
    /// A message that isn't the awaited one.
    #[error("wrong echo: {0}")]
    WrongEcho(String),
    /// The server sent a Close frame; 1005 stands for one without a code.
    #[error("server closed with code {0} {1:?}")]
    Closed(u16, String),
    /// The server ended the stream without a Close frame.
    #[error("server ended the connection without a word")]
    Ended,
    /// The server reset the connection.
    #[error("connection reset by the server")]
    Reset,
    /// The step did not end in time.
    #[error("no answer in time while {0}")]
    Timeout(&'static str),
    /// This process may not open so many descriptors.
    #[error("too many open files: raise `ulimit -n` (now {0})")]
    Descriptors(u64),
    /// All local ports of a source address are taken.
    #[error("no local port is free: raise --source-addresses")]
    Ports,
    /// Any other error of the operating system.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl Failure {
    /// Reads the meaning of an error while a connection to `address` is made.
    pub(crate) fn of_connecting(error: io::Error, address: SocketAddr) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(address),
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Self::Ports,
            _ => error.into(),
        }
    }

    /// The name under which failures are counted.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Refused(_) => "refused".into(),
            Self::Status(status) => format!("status {status}"),
            Self::Violation(_) => "violation".into(),
            Self::WrongEcho(_) => "wrong echo".into(),
            Self::Closed(code, _) => format!("closed {code}"),
            Self::Ended => "ended".into(),
            Self::Reset => "reset".into(),
            Self::Timeout(_) => "timeout".into(),
            Self::Descriptors(_) => "too many files".into(),
            Self::Ports => "no free port".into(),
            Self::Io(_) => "i/o".into(),
        }
    }

    /// Whether every further attempt would fail in the same way, so that a run should stop.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Descriptors(_) | Self::Ports)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            _ if too_many_files(&error) => Self::Descriptors(descriptors_max()),
            _ => Self::Io(error),
        }
    }
}

/// Failures counted by kind, with the first of each kind in words.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    kinds: BTreeMap<String, (u64, String)>,
}

impl Failures {
    /// Counts one failure.
    pub(crate) fn add(&mut self, failure: &Failure) {
        self.add_words(failure.kind(), 1, failure.to_string());
    }

    /// Counts what isn't the failure of one connection; nothing when there is none of it.
    pub(crate) fn add_many(&mut self, kind: &str, count: u64, words: &str) {
        if count > 0 {
            self.add_words(kind.into(), count, words.into());
        }
    }

    /// Takes over what another thread or round counted.
    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, (count, words)) in other.kinds {
            self.add_words(kind, count, words);
        }
    }

    /// How many there were of all kinds.
    pub(crate) fn count(&self) -> u64 {
        self.kinds.values().map(|(count, _)| count).sum()
    }

    /// Kind, count, and the first one in words.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        self.kinds
            .iter()
            .map(|(kind, (count, words))| (kind.as_str(), *count, words.as_str()))
    }

    fn add_words(&mut self, kind: String, count: u64, words: String) {
        self.kinds.entry(kind).or_insert((0, words)).0 += count;
    }
}

/// Makes sure that `connections` sockets can be open at once; raises the soft limit where allowed.
///
/// # Errors
///
/// [`Failure::Descriptors`] when the hard limit is lower.
pub(crate) fn reserve_descriptors(connections: usize) -> Result<(), Failure> {
    let needed = connections as u64 + DESCRIPTORS_SPARE;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < needed) {
        return Err(Failure::Descriptors(maximum.or(current).unwrap_or(0)));
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(needed),
            maximum,
        },
    )
    .map_err(|_| Failure::Descriptors(current.unwrap_or(0)))
}

fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn too_many_files(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| {
        code == rustix::io::Errno::MFILE.raw_os_error()
            || code == rustix::io::Errno::NFILE.raw_os_error()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_kind_and_keep_the_first_words() {
        let mut failures = Failures::default();
        failures.add(&Failure::Closed(1001, "first".into()));
        let mut others = Failures::default();
        others.add(&Failure::Closed(1001, "second".into()));
        others.add(&Failure::Reset);
        failures.merge(others);
        assert_eq!(failures.count(), 3);
        let first = failures.iter().next().unwrap();
        assert_eq!(
            first,
            ("closed 1001", 2, "server closed with code 1001 \"first\"")
        );
    }

    #[test]
    fn a_lack_of_descriptors_names_the_limit_to_raise() {
        let error = reserve_descriptors(usize::MAX >> 8).unwrap_err();
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
}
