//! Server, store and both are killed in the middle of logins and closes: within a second after both are back,
//! what stands there is true.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Pid;
use serde_json::Value;

use super::crowd::{Crowd, try_login};
use super::engine::{Engine, serve, with_each};
use super::support::number_in_env;
use super::support::program::Program;
use super::support::random::Random;
use super::support::stopwatch::Stopwatch;
use super::support::wait::until;
use super::support::websocket::WebSocketClient;
use super::truth::true_within;

/// The promise of `docs/bindings.md`.
const TRUE_WITHIN: Duration = Duration::from_secs(1);

/// Logins after which somebody is killed, at the most.
const LOGINS_MAX: usize = 200;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Server,
    Store,
    Both,
}

/// Waits until the server says that it is ready.
fn until_ready(server: &Program) {
    until("the server is ready", || {
        let (status, _) = server.http().json("GET", "/readyz", &Value::Null);
        status == 200
    });
}

/// Kills somebody in the middle of a crowd, and has all be back.
fn kill_in_the_middle(
    engine: &mut dyn Engine,
    server: Program,
    victim: Victim,
    random: &mut Random,
) -> (Program, Vec<WebSocketClient>) {
    let (crowd, mut server) = (Crowd::default(), Some(server));
    let address = server.as_ref().map(|server| server.address).unwrap();
    let (logins, seed) = (random.below(LOGINS_MAX), random.below(1_000_u64));
    let store_first = random.one_in(2);
    let clients = crowd.during(&[address], seed, || {
        until("they hurry", || crowd.logins() > logins);
        let mut kill_server = || {
            if victim != Victim::Store {
                server.take().expect("it runs").kill();
            }
        };
        match store_first {
            true if victim != Victim::Server => {
                engine.kill();
                kill_server();
            }
            _ => {
                kill_server();
                if victim != Victim::Server {
                    engine.kill();
                }
            }
        }
        if victim == Victim::Store {
            // They go on while it is away.
            let before = crowd.logins();
            until("they go on", || crowd.logins() > before + 20);
        }
        if victim != Victim::Server && store_first {
            engine.start();
        }
        if server.is_none() {
            server = Some(serve(engine, &[]));
        }
        if victim != Victim::Server && !store_first {
            engine.start();
        }
        crowd.rest();
    });
    (server.expect("it runs again"), clients)
}

#[test]
fn a_second_after_server_and_store_are_back_what_stands_there_is_true() {
    let rounds = number_in_env("TIDINGS_BINDINGS_ROUNDS").unwrap_or(1);
    let seed = number_in_env("TIDINGS_BINDINGS_SEED").unwrap_or(1);
    with_each(|engine| {
        let mut server = serve(engine, &[]);
        for victim in [Victim::Server, Victim::Store, Victim::Both] {
            let (mut times, mut walls) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                let mut random = Random::new(seed + round);
                let (back_again, mut clients) =
                    kill_in_the_middle(engine, server, victim, &mut random);
                server = back_again;
                until_ready(&server);
                let store = engine.child().as_ref().map(Pid::from_child);
                let back = Stopwatch::start([server.pid()].into_iter().chain(store));
                for number in 0..random.below(30_u64) {
                    let uid = format!("u{}", number % 20);
                    clients.extend(try_login(server.address, &uid, "back"));
                }
                let servers = [&server];
                let nobody = BTreeSet::new();
                times.push(true_within(
                    TRUE_WITHIN,
                    &back,
                    &servers,
                    &nobody,
                    &mut || {
                        let mut stands = engine.table();
                        stands.standing.take().map(|_| stands)
                    },
                ));
                walls.push(back.wall());
                until("nothing is left of those before", || {
                    engine.leftovers() == 0
                });
                drop(clients);
            }
            let longest = (times.iter().max(), walls.iter().max());
            let (Some(time), Some(wall)) = longest else {
                panic!("there is no round");
            };
            eprintln!(
                "kill -9 of {victim:?}, {rounds} times: true within {time:?}, by the clock on the wall \
                 within {wall:?}: {walls:?}"
            );
        }
        server.stop();
    });
}
