//! A real sender against a real receiver, over sockets that break between any two frames.
//!
//! A run ends once all is acknowledged. Then every message that can be taken stands in the server's
//! log once and in order, and every other one among the gateway's dead letters. `TIDINGS_LINK_ROUNDS`
//! says how many runs there are; a run that fails names its seed.

mod gateway;
mod random;
mod server;
mod socket;

use std::collections::BTreeMap;

use crate::base::Tick;
use gateway::{Gateway, Outbox};
use random::Random;
use server::Server;
use socket::Socket;

const PRODUCER: &str = "p";

/// Messages of a run: five windows of eight, so that the sender has to ask for pages.
const MESSAGES: u64 = 40;

/// Steps after which nothing breaks any more, so that the rest gets through.
const FAULTY_STEPS: u64 = 4_000;

/// Steps after which a run hangs; the slowest takes a small part of them.
const STEPS_MAX: u64 = 400_000;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// No posting, which the receiver sees.
    Unreadable,
    /// A posting that the publisher refuses.
    Rejected,
}

fn kind(n: u64) -> Kind {
    match n % 10 {
        // Two in a row, so that one refusal waits for another.
        3 => Kind::Unreadable,
        4 | 9 => Kind::Rejected,
        _ => Kind::Good,
    }
}

fn posting(n: u64) -> String {
    let room = match kind(n) {
        Kind::Unreadable => "7",
        Kind::Good | Kind::Rejected => "\"tea\"",
    };
    format!(r#"{{"to":{{"room":{room}}},"data":{n},"id":"i{n}"}}"#)
}

/// How likely each thing is in one run. Where all runs had the same chances, a fault that takes many
/// rare things in a row would never come; and where every run broke its sockets, none would show that
/// both ends get on without that.
#[derive(Debug)]
struct Odds {
    /// Of each step of [`World::step`] but the fault.
    steps: [u64; 8],
    /// Of a fault, beside the steps; 0 in some runs.
    fault: u64,
    /// One in so many numbers is refused for want of room by the worker, and by the disk.
    busy: (u64, u64),
}

impl Odds {
    fn new(random: &mut Random) -> Self {
        let mut one_to = |most: u64| 1 + random.below(most);
        let steps = [(); 8].map(|()| one_to(8));
        let busy = (4 * one_to(12), 4 * one_to(12));
        let fault = one_to(4) - 1;
        Self { steps, fault, busy }
    }

    /// Odds under which nothing goes wrong by itself.
    fn calm() -> Self {
        Self {
            steps: [3, 3, 3, 2, 1, 1, 1, 1],
            fault: 0,
            busy: (u64::MAX, u64::MAX),
        }
    }

    /// The place of the next step; 8 for a fault.
    fn next(&self, random: &mut Random) -> usize {
        let mut left = random.below(self.steps.iter().sum::<u64>() + self.fault);
        for (place, odds) in self.steps.iter().enumerate() {
            if left < *odds {
                return place;
            }
            left -= odds;
        }
        self.steps.len()
    }
}

/// How often something happened in all runs: a fault that never comes tests nothing.
#[derive(Debug, Default)]
struct Met {
    busy: u64,
    replaced: u64,
    repeated: u64,
    resent: u64,
    forgotten: u64,
}

struct World {
    now: Tick,
    random: Random,
    odds: Odds,
    outbox: Outbox,
    gateways: Vec<Gateway>,
    server: Server,
    /// All sockets that ever were.
    sockets: Vec<Socket>,
    resent: u64,
}

impl World {
    fn new(mut random: Random, odds: Odds, gateways: usize) -> Self {
        let outbox = Outbox {
            first: 1,
            acked: 0,
            dead: BTreeMap::new(),
        };
        let has_rival = gateways > 1;
        let gateways = (0..gateways)
            .map(|_| Gateway::new(Tick(0), &outbox, &mut random, has_rival))
            .collect();
        Self {
            now: Tick(0),
            random,
            odds,
            outbox,
            gateways,
            server: Server::default(),
            sockets: Vec::new(),
            resent: 0,
        }
    }

    /// Does one of the things that may happen next.
    fn step(&mut self, has_faults: bool) {
        let (now, random) = (self.now, &mut self.random);
        let turn = random.below(self.gateways.len() as u64) as usize;
        let busy = has_faults.then_some(self.odds.busy);
        let gateway = &mut self.gateways[turn];
        match self.odds.next(random) {
            0 => gateway.write(now, &mut self.sockets),
            1 => self.read_as_server(busy),
            2 => gateway.read(now, &mut self.sockets),
            3 => self.server.write(&mut self.sockets, random, busy),
            4 => gateway.feed(now, &self.outbox, random),
            5 => gateway.connect(now, &mut self.sockets, &mut self.server),
            // Written down some time after the acknowledgement.
            6 => self.outbox.first = self.outbox.acked + 1,
            7 => self.now = now.after(random.below(400)),
            _ if has_faults => self.fault(turn),
            _ => {}
        }
        for gateway in &mut self.gateways {
            gateway.sender.expire(self.now);
            let (outbox, sockets) = (&mut self.outbox, &mut self.sockets);
            gateway.do_events(outbox, sockets, &self.server, &mut self.random);
        }
    }

    /// Reads from any socket that the server has, be there a gateway at its other end or not.
    fn read_as_server(&mut self, busy: Option<(u64, u64)>) {
        let open: Vec<usize> = (0..self.sockets.len())
            .filter(|&at| self.server.has(at))
            .collect();
        if open.is_empty() {
            return;
        }
        let at = open[self.random.below(open.len() as u64) as usize];
        if self.sockets[at].has_ended_for_server() {
            return self.server.closed(at);
        }
        self.server
            .read(at, &mut self.sockets, &mut self.random, busy);
    }

    fn fault(&mut self, turn: usize) {
        let (random, gateway) = (&mut self.random, &mut self.gateways[turn]);
        match random.below(20) {
            0..4 => {
                if let Some(at) = gateway.socket() {
                    self.sockets[at].break_off(random);
                }
            }
            // The process dies; its socket stays open at the server until that notices.
            4 => {
                gateway.drop_socket(&mut self.sockets, random);
                self.resent += gateway.sender.resent();
                let has_rival = self.gateways.len() > 1;
                self.gateways[turn] = Gateway::new(self.now, &self.outbox, random, has_rival);
            }
            5 => self.server.restart(&mut self.sockets, random),
            // Long enough that each side takes the other for dead.
            6 => self.now = self.now.after(7_000),
            _ => {}
        }
    }

    fn run(mut self, name: &str, steps_faulty: u64, met: &mut Met) {
        let mut steps = 0;
        while self.outbox.acked < MESSAGES {
            self.step(steps < steps_faulty);
            steps += 1;
            assert!(steps < STEPS_MAX, "{name} hangs: {:?}", self.gateways);
        }
        let good = (1..=MESSAGES).filter(|n| kind(*n) == Kind::Good);
        assert!(
            self.server.log.iter().copied().eq(good),
            "{name}: {:?}",
            self.server.log
        );
        for n in 1..=MESSAGES {
            let dead = self.outbox.dead.get(&n).map(String::as_str);
            let expected = match kind(n) {
                Kind::Good => None,
                Kind::Unreadable => Some("bad_request"),
                Kind::Rejected => Some("too_large"),
            };
            let is_forgotten = self.server.forgotten.contains(&n) && dead.is_none();
            assert!(dead == expected || is_forgotten, "{name}: {n} {dead:?}");
            met.forgotten += u64::from(is_forgotten);
        }
        met.busy += self.server.busy;
        met.replaced += self.server.replaced;
        met.repeated += self.server.repeated;
        met.resent += self.resent;
        met.resent += self
            .gateways
            .iter()
            .map(|one| one.sender.resent())
            .sum::<u64>();
    }
}

fn rounds() -> u64 {
    let given = std::env::var("TIDINGS_LINK_ROUNDS").ok();
    given.map_or(300, |text| text.parse().expect("a number of rounds"))
}

#[test]
fn every_message_is_acknowledged_once_and_in_order_whatever_breaks_when() {
    let mut met = Met::default();
    for seed in 0..rounds() {
        // One in four has a second process that sends from the same outbox.
        let gateways = 1 + usize::from(seed % 4 == 3);
        let mut random = Random(seed);
        let odds = Odds::new(&mut random);
        let world = World::new(random, odds, gateways);
        world.run(&format!("seed {seed}"), FAULTY_STEPS, &mut met);
    }
    assert!(
        met.busy > 0 && met.replaced > 0 && met.repeated > 0,
        "{met:?}"
    );
    assert!(met.resent > 0, "{met:?}");
}

#[test]
fn a_cut_after_any_number_of_steps_loses_and_doubles_nothing() {
    // Far beyond the last step of a run without a cut.
    for cut_at in 0..1_500 {
        let mut world = World::new(Random(1), Odds::calm(), 1);
        for _ in 0..cut_at {
            world.step(false);
        }
        if let Some(at) = world.gateways[0].socket() {
            world.sockets[at].break_off(&mut world.random);
        }
        world.run(&format!("cut at {cut_at}"), 0, &mut Met::default());
    }
}

#[test]
fn a_restart_of_either_side_at_any_step_loses_and_doubles_nothing() {
    for restart_at in 0..1_500 {
        for fault in 0..2 {
            let mut world = World::new(Random(2), Odds::calm(), 1);
            for _ in 0..restart_at {
                world.step(false);
            }
            let random = &mut world.random;
            if fault == 0 {
                world.server.restart(&mut world.sockets, random);
            } else {
                world.gateways[0].drop_socket(&mut world.sockets, random);
                world.gateways[0] = Gateway::new(world.now, &world.outbox, random, false);
            }
            let name = format!("restart {fault} at {restart_at}");
            world.run(&name, 0, &mut Met::default());
        }
    }
}
