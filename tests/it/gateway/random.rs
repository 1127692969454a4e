//! Everything breaks at any moment, under load, for as many rounds as `TIDINGS_GATEWAY_ROUNDS` says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::machine::Machine;
use super::program::PATIENCE;
use super::proxy::{Proxy, Weather};
use super::sender::Senders;
use super::server::Server;
use super::upstream::Upstream;
use super::{FLOWS_WITHIN, until};

/// Rounds where nothing else is said.
const ROUNDS: u64 = 4;

const SENDERS: usize = 4;

/// The same numbers from the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

fn rounds() -> u64 {
    let rounds = std::env::var("TIDINGS_GATEWAY_ROUNDS").ok();
    rounds.map_or(ROUNDS, |rounds| rounds.parse().unwrap())
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
    let mut dice = Dice(0x5eed_0001);
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
        for _ in 0..1 + dice.roll(3) {
            std::thread::sleep(Duration::from_millis(dice.roll(150)));
            match dice.roll(8) {
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
                3 => far.refuse_some(dice.roll(5) as u32),
                4 => proxy.cut(),
                5 => proxy.set(Weather::CutAfter(dice.roll(2_000))),
                6 => proxy.set(Weather::Stalled),
                _ => proxy.set(Weather::AnswersLost),
            }
        }
        proxy.set(Weather::Fair);
        // What was taken by now has to be there soon, though the senders go on.
        let (taken, healed) = (senders.taken(), Instant::now());
        until("it flows again", 2 * FLOWS_WITHIN, || far.count() >= taken);
        let took = healed.elapsed();
        slowest = slowest.max(took);
        assert!(took < FLOWS_WITHIN, "round {round}: {took:?}");
    }
    let counts = senders.stop();
    machine.until_settled(PATIENCE);
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
