//! Why something wasn't done, as a client is told.

use std::borrow::Cow;

use super::json::Json;
use crate::chat::{ChatError, ErrorCode};
use crate::server::Response;

/// A code of the protocol, and what to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which kind.
    pub code: ErrorCode,
    /// For a person; names the field.
    pub message: Cow<'static, str>,
    /// Of an HTTP answer (RFC 9110 §15).
    pub status: u16,
    /// Seconds after which trying again may help, where it may at all.
    pub retry_after_s: u64,
}

impl Refusal {
    /// A refusal of any kind.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            status: code.status(),
            retry_after_s: 1,
        }
    }

    /// As an HTTP answer.
    pub(super) fn response(&self) -> Response {
        let response = Response::json(self.json().end()).with_status(self.status);
        match self.code {
            ErrorCode::Unauthorized => response.field("WWW-Authenticate", "Bearer"),
            ErrorCode::RateLimited | ErrorCode::Unavailable => {
                response.field("Retry-After", &self.retry_after_s.to_string())
            }
            _ => response,
        }
    }

    /// `{"error":{"code","message"}}`
    pub(super) fn json(&self) -> Json {
        let error = Json::object()
            .string("code", self.code.name())
            .string("message", &self.message);
        Json::object().raw("error", &error.end())
    }

    /// The same with another status than its code has.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// It can't be understood.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }
}

impl From<ChatError> for Refusal {
    fn from(error: ChatError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
