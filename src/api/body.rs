//! The body of a request, as JSON.

use serde::Deserialize;

use super::refusal::Refusal;
use crate::server::Request;

/// Returns the body as text; the request has to say that it is JSON, and it has to be UTF-8.
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

/// Bytes of a foreign name that a refusal repeats: enough to find the name, and no echo of a body.
const NAME_SHOWN_MAX: usize = 64;

/// Reads a JSON object; `what` is its name in a refusal. An empty array is an empty object, since
/// PHP writes both alike.
///
/// # Errors
///
/// The text is no JSON, or no object, or has a field twice, or an unknown one.
pub(crate) fn object<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T, Refusal> {
    let text = if is_empty_array(text) { "{}" } else { text };
    match serde_json::from_str(text) {
        Ok(_) if !text.trim_ascii_start().starts_with('{') => {
            // serde takes an array for a struct, by the order of its fields.
            Err(no_object(what))
        }
        Ok(object) => Ok(object),
        Err(error) => Err(unreadable(what, &error)),
    }
}

/// Whether a text is an empty array.
pub(crate) fn is_empty_array(text: &str) -> bool {
    let inside = text.trim_ascii().strip_prefix('[');
    let inside = inside.and_then(|text| text.strip_suffix(']'));
    inside.is_some_and(|text| text.trim_ascii().is_empty())
}

fn no_object(what: &str) -> Refusal {
    Refusal::bad_request(format!("{what} has to be a JSON object"))
}

/// Says what is wrong in terms of the protocol, where serde's own words are those of a Rust program.
fn unreadable(what: &str, error: &serde_json::Error) -> Refusal {
    let text = error.to_string();
    if !error.is_data() {
        return Refusal::bad_request(format!("{what} is no JSON: {text}"));
    }
    let field = |before: &str, behind: &str| {
        let name = text.strip_prefix(before)?.rsplit_once(behind)?.0;
        Some(name.to_owned())
    };
    if let Some(name) = field("duplicate field `", "` at line") {
        Refusal::bad_request(format!("{what} has {name} twice"))
    } else if let Some(name) = field("unknown field `", "`, expected ") {
        let known = text
            .rsplit_once("`, expected ")
            .map_or("", |(_, known)| known);
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let known = known.join(", ");
        unknown_field(what, &name, &known)
    } else {
        no_object(what)
    }
}

/// Refuses a field that an object doesn't have: what is mistyped would be passed over.
pub(crate) fn unknown_field(what: &str, name: &str, known: &str) -> Refusal {
    let end = name.floor_char_boundary(NAME_SHOWN_MAX);
    let name = &name[..end];
    Refusal::bad_request(format!("{what} has {name:?}, but takes only {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        one: Option<u64>,
        two: Option<u64>,
    }

    fn message(text: &str) -> String {
        object::<Pair>("the body", text).unwrap_err().message.into()
    }

    #[test]
    fn an_object_is_read_and_an_empty_array_is_an_empty_one() {
        let pair: Pair = object("the body", r#" {"one":1} "#).unwrap();
        assert_eq!((pair.one, pair.two), (Some(1), None));
        for empty in ["{}", "[]", " [ ] "] {
            assert_eq!(object::<Pair>("the body", empty).unwrap().one, None);
        }
    }

    #[test]
    fn what_is_wrong_with_an_object_is_told_without_the_names_of_types() {
        for (text, wrong) in [
            ("[1,2]", "the body has to be a JSON object"),
            ("5", "the body has to be a JSON object"),
            (r#"{"one":1,"one":2}"#, "the body has one twice"),
            (
                r#"{"three":1}"#,
                "the body has \"three\", but takes only one, two",
            ),
            (
                r#"{"one":"\x"}"#,
                "the body is no JSON: invalid escape at line 1 column 10",
            ),
        ] {
            assert_eq!(message(text), wrong, "{text}");
        }
        let long = format!(r#"{{"{}":1}}"#, "ä".repeat(1_000));
        assert!(message(&long).len() < 200);
    }
}
