//! The trace of each refusal: a counter by reason, and a line of the log, of which there are only so
//! many a second.
//!
//! Whoever looks for the reason why a client doesn't come in finds it here; whoever is refused a
//! million times fills no disk. Nothing secret is taken, and foreign texts are escaped and cut.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::base::line_budget::LineBudget;
use crate::base::sync::lock;
use crate::base::{Metric, PeerAddress};
use crate::chat::ErrorCode;

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
    /// A login shows no token.
    TokenMissing,
    /// A token isn't one of ours.
    Token,
    /// A token's time is over.
    TokenExpired,
    /// A token is another user's.
    Uid,
    /// No login came in time.
    NoLogin,
    /// A command is beyond the rights of who gave it, or came before a login.
    Rights,
    /// A command or a request is wrong by itself.
    BadRequest,
    /// More was asked for than the limits allow.
    Rate,
    /// A binary message came where text is spoken.
    Binary,
    /// The outbox of a gateway takes no message now.
    Outbox,
}

impl RefusalReason {
    const ALL: [(Self, &'static str, &'static str); 15] = [
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
            Self::TokenMissing,
            "token_missing",
            "Logins without a token where one is asked for.",
        ),
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
        (
            Self::Rights,
            "rights",
            "Commands beyond the rights of who gave them.",
        ),
        (
            Self::BadRequest,
            "bad_request",
            "Commands, messages and requests of the API that were wrong.",
        ),
        (Self::Rate, "rate", "Commands and requests over a limit."),
        (
            Self::Binary,
            "binary",
            "Binary messages where text is spoken.",
        ),
        (
            Self::Outbox,
            "outbox",
            "Requests that the outbox had no room for.",
        ),
    ];

    /// The reasons that only a gateway has.
    const OF_GATEWAYS: [Self; 1] = [Self::Outbox];

    /// The reasons that a gateway has.
    const AT_GATEWAYS: [Self; 7] = [
        Self::Host,
        Self::Proxy,
        Self::Origin,
        Self::ApiKey,
        Self::BadRequest,
        Self::Rate,
        Self::Outbox,
    ];

    /// The reason behind an error that is the asker's own.
    #[must_use]
    pub fn of(code: ErrorCode) -> Option<Self> {
        match code {
            ErrorCode::BadRequest | ErrorCode::TooLarge => Some(Self::BadRequest),
            ErrorCode::Unauthorized | ErrorCode::Forbidden | ErrorCode::NotMember => {
                Some(Self::Rights)
            }
            _ => None,
        }
    }
}

/// The facts about a client that was refused; never a token or a key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refused<'a> {
    /// The connection, and the address that it came from.
    pub connection: Option<(u64, PeerAddress)>,
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
    lines: [Mutex<LineBudget>; RefusalReason::ALL.len()],
}

impl RefusalLog {
    /// Leaves the trace of one refusal.
    pub fn note(&self, reason: RefusalReason, refused: Refused<'_>) {
        let mut known = RefusalReason::ALL.iter();
        let place = known.position(|(known, ..)| *known == reason);
        let place = place.expect("all reasons stand there");
        self.counts[place].fetch_add(1, Relaxed);
        if let Some(left_out) = lock(&self.lines[place]).take(Instant::now()) {
            let (_, name, _) = RefusalReason::ALL[place];
            write(name, refused, left_out);
        }
    }

    /// Lists how many were refused, by the names of the reasons.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = RefusalReason::ALL.iter().map(|(_, name, _)| *name);
        names
            .zip(&self.counts)
            .map(|(name, count)| (name, count.load(Relaxed)))
    }

    /// Counts on from a number of an earlier image; a reason that there isn't any more is passed over.
    pub(crate) fn count_on(&self, name: &str, from: u64) {
        let mut reasons = RefusalReason::ALL.iter().zip(&self.counts);
        if let Some((_, count)) = reasons.find(|((_, known, _), _)| *known == name) {
            count.fetch_add(from, Relaxed);
        }
    }

    /// Describes how many a server refused, by reason.
    pub(crate) fn described(&self) -> Vec<Metric> {
        self.described_where(|reason| !RefusalReason::OF_GATEWAYS.contains(&reason))
    }

    /// Describes how many a gateway refused, by reason.
    pub(crate) fn described_at_gateway(&self) -> Vec<Metric> {
        self.described_where(|reason| RefusalReason::AT_GATEWAYS.contains(&reason))
    }

    fn described_where(&self, is_shown: impl Fn(RefusalReason) -> bool) -> Vec<Metric> {
        let all = RefusalReason::ALL.into_iter().zip(&self.counts);
        all.filter(|((reason, ..), _)| is_shown(*reason))
            .map(|((_, name, help), count)| Metric::counter(name, help, count.load(Relaxed)))
            .collect()
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
    use super::*;

    /// The number of lines that were left out, if one more may be written for this reason.
    fn next_line(log: &RefusalLog, reason: &str) -> Option<u64> {
        let mut all = RefusalReason::ALL.iter();
        let place = all.position(|(_, name, _)| *name == reason).unwrap();
        lock(&log.lines[place]).take(Instant::now())
    }

    #[test]
    fn every_refusal_counts_though_only_some_are_written() {
        let log = RefusalLog::default();
        for _ in 0..100 {
            log.note(RefusalReason::Origin, Refused::default());
        }
        let counted = |name| {
            let all = log.described();
            all.iter().find(|metric| metric.name == name).unwrap().value
        };
        assert_eq!((counted("origin"), counted("token")), (100, 0));
        let at_gateway = log.described_at_gateway();
        let names: Vec<_> = at_gateway.iter().map(|metric| metric.name).collect();
        assert_eq!(
            names,
            [
                "host",
                "proxy",
                "origin",
                "api_key",
                "bad_request",
                "rate",
                "outbox"
            ]
        );
        assert!(
            next_line(&log, "origin").is_none(),
            "100 lines were asked for"
        );
        assert!(
            next_line(&log, "link_key").is_some(),
            "one reason doesn't take the lines of another"
        );
    }
}
