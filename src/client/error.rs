//! Why a server didn't do what it was asked, and whether asking again can help.

use std::io;

use tidings::tls::TlsError;
use tungstenite::protocol::frame::coding::CloseCode;

/// The Close of a connection whose token is none of the server's.
const BAD_TOKEN: u16 = 4001;

/// The Close of a connection whose token has ended.
const TOKEN_EXPIRED: u16 = 4005;

/// The Close of a connection that asked for too much.
const RATE_LIMITED: u16 = 4009;

/// The reason why a request or a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("can't connect to {address}; is `tidings serve` running?")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The reason that the system gives.
        source: io::Error,
    },
    /// The server is reached, but not by a TLS that can be trusted.
    #[error("no TLS connection to {address}")]
    Tls {
        /// Host and port.
        address: String,
        /// The reason.
        source: TlsError,
    },
    /// The server refused.
    #[error("{code}: {message}")]
    Refused {
        /// The code of the protocol.
        code: String,
        /// The sentence for people.
        message: String,
        /// Whether the same may succeed later.
        may_retry: bool,
    },
    /// The server closed the WebSocket.
    #[error("closed with {code}: {reason}")]
    Closed {
        /// The close code.
        code: u16,
        /// The sentence for people.
        reason: String,
    },
    /// The connection ended without a word.
    #[error("the connection was lost")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is none of a tidings server.
    #[error("{0}; is that a tidings server?")]
    Foreign(String),
}

impl ClientError {
    /// Makes a refusal of an HTTP answer that is no refusal by its body.
    pub(super) fn status(status: u16) -> Self {
        Self::Refused {
            code: format!("status {status}"),
            message: "the server refused".into(),
            may_retry: status == 429 || status >= 500,
        }
    }

    /// Whether another attempt would end the same way; `can_renew` says whether it would show
    /// another token.
    #[must_use]
    pub fn is_final(&self, can_renew: bool) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost(_) => false,
            Self::Tls { source, .. } => source.is_final(),
            Self::Foreign(_) => true,
            Self::Refused { may_retry, .. } => !may_retry,
            // What was sent was wrong, or the server doesn't want this client (`docs/protocol.md`).
            Self::Closed { code, .. } => match *code {
                1002 | 1003 | 1007..=1009 | BAD_TOKEN | 4003 | 4004 => true,
                TOKEN_EXPIRED => !can_renew,
                _ => false,
            },
        }
    }

    /// Whether the server asks for patience before the next attempt.
    #[must_use]
    pub fn wants_patience(&self) -> bool {
        match self {
            Self::Closed { code, .. } => *code == RATE_LIMITED,
            Self::Refused { may_retry, .. } => *may_retry,
            _ => false,
        }
    }

    /// Whether the server ended the connection as it ends any.
    #[must_use]
    pub fn is_usual_end(&self) -> bool {
        let usual = [CloseCode::Normal, CloseCode::Away, CloseCode::Status];
        matches!(self, Self::Closed { code, .. } if usual.contains(&(*code).into()))
    }

    /// Whether the credentials were refused, or missing.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code == "unauthorized",
            Self::Closed { code, .. } => [BAD_TOKEN, TOKEN_EXPIRED].contains(code),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_close_code_decides_as_the_protocol_page_says() {
        let page = include_str!("../../docs/protocol.md");
        let (_, table) = page.split_once("<!-- table: closes -->").expect("a table");
        let (table, _) = table.split_once("<!--").expect("an end");
        let mut rows = 0;
        for row in table.lines().filter(|row| row.starts_with("| `")) {
            let code = row[3..7].parse().expect(row);
            let back = row.trim_end_matches([' ', '|']).rsplit('|').next();
            let back = back.expect(row).trim();
            let error = ClientError::Closed {
                code,
                reason: String::new(),
            };
            assert_eq!(error.is_final(true), back.starts_with("no"), "{row}");
            let is_final = back.starts_with("no") || back == "yes, with a new token";
            assert_eq!(error.is_final(false), is_final, "{row}");
            rows += 1;
        }
        assert_eq!(rows, 17);
    }
}
