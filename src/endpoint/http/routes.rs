//! The table of the HTTP API: which handler answers which method at which path.
//!
//! 404 and 405 follow from the table, and a test compares `openapi.json` with it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::HttpApi;
use super::call::{ApiCall, PathNames};
use super::guard::ApiGuard;
use super::reply::ApiReply;
use crate::api::refusal::Refusal;

/// One line of the table.
pub(super) struct ApiRoute {
    method: &'static str,
    path: &'static str,
    /// The path up to its first `{variable}`: most lines are passed over by one comparison with it.
    prefix: &'static str,
    /// The fields that the query may have.
    pub(super) query: &'static [&'static str],
    pub(super) guard: ApiGuard,
    /// Whether the handler waits for nothing but locks that are held for a moment.
    pub(super) is_light: bool,
    pub(super) handler: ApiHandler,
}

type ApiHandler = fn(&HttpApi, &ApiCall<'_>) -> Result<ApiReply, Refusal>;

const LIST: &[&str] = &["limit", "after"];
const CONNECTIONS: &[&str] = &["limit", "after", "node"];
const HISTORY: &[&str] = &["after", "before", "limit"];

/// Lines of one path stand together; `GET` answers `HEAD` too.
#[rustfmt::skip]
const ROUTES: &[ApiRoute] = &[
    route("POST", "/v1/messages", &[], HttpApi::post_message).guarded(ApiGuard::KeyOrToken).light(),
    route("POST", "/v1/messages/batch", &[], HttpApi::post_batch).guarded(ApiGuard::KeyOrToken),
    route("GET", "/v1/rooms", &["prefix", "limit", "after"], HttpApi::rooms),
    route("GET", "/v1/rooms/{room}", &[], HttpApi::room),
    route("GET", "/v1/rooms/{room}/members", LIST, HttpApi::members),
    route("PUT", "/v1/rooms/{room}/members/{uid}", &[], HttpApi::add_member),
    route("DELETE", "/v1/rooms/{room}/members/{uid}", &[], HttpApi::remove_member),
    route("GET", "/v1/rooms/{room}/messages", HISTORY, HttpApi::room_history),
    route("DELETE", "/v1/rooms/{room}/messages", &[], HttpApi::purge_room),
    route("GET", "/v1/users", &["uid"], HttpApi::users),
    route("GET", "/v1/users/{uid}", &[], HttpApi::user),
    route("GET", "/v1/users/{uid}/messages", HISTORY, HttpApi::user_history),
    route("DELETE", "/v1/users/{uid}/messages", &[], HttpApi::purge_inbox),
    route("POST", "/v1/users/{uid}/kick", &[], HttpApi::kick),
    route("GET", "/v1/connections", CONNECTIONS, HttpApi::connections),
    route("GET", "/v1/connections/{fd}", &[], HttpApi::connection),
    route("DELETE", "/v1/connections/{fd}", &[], HttpApi::disconnect),
    route("PUT", "/v1/connections/{fd}/user", &[], HttpApi::bind),
    route("DELETE", "/v1/connections/{fd}/user", &[], HttpApi::unbind),
    route("GET", "/v1/connections/{fd}/session", &[], HttpApi::session),
    route("PUT", "/v1/connections/{fd}/session", &[], HttpApi::set_session),
    route("GET", "/v1/nodes", &[], HttpApi::nodes),
    route("POST", "/v1/nodes/{node}/drain", &[], HttpApi::drain_node),
    route("GET", "/v1/stats", &[], HttpApi::stats).guarded(ApiGuard::Key),
    route("GET", "/metrics", &[], HttpApi::metrics).guarded(ApiGuard::Key),
    route("GET", "/openapi.json", &[], HttpApi::openapi).guarded(ApiGuard::Open),
];

const fn route(
    method: &'static str,
    path: &'static str,
    query: &'static [&'static str],
    handler: ApiHandler,
) -> ApiRoute {
    ApiRoute {
        method,
        path,
        prefix: prefix(path),
        query,
        guard: ApiGuard::LimitedKey,
        is_light: false,
        handler,
    }
}

const fn prefix(path: &str) -> &str {
    let mut size = 0;
    while size < path.len() && path.as_bytes()[size] != b'{' {
        size += 1;
    }
    path.split_at(size).0
}

impl ApiRoute {
    const fn guarded(self, guard: ApiGuard) -> Self {
        Self { guard, ..self }
    }

    const fn light(self) -> Self {
        Self {
            is_light: true,
            ..self
        }
    }

    const fn has_variables(&self) -> bool {
        self.prefix.len() < self.path.len()
    }

    fn is_at(&self, path: &str) -> bool {
        match self.has_variables() {
            true => path.starts_with(self.prefix) && matches(self.path, path),
            false => self.path == path,
        }
    }

    /// Returns the methods that the route answers, as `Allow` lists them (RFC 9110 §10.2.1).
    fn methods(&self) -> &'static str {
        match self.method {
            "GET" => "GET, HEAD",
            method => method,
        }
    }
}

/// The lines of the table that a path leads to, and its variables.
pub(super) struct ApiResource<'a> {
    routes: &'static [ApiRoute],
    pub(super) names: PathNames<'a>,
}

impl<'a> ApiResource<'a> {
    /// Finds what stands at a path; `None` when the API has nothing there.
    ///
    /// # Errors
    ///
    /// A name in the path is no UTF-8 once decoded, or a connection is no number.
    pub(super) fn at(path: &'a str) -> Result<Option<Self>, Refusal> {
        let Some(first) = ROUTES.iter().position(|route| route.is_at(path)) else {
            return Ok(None);
        };
        let pattern = ROUTES[first].path;
        let count = ROUTES[first..]
            .iter()
            .take_while(|route| route.path == pattern)
            .count();
        Ok(Some(Self {
            routes: &ROUTES[first..first + count],
            names: match ROUTES[first].has_variables() {
                true => names_in(pattern, path)?,
                false => PathNames::default(),
            },
        }))
    }

