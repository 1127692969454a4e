//! Cross-origin requests of browsers (the CORS protocol of the Fetch standard, §3.3): pages of the origins
//! in `origins_allowed` may use the whole API.
//!
//! A browser lets such a page read an answer only when that says so, and asks first where a request is
//! unusual: one with `Authorization` or JSON. Cookies mean nothing here, so none are asked for.

use std::sync::Arc;

use tidings::server::{AnswerFields, Head, Response, Verdict};

use crate::config::{OriginParts, usual_port};

/// The methods of the API, as a preflight is told them.
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE";

/// The fields of a request that a page may set, beside those that need no asking.
const HEADERS: &str = "Authorization, Content-Type";

/// Fields of answers that a page may read, beside those that need no asking.
const EXPOSED: &str = "Retry-After";

/// Time for which a browser may remember what it was told, in seconds: of a page's first requests only
/// one is asked for twice, and an origin that is withdrawn is gone in ten minutes.
const REMEMBERED_S: &str = "600";

/// The paths of the client for JavaScript and of its types, which every page may load.
pub(super) const CLIENT_PATHS: [&str; 2] = ["/client.js", "/client.d.ts"];

/// What answers tell browsers of other origins.
#[derive(Debug, Default)]
pub(super) struct CrossOrigin {
    /// The origins that are let in, each with the fields of answers to its pages.
    listed: Vec<(String, Arc<AnswerFields>)>,
    /// The fields of answers to all others: a cache must not hand those out to pages of listed origins.
    others: Option<Arc<AnswerFields>>,
}

impl CrossOrigin {
    /// Lets pages of these origins use the API.
    pub(super) fn of(origins: &[String]) -> Self {
        let origins = origins.iter();
        let listed: Vec<_> = origins
            .filter_map(|origin| OriginParts::of(origin))
            .map(|parts| {
                let origin = as_browsers_write_it(parts);
                let fields = AnswerFields::new([
                    ("Access-Control-Allow-Origin", &*origin),
                    ("Access-Control-Expose-Headers", EXPOSED),
                    ("Vary", "Origin"),
                ]);
                (origin, Arc::new(fields))
            })
            .collect();
        let others =
            (!listed.is_empty()).then(|| Arc::new(AnswerFields::new([("Vary", "Origin")])));
        Self { listed, others }
    }

    /// Adds to the verdict about a request what its answer tells browsers.
    pub(super) fn complete(&self, head: &Head, verdict: Verdict) -> Verdict {
        let Some(others) = &self.others else {
            return verdict;
        };
        if is_open_to_all(head) {
            return verdict;
        }
        verdict.with_fields(self.fields_for(head).unwrap_or(others))
    }

    /// Answers a browser that asks whether a page of a listed origin may send a request; `None` for
    /// every other request.
    pub(super) fn preflight(&self, head: &Head) -> Option<Response> {
        let asks =
            head.method() == "OPTIONS" && head.field("access-control-request-method").is_some();
        if !asks || is_open_to_all(head) {
            return None;
        }
        self.fields_for(head)?;
        let response = Response::new(204)
            .field("Access-Control-Allow-Methods", METHODS)
            .field("Access-Control-Allow-Headers", HEADERS)
            .field("Access-Control-Max-Age", REMEMBERED_S);
        Some(response)
    }

    fn fields_for(&self, head: &Head) -> Option<&Arc<AnswerFields>> {
        let origin = OriginParts::of(head.field_text("origin")?)?;
        let listed = self.listed.iter();
        let mut listed = listed.filter(|(one, _)| OriginParts::of(one) == Some(origin));
        listed.next().map(|(_, fields)| fields)
    }
}

/// Whether a request is for what every page may load.
pub(super) fn is_open_to_all(head: &Head) -> bool {
    matches!(head.method(), "GET" | "HEAD") && CLIENT_PATHS.contains(&head.path())
}

/// Writes an origin as browsers do, who compare it letter by letter: in small letters, and without the
/// usual port.
fn as_browsers_write_it(parts: OriginParts<'_>) -> String {
    let OriginParts { scheme, host, port } = parts;
    let origin = format!("{scheme}://{host}").to_ascii_lowercase();
    match port.filter(|port| usual_port(scheme) != Some(*port)) {
        Some(port) => format!("{origin}:{port}"),
        None => origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::proto::http::{HttpLimits, parse};

    fn head(line: &str, fields: &str) -> Head {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let parsed = parse(request.as_bytes(), &mut 0, &HttpLimits::default());
        parsed.expect("a valid head").expect("a whole head").0
    }

    fn told(rules: &CrossOrigin, line: &str, fields: &str) -> Vec<(String, String)> {
        let answer = Verdict::Answer(Response::new(200));
        let Verdict::Answer(response) = rules.complete(&head(line, fields), answer) else {
            panic!("an answer stays one");
        };
        let fields = response.fields();
        fields
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn a_listed_origin_is_named_as_browsers_compare_it() {
        for (listed, sent, told_as) in [
            (
                "https://App.Example:443",
                "https://app.example",
                "https://app.example",
            ),
            ("http://a:8080", "http://a:8080", "http://a:8080"),
            (
                "capacitor://localhost",
                "capacitor://localhost",
                "capacitor://localhost",
            ),
            ("http://[::1]:80", "http://[::1]", "http://[::1]"),
        ] {
            let rules = CrossOrigin::of(&[listed.into()]);
            let told = told(&rules, "GET /v1/rooms", &format!("Origin: {sent}\r\n"));
            let (name, value) = &told[0];
            assert_eq!(
                (&**name, &**value),
                ("Access-Control-Allow-Origin", told_as)
            );
        }
    }

    #[test]
    fn others_are_told_nothing_but_that_it_depends() {
        let rules = CrossOrigin::of(&["https://app.example".into()]);
        for fields in ["", "Origin: https://evil.example\r\n", "Origin: null\r\n"] {
            let told = told(&rules, "GET /v1/rooms", fields);
            assert_eq!(told, [("Vary".to_owned(), "Origin".to_owned())], "{fields}");
        }
        let nobody = CrossOrigin::of(&[]);
        assert!(told(&nobody, "GET /v1/rooms", "Origin: https://app.example\r\n").is_empty());
    }

    #[test]
    fn only_the_browser_of_a_listed_origin_is_told_what_it_may_send() {
        let rules = CrossOrigin::of(&["https://app.example".into()]);
        let (app, evil) = (
            "Origin: https://app.example\r\n",
            "Origin: https://evil.example\r\n",
        );
        let asks = "Access-Control-Request-Method: POST\r\n";
        let answer = rules.preflight(&head("OPTIONS /v1/messages", &format!("{app}{asks}")));
        let answer = answer.expect("a preflight of a listed origin");
        let allowed = answer
            .fields()
            .find(|(name, _)| name.ends_with("Allow-Headers"));
        assert_eq!((answer.status(), allowed.unwrap().1), (204, HEADERS));
        for (line, fields) in [
            ("OPTIONS /v1/messages", format!("{evil}{asks}")),
            ("OPTIONS /v1/messages", asks.to_owned()),
            ("OPTIONS /v1/messages", app.to_owned()),
            ("POST /v1/messages", format!("{app}{asks}")),
        ] {
            assert!(
                rules.preflight(&head(line, &fields)).is_none(),
                "{line} {fields}"
            );
        }
    }
}
