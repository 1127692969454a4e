//! The program of a gateway is replaced: its clients stay, its push process is renewed, and each message
//! that was taken comes once, in order.

use std::thread;

use rustix::process::Signal;

use super::{Over, rounds};
use crate::gateway::everything_breaks::Far;
use crate::gateway::machine::{Machine, message};
use crate::gateway::server::Server;
use crate::support::http::HttpClient;
use crate::support::wait::until;

/// Who posts without a pause.
const POSTERS: u64 = 3;

#[test]
fn a_gateway_is_upgraded_again_and_again_and_each_message_comes_once_in_order() {
    let server = Server::start();
    let mut machine = Machine::start(&[server.address]);
    machine.until_link(0, "open");
    let pid = machine.program().pid();
    let address = machine.address();
    let mut idle = HttpClient::connect(address);
    let rounds = rounds(4);
    let posted: Vec<u64> = thread::scope(|scope| {
        let over = Over::not_yet();
        let post = |poster: u64| {
            let is_over = over.seen();
            move || {
                let mut http = HttpClient::connect(address);
                let mut posted = 0;
                while !is_over() {
                    posted += 1;
                    let message = message(&format!("poster-{poster}"), posted);
                    let answer = http.ask_with_json("POST", "/v1/messages", &message);
                    let answer = answer.expect("nobody closes this connection");
                    assert_eq!(answer.status, 202, "{answer:?}");
                }
                posted
            }
        };
        let posters: Vec<_> = (0..POSTERS).map(|one| scope.spawn(post(one))).collect();
        let mut push = machine.push_pid();
        for round in 1..=rounds {
            let (code, out, err) = machine.upgrade(&[]);
            assert_eq!(code, 0, "{err}");
            assert!(out.contains("connections carried"), "{out}");
            assert_eq!(machine.program().pid(), pid);
            until(
                "the push process is of the new image, and has its link",
                || {
                    let stats = machine.stats();
                    stats["upstreams"][0]["opened"] == round + 1
                },
            );
            let next = machine.push_pid();
            assert_ne!(next, push);
            push = next;
            assert_eq!(idle.get("/readyz").status, 200, "it stays open");
        }
        drop(over);
        posters.into_iter().map(|one| one.join().unwrap()).collect()
    });
    machine.until_settled();
    for (poster, posted) in posted.iter().enumerate() {
        let heard = server.heard_of(&format!("poster-{poster}"));
        assert_eq!(heard, (1..=*posted).collect::<Vec<_>>(), "poster {poster}");
    }
    let stats = machine.stats();
    assert_eq!(stats["outbox"]["taken"], posted.iter().sum::<u64>());
    assert_eq!(stats["processes"][0]["restarts"], rounds);
    assert_eq!(stats["upstreams"][0]["jumped"], 0);
    machine.stop();
}

#[test]
fn a_signal_upgrades_a_gateway_and_a_check_leaves_it_as_it_is() {
    let server = Server::start();
    let mut machine = Machine::start(&[server.address]);
    machine.until_link(0, "open");
    let push = machine.push_pid();
    let (code, out, err) = machine.upgrade(&["--check"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("would work"), "{out}");
    assert_eq!((machine.push_pid(), machine.opened()), (push, 1));
    machine.program().signal(Signal::USR2);
    machine.program().stderr.wait_for("upgraded");
    until("the link is opened anew", || machine.opened() == 2);
    assert_eq!(machine.say("ann", 1).status, 202);
    machine.until_settled();
    assert_eq!(server.heard_of("ann"), [1]);
    machine.stop();
}

#[test]
fn a_gateway_whose_next_image_fails_goes_on_with_its_clients_and_what_it_took() {
    let server = Server::start();
    let mut machine = Machine::start(&[server.address]);
    let mut client = HttpClient::connect(machine.address());
    let mut number = 0;
    let mut say = |client: &mut HttpClient| {
        number += 1;
        let message = message("ann", number);
        let answer = client.ask_with_json("POST", "/v1/messages", &message);
        assert_eq!(answer.unwrap().status, 202);
        number
    };
    for (point, reason) in [
        ("exec", "refuses to execute the next image"),
        ("thaw.header", "a test said that the header is broken"),
        (
            "thaw.gateway",
            "a test said that the gateway can't be thawed",
        ),
        ("thaw.panic", "the thaw has panicked"),
        ("", ""),
    ] {
        say(&mut client);
        machine.let_fail(point);
        let (code, out, err) = machine.upgrade(&[]);
        assert_eq!(code, i32::from(!point.is_empty()), "{point}: {out}{err}");
        assert!(err.contains(reason), "{reason}: {err}");
        say(&mut client);
        machine.until_settled();
    }
    let said = say(&mut client);
    machine.until_settled();
    assert_eq!(server.heard_of("ann"), (1..=said).collect::<Vec<_>>());
    assert_eq!(machine.stats()["outbox"]["taken"], said);
    machine.stop();
}
