//! Everything breaks at any moment, under load, for as many rounds as `TIDINGS_GATEWAY_ROUNDS` says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::FLOWS_WITHIN;
use super::machine::Machine;
use super::proxy::{Proxy, Weather};
use super::sender::Senders;
use super::server::Server;
use super::upstream::Upstream;
use crate::support::number_in_env;
use crate::support::random::Random;
use crate::support::wait::until_within;

/// Rounds where nothing else is said.
const ROUNDS: u64 = 4;

const SENDERS: usize = 4;

fn rounds() -> u64 {
    number_in_env("TIDINGS_GATEWAY_ROUNDS").unwrap_or(ROUNDS)
}

/// A server that messages are brought to.
pub trait Far {
    fn kill(&mut self);
    fn start_again(&mut self);
    fn count(&self) -> u64;
    fn heard_of(&self, from: &str) -> Vec<u64>;
    /// Has no room for so many, if it can be told.
    fn refuse_some(&mut self, count: u32);
}

impl Far for Upstream {
    fn kill(&mut self) {
        self.kill();
    }

    fn start_again(&mut self) {
        self.start_again();
    }

    fn count(&self) -> u64 {
        self.count() as u64
    }

    fn heard_of(&self, from: &str) -> Vec<u64> {
        self.heard_of(from)
    }

    fn refuse_some(&mut self, count: u32) {
        self.state().busy = count;
    }
}

#[test]
fn every_202_is_in_the_upstreams_log_once_and_in_order_whoever_dies_when() {
    let upstream = Upstream::start();
    let address = upstream.address;
    break_everything(upstream, address);
}

#[test]
fn every_202_is_in_the_servers_history_once_and_in_order_whoever_dies_when() {
    let server = Server::start_with(&["--set", "store.messages_max=100000000"]);
    let address = server.address;
    break_everything(server, address);
}

fn break_everything(mut far: impl Far, address: SocketAddr) {
    let mut random = Random::new(0x5eed_0001);
    let proxy = Proxy::to(address);
    let mut machine = Machine::start(&[proxy.address]);
    // Whoever finds something in the journal has its newest file twice: to read, and to go on.
    assert_eq!(machine.say("first", 1).status, 202);
    machine.kill();
    machine.start_again();
    machine.until_link(0, "open");
    let before = machine.held();
    let senders = Senders::start(machine.address(), SENDERS);
    let mut slowest = Duration::ZERO;
    let (mut pushes, mut gateways, mut upstreams) = (0, 0, 0);
    for round in 1..=rounds() {
        for _ in 0..1 + random.below(3) {
            std::thread::sleep(Duration::from_millis(random.below(150)));
            match random.below(8) {
                0 => {
                    machine.kill_push();
                    pushes += 1;
                }
                1 => {
                    machine.kill();
                    machine.start_again();
                    senders.go_on_at(machine.address());
                    gateways += 1;
                }
                2 => {
                    far.kill();
                    far.start_again();
                    upstreams += 1;
                }
                3 => far.refuse_some(random.below(5) as u32),
                4 => proxy.cut(),
                5 => proxy.set(Weather::CutAfter(random.below(2_000))),
                6 => proxy.set(Weather::Stalled),
                _ => proxy.set(Weather::AnswersLost),
            }
        }
        proxy.set(Weather::Fair);
        // What was taken by now has to be there soon, though the senders go on.
        let (taken, healed) = (senders.taken(), Instant::now());
        until_within("it flows again", 2 * FLOWS_WITHIN, || far.count() >= taken);
        let took = healed.elapsed();
        slowest = slowest.max(took);
        assert!(took < FLOWS_WITHIN, "round {round}: {took:?}");
    }
    let counts = senders.stop();
    machine.until_settled();
    assert_eq!(far.heard_of("first"), [1]);
    let mut total = 1;
    for (sender, count) in &counts {
        let heard = far.heard_of(sender);
        assert!(
            heard.iter().copied().eq(1..=*count),
            "{sender}: {count}, but {heard:?}"
        );
        total += count;
    }
    assert_eq!(far.count(), total, "and nothing else");
    machine.until_it_holds(&before);
    let said = machine.stop();
    assert!(said.contains(": 0 messages"), "{said}");
    eprintln!(
        "{} rounds, {total} messages, killed: {pushes} push processes, {gateways} gateways, \
         {upstreams} upstreams; flows again within {slowest:?}",
        rounds()
    );
}
