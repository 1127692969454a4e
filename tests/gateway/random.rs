//! Everything breaks at any moment, under load, for as many rounds as `TIDINGS_GATEWAY_ROUNDS` says.

use std::time::{Duration, Instant};

use super::machine::Machine;
use super::program::PATIENCE;
use super::proxy::{Proxy, Weather};
use super::sender::Senders;
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

#[test]
fn every_202_is_in_the_upstreams_log_once_and_in_order_whoever_dies_when() {
    let mut dice = Dice(0x5eed_0001);
    let mut upstream = Upstream::start();
    let proxy = Proxy::to(upstream.address);
    let mut machine = Machine::start(&[proxy.address]);
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
                    upstream.kill();
                    upstream.start_again();
                    upstreams += 1;
                }
                3 => upstream.state().busy = dice.roll(5) as u32,
                4 => proxy.cut(),
                5 => proxy.set(Weather::CutAfter(dice.roll(2_000))),
                6 => proxy.set(Weather::Stalled),
                _ => proxy.set(Weather::AnswersLost),
            }
        }
        proxy.set(Weather::Fair);
        // What was taken by now has to be there soon, though the senders go on.
        let (taken, healed) = (senders.taken(), Instant::now());
        until("it flows again", 2 * FLOWS_WITHIN, || {
            upstream.count() as u64 >= taken
        });
        slowest = slowest.max(healed.elapsed());
        assert!(
            healed.elapsed() < FLOWS_WITHIN,
            "round {round}: {:?}",
            healed.elapsed()
        );
    }
    let counts = senders.stop();
    machine.until_settled(PATIENCE);
    let mut total = 0;
    for (sender, count) in &counts {
        let heard = upstream.heard_of(sender);
        assert!(
            heard.iter().copied().eq(1..=*count),
            "{sender}: {count}, but {heard:?}"
        );
        total += count;
    }
    assert_eq!(upstream.count() as u64, total, "and nothing else");
    let said = machine.stop();
    assert!(said.contains(": 0 messages"), "{said}");
    eprintln!(
        "{} rounds, {total} messages, killed: {pushes} push processes, {gateways} gateways, \
         {upstreams} upstreams; flows again within {slowest:?}",
        rounds()
    );
}
