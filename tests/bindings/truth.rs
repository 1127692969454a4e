//! What a server says of itself, to be compared with what stands in its store.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::engine::Engine;
use super::support::PATIENCE;
use super::support::api::ask_json;
use super::support::http::HttpClient;
use super::support::program::Program;
use super::support::stopwatch::Stopwatch;
use super::table::Table;

type Members = BTreeSet<(String, String)>;

/// What the server says of its connections by `/v1`, and these lasting memberships.
pub fn of_server(server: &Program, members: &Members) -> Table {
    let mut http = server.http();
    let mut table = Table {
        members: members.clone(),
        ..Table::default()
    };
    let mut after = 0;
    loop {
        let path = format!("/v1/connections?limit=1000&after={after}");
        let page = ask(&mut http, &path);
        for fd in page["connections"].as_array().unwrap() {
            after = fd.as_u64().unwrap();
            add(&mut http, &mut table, after);
        }
        if page["more"] == false {
            return table;
        }
    }
}

fn add(http: &mut HttpClient, table: &mut Table, fd: u64) {
    let (status, known) = http.json("GET", &format!("/v1/connections/{fd}"), &Value::Null);
    let (200, Some(uid)) = (status, known["uid"].as_str()) else {
        return;
    };
    let session = ask(http, &format!("/v1/connections/{fd}/session"));
    let session = match &session["session"] {
        Value::Null => String::new(),
        session => session.to_string(),
    };
    table.connections.insert(fd, (uid.to_owned(), session));
    for room in known["rooms"].as_array().unwrap() {
        let place = (room.as_str().unwrap().to_owned(), uid.to_owned());
        *table.rooms.entry(place).or_default() += 1;
    }
}

fn ask(http: &mut HttpClient, path: &str) -> Value {
    let (status, answer) = http.json("GET", path, &Value::Null);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// A number of the bindings in `/v1/stats`; yes is 1.
#[track_caller]
pub fn number(server: &Program, name: &str) -> u64 {
    let (_, stats) = ask_json(server, "GET", "/v1/stats");
    let number = &stats["bindings"][name];
    let number = number.as_u64().or(number.as_bool().map(u64::from));
    number.unwrap_or_else(|| panic!("{name}: {stats}"))
}

/// Waits until what stands in the store is what the server says; gives how long that took.
#[track_caller]
pub fn until_true(engine: &mut dyn Engine, server: &Program, members: &Members) -> Duration {
    let servers = [server];
    let since = Stopwatch::start([]);
    true_within(PATIENCE, &since, &servers, members, &mut || {
        let mut stands = engine.table();
        stands.standing.take().map(|_| stands)
    })
}

/// Waits until what stands in a store is what these servers say, who rest; it has to be so within `bound`
/// from `since`. Gives how long that took. `read` gives what stands there, if anything counts.
#[track_caller]
pub fn true_within(
    bound: Duration,
    since: &Stopwatch,
    servers: &[&Program],
    members: &Members,
    read: &mut dyn FnMut() -> Option<Table>,
) -> Duration {
    loop {
        let stands = read();
        let took = since.elapsed();
        let mut truth = Table {
            members: members.clone(),
            ..Table::default()
        };
        for server in servers {
            let own = of_server(server, &BTreeSet::new());
            truth.connections.extend(own.connections);
            for (place, connections) in own.rooms {
                *truth.rooms.entry(place).or_default() += connections;
            }
        }
        if stands.as_ref() == Some(&truth) {
            return took;
        }
        assert!(
            took < bound,
            "not within {bound:?}; so it stands: {stands:#?}\nso it is: {truth:#?}"
        );
    }
}
