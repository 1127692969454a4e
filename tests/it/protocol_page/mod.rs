//! `docs/protocol.md` against the real server: every frame and every HTTP exchange that the page
//! shows is sent, and the answers have to be those that the page shows. Commands, messages, codes
//! and routes that the server has but the page doesn't name fail the test, too.
//!
//! How the page is read:
//! - A `ws` block is a conversation. `> ` is a line of the client, `< ` one of the server; a name
//!   before it says which client. `> GET /ws` opens a connection. `Close`, `Ping`, `Pong`,
//!   `Binary` and `Bytes` stand for frames that are no text.
//! - An `http` block is one request and its answer. `Host` and `Content-Length` are added.
//! - Comments set the stage; `play.rs` has the list of them.
//! - Values that differ from run to run (see `likeness.rs`) are bound where they stand first, and
//!   have to be the same wherever they stand again.

mod known;
mod likeness;
mod page;
mod play;
mod wire;

use std::collections::BTreeSet;

use page::{Kind, Page};
use play::Shown;
use serde_json::Value;

/// Routes that the description of the API doesn't have: the chat page and its client.
const BESIDE_THE_API: &[&str] = &["GET /", "GET /client.js"];

fn words<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    words
        .into_iter()
        .map(|word| word.as_ref().to_owned())
        .collect()
}

/// Finds the words that stand in only one of two places.
fn differences(
    what: &str,
    of_page: &BTreeSet<String>,
    other: (&str, &BTreeSet<String>),
) -> Vec<String> {
    let (where_else, other) = other;
    let missing = other.difference(of_page);
    let missing = missing.map(|word| format!("{what} {word}: {where_else}, but not in the page"));
    let extra = of_page.difference(other);
    let extra = extra.map(|word| format!("{what} {word}: in the page, but not {where_else}"));
    missing.chain(extra).collect()
}

#[track_caller]
fn nothing_is_wrong(problems: &[String]) {
    assert!(
        problems.is_empty(),
        "{} in docs/protocol.md:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn every_example_is_what_the_server_says_and_every_word_has_one() {
    let page = Page::read();
    let (shown, problems) = play::all(&page);
    // First: the examples that a broken scene didn't reach would be missing below as well.
    nothing_is_wrong(&problems);
    assert_eq!(shown.blocks, page.fences(), "each block is run");
    nothing_is_wrong(&without_example(&page, &shown));
}

/// A close that only an upgrade over TLS gives, which no block can show; `tls::daemon` does.
const CLOSE_OF_UPGRADE: (&str, &str) = ("closes", "1012");

/// Finds the words of the page that no block has shown.
fn without_example(page: &Page, shown: &Shown) -> Vec<String> {
    let mut problems = Vec::new();
    for (table, shown) in [
        ("commands", &shown.sent),
        ("link commands", &shown.sent),
        ("messages", &shown.received),
        ("link messages", &shown.received),
        ("errors", &shown.errors),
        ("closes", &shown.closes),
        ("statuses", &shown.statuses),
        ("routes", &shown.requests),
        ("gateway routes", &shown.gateway_requests),
    ] {
        let words = page.words(table).into_iter();
        let words = words.filter(|word| (table, &**word) != CLOSE_OF_UPGRADE);
        let missing = words.filter(|word| !shown.iter().any(|shown| known::is_at(shown, word)));
        problems.extend(missing.map(|word| format!("{table}: there is no example of {word}")));
    }
    problems
}

#[test]
fn the_page_names_everything_that_the_server_has_and_nothing_else() {
    let page = Page::read();
    let mut problems = Vec::new();

    let commands = &page.words("commands") | &page.words("link commands");
    let messages = &page.words("messages") | &page.words("link messages");
    let types = &commands | &messages;
    let all = ("a type of a frame in the sources", &known::types());
    problems.extend(differences("type", &types, all));

    let codes = known::ERROR_CODES.map(|code| code.name());
    let all = ("a code of the server", &words(codes));
    let errors = &page.words("errors") | &page.words("errors of a cluster");
    problems.extend(differences("error", &errors, all));
    let of_cluster = page.table("errors of a cluster");
    for row in page.table("errors").into_iter().chain(of_cluster) {
        let code = known::ERROR_CODES
            .into_iter()
            .find(|code| row.first_word() == code.name());
        let Some(code) = code else { continue };
        let retry = if code.may_retry() { "yes" } else { "no" };
        if row.cells[1] != code.status().to_string() || row.cells[2] != retry {
            let (status, line) = (code.status(), row.line);
            problems.push(format!("line {line}: it is status {status}, retry {retry}"));
        }
    }

    let closes = &page.words("closes") | &page.words("closes of others");
    let all = ("a close code in the sources", &known::close_codes());
    problems.extend(differences("close code", &closes, all));
    for (code, word) in known::kicks() {
        let rows = page.table("closes");
        let row = rows.iter().find(|row| row.first_word() == code);
        if !row.is_some_and(|row| row.names(&word)) {
            problems.push(format!("close code {code}: its kick {word} isn't named"));
        }
    }

    let described = known::operations();
    let statuses = &page.words("statuses") | &page.words("statuses of a cluster");
    let routes = &page.words("routes") - &words(BESIDE_THE_API);
    let all = ("in openapi.json", &words(described.keys()));
    problems.extend(differences("route", &routes, all));
    for status in described.values().flatten() {
        if !statuses.contains(status) {
            problems.push(format!(
                "status {status}: in openapi.json, but not in the page"
            ));
        }
    }
    nothing_is_wrong(&problems);
}

#[test]
fn every_field_that_is_shown_is_explained_where_its_frame_is() {
    let page = Page::read();
    let tables = ["commands", "messages", "link commands", "link messages"];
    let rows: Vec<_> = tables.iter().flat_map(|table| page.table(table)).collect();
    let mut problems = Vec::new();
    for item in &page.items {
        let Kind::Talk(lines) = &item.kind else {
            continue;
        };
        for line in lines {
            let frames = match serde_json::from_str(&line.text) {
                Ok(Value::Array(frames)) => frames,
                Ok(frame) => vec![frame],
                Err(_) => continue,
            };
            for frame in frames.iter().filter_map(Value::as_object) {
                let Some(kind) = frame.get("type").and_then(Value::as_str) else {
                    continue;
                };
                let mut rows = rows
                    .iter()
                    .filter(|row| row.first_word() == kind)
                    .peekable();
                if rows.peek().is_none() {
                    continue;
                }
                let rows: Vec<_> = rows.collect();
                for field in frame.keys().filter(|field| *field != "type") {
                    if !rows.iter().any(|row| row.names(field)) {
                        let number = line.number;
                        problems.push(format!("line {number}: {kind} doesn't explain {field}"));
                    }
                }
            }
        }
    }
    nothing_is_wrong(&problems);
}
