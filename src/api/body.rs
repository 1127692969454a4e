//! The body of a request, as JSON.

use serde::Deserialize;

use super::refusal::Refusal;
use crate::server::Request;

/// The body as text, which has to be there as JSON.
pub(crate) fn json_body(request: &Request) -> Result<&str, Refusal> {
    let kind = request.header("content-type").unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let refusal = Refusal::bad_request("Content-Type has to be application/json");
        return Err(refusal.with_status(415));
    }
    std::str::from_utf8(request.body()).map_err(|_| Refusal::bad_request("the body is no UTF-8"))
}

pub(crate) fn json_body_or_none(request: &Request) -> Result<&str, Refusal> {
    if request.body().is_empty() {
        Ok("")
    } else {
        json_body(request)
    }
}

pub(crate) fn object<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not as it has to be: {error}")))
}
