//! The processes of a server whose program is replaced: they live on until they are renewed, their death is
//! noticed, and none inherits what isn't its own.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::gateway::everything_breaks::Far;
use crate::gateway::machine::{Machine, message, upgrade_of};
use crate::gateway::procfs::{children_of, open_in};
use crate::gateway::server::Server;
use crate::support::http::HttpClient;
use crate::support::wait::until;

/// What is open in a process beside its standard streams and what any process may have open.
fn owned_by(pid: Pid) -> BTreeSet<String> {
    let all = open_in(pid).filter(|target| {
        let is_own = ["socket:", "/memfd:"]
            .iter()
            .any(|kind| target.starts_with(kind));
        let is_file = target.starts_with('/') && !target.starts_with("/dev/");
        is_own || is_file
    });
    all.collect()
}

/// Nothing that the gateway has is open in its push process, above all no client's socket.
#[track_caller]
fn inherits_nothing(machine: &mut Machine, when: &str) {
    let push = machine.push_pid();
    let (gateway, push) = (owned_by(machine.program().pid()), owned_by(push));
    assert!(gateway.len() > CLIENTS, "{gateway:?}");
    let both: Vec<_> = gateway.intersection(&push).collect();
    assert!(both.is_empty(), "{when}: {both:?}");
}

/// Clients that are connected all the time.
const CLIENTS: usize = 20;

/// Whether a process has died, and waits for its parent to look.
fn is_dead(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    stat.map_or(true, |stat| {
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        fields.trim_start().starts_with('Z')
    })
}

/// Whether a process was executed by an image of the program before it.
fn is_next_image(pid: Pid) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_pid())).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|one| one.starts_with(b"TIDINGS_UPGRADE="))
}

/// Kills the push process while the next image has all, and can still go back; then this point fails, or
/// none. Nothing is started before the commit.
fn push_dies_while_all_stands_still(machine: &mut Machine, then: &str) -> (i32, String) {
    let (gateway, push) = (machine.program().pid(), machine.push_pid());
    machine.let_fail("thaw.wait");
    let folder = machine.folder.path();
    thread::scope(|scope| {
        let upgrade = scope.spawn(|| upgrade_of(folder, &[]));
        until("the next image thaws", || is_next_image(gateway));
        kill_process(push, Signal::KILL).unwrap();
        until("it is dead", || is_dead(push));
        assert_eq!(children_of(gateway), [push], "nobody takes its place yet");
        machine.let_fail(then);
        let (code, _, err) = upgrade.join().unwrap();
        (code, err)
    })
}

#[test]
fn a_push_process_that_is_killed_while_all_stands_still_is_missed_and_inherits_no_socket() {
    let server = Server::start();
    for (then, code) in [("", 0), ("thaw.gateway", 1)] {
        let mut machine = Machine::start(&[server.address]);
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|_| HttpClient::connect(machine.address()))
            .collect();
        let mut hello = |machine: &Machine, from: &str| {
            for (client, number) in clients.iter_mut().zip(1..) {
                let message = message(from, number);
                let answer = client.ask_with_json("POST", "/v1/messages", &message);
                assert_eq!(answer.unwrap().status, 202);
            }
            machine.until_settled();
        };
        let name = |part: &str| format!("{part}{then}");
        hello(&machine, &name("before"));
        inherits_nothing(&mut machine, "at the start");
        let push = machine.push_pid();
        let (had, err) = push_dies_while_all_stands_still(&mut machine, then);
        assert_eq!(had, code, "{then}: {err}");
        until("another push process runs", || machine.push_pid() != push);
        inherits_nothing(&mut machine, &name("killed while all stood still "));
        hello(&machine, &name("after"));
        machine.kill_push();
        until("another push process runs", || {
            machine.stats()["processes"][0]["restarts"].as_u64() >= Some(2)
        });
        inherits_nothing(&mut machine, &name("killed later "));
        hello(&machine, &name("later"));
        for part in ["before", "after", "later"] {
            let heard = server.heard_of(&name(part)).len();
            assert_eq!(heard, CLIENTS, "{part} {then}");
        }
        machine.stop();
    }
}

#[test]
fn a_push_process_that_is_started_after_an_execution_that_failed_inherits_no_socket() {
    let server = Server::start();
    let mut machine = Machine::start(&[server.address]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| HttpClient::connect(machine.address()))
        .collect();
    until("all are connected", || {
        owned_by(machine.program().pid()).len() > CLIENTS
    });
    let push = machine.push_pid();
    machine.let_fail("exec");
    let (code, _, err) = machine.upgrade(&[]);
    assert_eq!(code, 1, "{err}");
    assert_eq!(machine.push_pid(), push, "it goes on");
    machine.kill_push();
    until("another push process runs", || machine.push_pid() != push);
    inherits_nothing(&mut machine, "after an execution that failed");
    drop(clients);
    machine.stop();
}
