//! The reason why a request wasn't carried out, as a client is told.

use std::borrow::Cow;

use super::json::Json;
use crate::chat::{ChatError, ErrorCode};
use crate::server::Response;

/// A code of the protocol, and a sentence that says what to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code for programs.
    pub code: ErrorCode,
    /// The sentence for a person; names the field that is wrong.
    pub message: Cow<'static, str>,
    /// The status of the HTTP answer (RFC 9110 §15).
    pub status: u16,
    /// Seconds after which another try may succeed, for codes that allow one.
    pub retry_after_s: u64,
}

impl Refusal {
    /// Makes a refusal with the status of its code.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            status: code.status(),
            retry_after_s: 1,
        }
    }

    /// Makes a refusal of a request that can't be understood.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// Makes the refusal of a path that leads nowhere.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// Replaces the status that goes with the code.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Makes the HTTP answer, with the fields that its code asks for.
    #[must_use]
    pub fn response(&self) -> Response {
        let response = Response::json(self.json().end()).with_status(self.status);
        match self.code {
            ErrorCode::Unauthorized => response.field("WWW-Authenticate", "Bearer"),
            ErrorCode::RateLimited
            | ErrorCode::Unavailable
            | ErrorCode::DiskFull
            | ErrorCode::Unsettled => {
                response.field("Retry-After", &self.retry_after_s.to_string())
            }
            _ => response,
        }
    }

    /// Writes `{"error":{"code","message"}}`.
    pub(crate) fn json(&self) -> Json {
        let error = Json::object()
            .string("code", self.code.name())
            .string("message", &self.message);
        Json::object().raw("error", &error.end())
    }
}

/// Makes the 405 of a path that takes only the methods in `allow` (RFC 9110 §10.2.1).
#[must_use]
pub fn method_not_allowed(allow: &str) -> Response {
    Refusal::bad_request(format!("only {allow} is answered here"))
        .with_status(405)
        .response()
        .field("Allow", allow)
}

impl From<ChatError> for Refusal {
    fn from(error: ChatError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_brings_the_fields_that_a_client_needs() {
        for (code, name, value) in [
            (ErrorCode::Unauthorized, "WWW-Authenticate", "Bearer"),
            (ErrorCode::RateLimited, "Retry-After", "1"),
            (ErrorCode::Unavailable, "Retry-After", "1"),
            (ErrorCode::DiskFull, "Retry-After", "1"),
            (ErrorCode::Unsettled, "Retry-After", "1"),
        ] {
            let response = Refusal::new(code, "no").response();
            let body = format!(r#"{{"error":{{"code":"{}","message":"no"}}}}"#, code.name());
            assert_eq!(response.content(), body.as_bytes());
            assert_eq!(response.status(), code.status());
            assert!(
                response.fields().any(|field| field == (name, value)),
                "{code:?}"
            );
        }
    }
}
