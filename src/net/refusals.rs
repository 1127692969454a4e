//! The trace of what a reactor refuses by itself: a line of the log, of which there are only so many a
//! second. The counters count all of it.

use std::fmt::Display;
use std::time::Instant;

use super::counters::Counters;
use crate::base::line_budget::LineBudget;
use crate::base::{Fd, PeerAddress};
use crate::proto::http::HttpError;

/// The reason why a reactor refused somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReactorRefusal {
    /// There were `connections_max` connections.
    Full,
    /// An address had `connections_per_address_max` connections without a login.
    Address,
    /// A connection didn't begin with a PROXY header, or not with one that is believed.
    Preface,
    /// Too much was half sent in all.
    Unfinished,
    /// The peer broke HTTP, or was too slow, or sent too much.
    Http(HttpError),
    /// The peer broke the rules of WebSockets.
    Frame,
    /// The peer broke TLS, or agrees on nothing with this server; or it spoke plain HTTP there.
    Tls { is_plain: bool },
    /// A connection or the reactor had too many topics; the connection is closed.
    Topics,
}

impl ReactorRefusal {
    /// Counts it, and gives its name in the log.
    fn count(self, counters: &Counters) -> &'static str {
        let (name, counter) = match self {
            Self::Full => ("connections_max", &counters.refused),
            Self::Address => ("connections_per_address_max", &counters.refused_addresses),
            Self::Preface => ("proxy_header", &counters.requests_malformed),
            Self::Unfinished => ("unfinished", &counters.unfinished_refused),
            Self::Http(error) => match error.status() {
                408 => ("timeout", &counters.requests_late),
                413 | 414 | 431 => ("too_large", &counters.requests_oversized),
                _ => ("bad_request", &counters.requests_malformed),
            },
            Self::Tls { is_plain: false } => ("tls", &counters.tls_failed),
            Self::Tls { is_plain: true } => ("plain_on_tls", &counters.plain_on_tls),
            Self::Frame => ("violation", &counters.violations),
            Self::Topics => ("topics_max", &counters.subscriptions_refused),
        };
        counter.add(1);
        name
    }
}

/// Writes the lines of one reactor.
#[derive(Debug, Default)]
pub(super) struct ReactorRefusals {
    lines: LineBudget,
}

impl ReactorRefusals {
    /// Leaves the trace of one refusal; a connection that was never taken in has no number.
    pub(super) fn note(
        &mut self,
        counters: &Counters,
        refusal: ReactorRefusal,
        (fd, peer): (Option<Fd>, Option<PeerAddress>),
        why: &dyn Display,
    ) {
        let reason = refusal.count(counters);
        let Some(left_out) = self.lines.take(Instant::now()) else {
            return;
        };
        let peer = peer.map(|peer| peer.to_string());
        tracing::info!(
            reason,
            fd = fd.map_or(0, |fd| fd.0),
            peer = peer.unwrap_or_default(),
            why = %why,
            left_out,
            "refused"
        );
    }

    /// Says that a connection couldn't be taken in for want of a descriptor, if a line is left.
    pub(super) fn no_descriptor(&mut self, error: &std::io::Error) {
        if let Some(left_out) = self.lines.take(Instant::now()) {
            tracing::warn!(%error, left_out, "no descriptor for a new connection; one was refused");
        }
    }
}
