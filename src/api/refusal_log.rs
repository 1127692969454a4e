//! The trace of each refusal: a counter by reason, and a line of the log, of which there are only so
//! many a second.
//!
//! Whoever looks for the reason why a client doesn't come in finds it here; whoever is refused a
//! million times fills no disk. Nothing secret is taken, and foreign texts are escaped and cut.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::base::Metric;
use crate::base::sync::lock;

/// Lines a second: enough to see each reason of a common mistake, and 100 KB a minute at the most.
const LINES_A_SECOND_MAX: u32 = 10;

/// Bytes of a foreign text in a line: enough to recognise a name or an origin.
const SHOWN_MAX: usize = 100;

/// The reason why somebody was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// `Host` isn't this machine, in open mode.
    Host,
    /// A proxy asked, in open mode.
    Proxy,
    /// `Origin` is another server's.
    Origin,
    /// A gateway showed no key, or an unknown one.
    LinkKey,
    /// A back end showed no key, or an unknown one.
    ApiKey,
    /// A token isn't one of ours.
    Token,
    /// A token's time is over.
    TokenExpired,
    /// A token is another user's.
    Uid,
    /// No login came in time.
    NoLogin,
    /// More was asked for than the limits allow.
    Rate,
    /// A binary message came where text is spoken.
    Binary,
}

impl RefusalReason {
    const ALL: [(Self, &'static str, &'static str); 11] = [
        (
            Self::Host,
            "host",
            "Requests whose Host is not this machine.",
        ),
        (
            Self::Proxy,
            "proxy",
            "Requests through a proxy in open mode.",
        ),
        (
            Self::Origin,
            "origin",
            "Requests with another server's Origin.",
        ),
        (Self::LinkKey, "link_key", "Links without a right key."),
        (Self::ApiKey, "api_key", "Requests without a right API key."),
        (
            Self::Token,
            "token",
            "Logins with a token that is not ours.",
        ),
        (
            Self::TokenExpired,
            "token_expired",
            "Tokens whose time was over.",
        ),
        (Self::Uid, "uid", "Logins with another user's token."),
        (
            Self::NoLogin,
            "no_login",
            "WebSockets without a login in time.",
        ),
        (Self::Rate, "rate", "Commands and requests over a limit."),
        (
            Self::Binary,
            "binary",
            "Binary messages where text is spoken.",
        ),
    ];
}

/// The facts about a client that was refused; never a token or a key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refused<'a> {
    /// The connection, and the address that it came from.
    pub connection: Option<(u64, std::net::SocketAddr)>,
    /// The user, or the name of the API key.
    pub who: Option<&'a str>,
    /// The value of `Host`.
    pub host: Option<&'a str>,
    /// The value of `Origin`.
    pub origin: Option<&'a str>,
}

/// Counts refusals, and logs some of them.
#[derive(Debug, Default)]
pub struct RefusalLog {
    counts: [AtomicU64; RefusalReason::ALL.len()],
    lines: Mutex<LineBudget>,
}

#[derive(Debug, Default)]
struct LineBudget {
    /// The start of the second in which `written` lines were written.
    second: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl LineBudget {
    /// Counts one more line; gives the number of lines that were left out before it, or `None` if
    /// this one is left out too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let is_over = |second: &Instant| now.duration_since(*second).as_secs() >= 1;
        if self.second.as_ref().is_none_or(is_over) {
            (self.second, self.written) = (Some(now), 0);
        }
        if self.written >= LINES_A_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl RefusalLog {
    /// Leaves the trace of one refusal.
    pub fn note(&self, reason: RefusalReason, refused: Refused<'_>) {
        let places = RefusalReason::ALL.iter().zip(&self.counts);
        for ((_, name, _), count) in places.filter(|((known, ..), _)| *known == reason) {
            count.fetch_add(1, Relaxed);
            let left_out = lock(&self.lines).take(Instant::now());
            if let Some(left_out) = left_out {
                write(name, refused, left_out);
            }
        }
    }

    /// Describes how many were refused, by reason.
    pub(crate) fn described(&self) -> [Metric; RefusalReason::ALL.len()] {
        std::array::from_fn(|place| {
            let (_, name, help) = RefusalReason::ALL[place];
            Metric::counter(name, help, self.counts[place].load(Relaxed))
        })
    }
}

fn write(reason: &str, refused: Refused<'_>, left_out: u64) {
    let cut = |text: Option<&str>| {
        let text = text.unwrap_or_default();
        text[..text.floor_char_boundary(SHOWN_MAX)].to_owned()
    };
    let (fd, peer) = refused.connection.unzip();
    let peer = peer.map(|peer| peer.to_string());
    tracing::info!(
        reason,
        fd = fd.unwrap_or_default(),
        peer = peer.unwrap_or_default(),
        who = ?cut(refused.who),
        host = ?cut(refused.host),
        origin = ?cut(refused.origin),
        left_out,
        "refused"
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_refusal_counts_and_so_many_lines_are_written_a_second() {
        let log = RefusalLog::default();
        for _ in 0..100 {
            log.note(RefusalReason::Origin, Refused::default());
        }
        let counted = |name| {
            let all = log.described();
            all.iter().find(|metric| metric.name == name).unwrap().value
        };
        assert_eq!((counted("origin"), counted("token")), (100, 0));
        let (mut budget, start) = (LineBudget::default(), Instant::now());
        let lines = (0..100).filter(|_| budget.take(start).is_some()).count();
        assert_eq!(lines, 10);
        assert_eq!(budget.take(start + Duration::from_secs(1)), Some(90));
    }
}