    /// Returns the path with its variables by name.
    pub(super) fn path(&self) -> &'static str {
        self.routes[0].path
    }

    /// Finds the line for a method.
    pub(super) fn route(&self, method: &str) -> Option<&'static ApiRoute> {
        let method = if method == "HEAD" { "GET" } else { method };
        self.routes.iter().find(|route| route.method == method)
    }

    /// Returns the methods that are answered here, as `Allow` lists them.
    pub(super) fn allow(&self) -> String {
        let methods: Vec<&str> = self.routes.iter().map(ApiRoute::methods).collect();
        methods.join(", ")
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn variable(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut asked = segments(path);
    let fits = segments(pattern).all(|wanted| {
        let asked = asked.next();
        asked.is_some_and(|asked| asked == wanted || variable(wanted).is_some())
    });
    fits && asked.next().is_none()
}

fn names_in<'a>(pattern: &str, path: &'a str) -> Result<PathNames<'a>, Refusal> {
    let mut names = PathNames::default();
    for (wanted, asked) in segments(pattern).zip(segments(path)) {
        match variable(wanted) {
            Some("room") => names.room = decoded("room", asked)?,
            Some("uid") => names.uid = decoded("uid", asked)?,
            Some("node") => names.node = decoded("node", asked)?,
            Some("fd") => names.fd = number(asked)?,
            _ => {}
        }
    }
    Ok(names)
}

fn decoded<'a>(name: &str, text: &'a str) -> Result<Cow<'a, str>, Refusal> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(Refusal::bad_request(format!(
            "{name} in the path is empty, or no UTF-8"
        ))),
    }
}

fn number(fd: &str) -> Result<u64, Refusal> {
    fd.parse()
        .map_err(|_| Refusal::bad_request("fd in the path has to be a whole number"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(path: &str) -> Option<(&'static str, PathNames<'_>)> {
        let resource =
            ApiResource::at(path).unwrap_or_else(|refusal| panic!("{path}: {refusal:?}"));
        resource.map(|resource| (resource.routes[0].path, resource.names))
    }

    #[test]
    fn every_path_leads_to_its_own_lines_and_its_names_are_decoded() {
        for route in ROUTES {
            let path = route.path.replace("{room}", "a%2Fb");
            let path = path.replace("{uid}", "%C3%A4").replace("{fd}", "7");
            let path = path.replace("{node}", "eu-1");
            let (pattern, names) = at(&path).unwrap();
            assert_eq!(pattern, route.path);
            let of = |variable: &str| route.path.contains(variable);
            assert_eq!(names.room, if of("{room}") { "a/b" } else { "" }, "{path}");
            assert_eq!(names.uid, if of("{uid}") { "ä" } else { "" }, "{path}");
            assert_eq!(names.fd, if of("{fd}") { 7 } else { 0 }, "{path}");
            let resource = ApiResource::at(&path).unwrap().unwrap();
            let found = resource.route(route.method).unwrap();
            assert_eq!((found.method, found.path), (route.method, route.path));
        }
    }

    #[test]
    fn other_paths_are_nothing_and_broken_names_are_refused() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/roomz",
            "/v1/rooms/a/members/b/c",
            "/v1/rooms/a/b",
            "/v2/rooms",
        ] {
            assert_eq!(at(path), None, "{path}");
        }
        for path in ["/v1/rooms/%ff", "/v1/rooms//members", "/v1/connections/x"] {
            assert!(ApiResource::at(path).is_err(), "{path}");
        }
    }

    #[test]
    fn allow_lists_the_methods_of_a_path() {
        for (path, allow) in [
            ("/v1/messages", "POST"),
            ("/v1/rooms", "GET, HEAD"),
            ("/v1/rooms/a/messages", "GET, HEAD, DELETE"),
            ("/v1/rooms/a/members/b", "PUT, DELETE"),
        ] {
            let resource = ApiResource::at(path).unwrap().unwrap();
            assert_eq!(resource.allow(), allow, "{path}");
            assert!(resource.route("PATCH").is_none());
            assert_eq!(resource.route("HEAD").is_some(), allow.contains("HEAD"));
        }
    }

    /// A line as `GET /v1/rooms ?prefix ?limit`.
    fn line(method: &str, path: &str, query: impl Iterator<Item = String>) -> String {
        let mut query: Vec<String> = query.map(|field| format!(" ?{field}")).collect();
        query.sort();
        format!("{method} {path}{}", query.concat())
    }

    #[test]
    fn the_description_lists_the_routes_of_the_table_and_no_others() {
        let description: serde_json::Value =
            serde_json::from_str(super::super::numbers::OPENAPI).unwrap();
        let mut described = BTreeSet::new();
        for (path, operations) in description["paths"].as_object().unwrap() {
            // Answered by the gate, on the reactor's thread.
            if crate::api::health::is_health_path(path) {
                continue;
            }
            for (method, operation) in operations.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let fields = operation["parameters"].as_array().into_iter().flatten();
                let fields = fields.map(|field| {
                    assert_eq!(field["in"], "query", "{path}: {field}");
                    field["name"].as_str().unwrap().to_owned()
                });
                described.insert(line(&method.to_uppercase(), path, fields));
            }
        }
        let of_table = ROUTES.iter().flat_map(|route| {
            let methods = route.methods().split(", ");
            methods.map(|method| {
                let fields = route.query.iter().map(|field| (*field).to_owned());
                line(method, route.path, fields)
            })
        });
        assert_eq!(described, of_table.collect());
    }
}
