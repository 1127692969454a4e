//! A rehearsal of a fault: a load, the fault, and what has to hold after it, round after round.

use std::thread;
use std::time::Duration;

use super::reader::{self, Heard};
use super::record::{Epochs, Record, channels, judge_answers};
use super::support::chat_client::Position;
use super::support::ledger::{Ledger, Refusals};
use super::support::number_in_env;
use super::support::place::Place;
use super::support::random::Random;
use super::support::sender::{self, Messages, USERS};
use super::support::wait::until;
use super::world::{LEASE, Setup, World};

/// How long presence may be wrong after a fault: a lease, the delay of `left`, and the looks at it.
pub const PRESENCE_MAX: Duration = Duration::from_secs(9);

/// What a fault may use.
pub struct Scene<'a> {
    pub world: &'a mut World,
    pub place: &'a Place,
    pub ledger: &'a Ledger,
    pub random: &'a mut Random,
}

/// A fault to be rehearsed.
pub struct Rehearsal {
    pub name: &'static str,
    pub setup: Setup,
    pub epochs: Epochs,
}

impl Rehearsal {
    /// Runs the rounds.
    pub fn run(self, fault: impl Fn(&mut Scene<'_>)) {
        if !self.setup.is_possible() {
            return;
        }
        let rounds = number_in_env("TIDINGS_CLUSTER_ROUNDS").unwrap_or(1);
        let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = number_in_env("TIDINGS_CLUSTER_SEED").unwrap_or_else(clock);
        println!("{}: seed {seed}, {rounds} rounds", self.name);
        let mut world = World::new(&self.setup);
        let place = Place::new(world.nodes.len(), Duration::from_secs(120 + 60 * rounds));
        world.tell(&place);
        let (ledger, record) = (Ledger::new(Refusals::May), Record::default());
        let senders: Vec<String> = (0..6).map(|number| format!("s{number}")).collect();
        thread::scope(|scope| {
            let (place, ledger, record, epochs) = (&place, &ledger, &record, self.epochs);
            let _watch = place.watch();
            let speakers: Vec<_> = (senders.iter().enumerate())
                .map(|(number, uid)| {
                    let messages = Messages::new(uid.clone(), seed + number as u64);
                    scope.spawn(move || match number {
                        0..2 => sender::by_http(place, ledger, messages, false),
                        2..4 => sender::by_http(place, ledger, messages, true),
                        _ => sender::by_websocket(place, ledger, messages),
                    })
                })
                .collect();
            let readers: Vec<_> = (0..USERS)
                .map(|number| {
                    let (uid, seed) = (format!("u{number}"), seed + 100 + number);
                    scope.spawn(move || reader::read(place, record, epochs, uid, seed))
                })
                .collect();
            let mut random = Random::new(seed);
            let mut times = Times::default();
            for _ in 0..rounds {
                world.sitters.change(&world.nodes, &mut random);
                thread::sleep(Duration::from_micros(random.below(300_000)));
                ledger.await_next();
                fault(&mut Scene {
                    world: &mut world,
                    place,
                    ledger,
                    random: &mut random,
                });
                times.services.push(world.until_service());
                let presence = world.sitters.until_true(&world.nodes, PRESENCE_MAX);
                times.presences.push(presence);
            }
            place.set_over();
            let said: u64 = speakers.into_iter().map(|one| one.join().unwrap()).sum();
            let ends = judge_the_end(&world, ledger, record, epochs, &channels(&senders), said);
            place.set_ends(ends);
            let heard = readers.into_iter().map(|one| one.join().unwrap());
            let heard = heard.fold(Heard::default(), |sum, one| Heard {
                messages: sum.messages + one.messages,
                resumes: sum.resumes + one.resumes,
                told: sum.told + one.told,
            });
            times.say(heard);
        });
        world.sitters.go();
        world.until_nothing_is_left();
        world.until_no_key_of_the_dead(LEASE * 3);
        for node in &mut world.nodes {
            node.stop();
        }
    }
}

/// Reads everything from every node, and judges it; gives where each channel ends.
fn judge_the_end(
    world: &World,
    ledger: &Ledger,
    record: &Record,
    epochs: Epochs,
    channels: &[String],
    said: u64,
) -> std::collections::BTreeMap<String, Position> {
    let mut histories = Vec::new();
    // A node shows what it has heard, which may be a moment behind.
    until("all nodes have the same", || {
        let there = world.nodes.iter().filter(|node| node.program.is_some());
        histories = there.map(|node| node.history(channels)).collect();
        histories.iter().all(|one| *one == histories[0])
    });
    let history = &histories[0];
    let told = ledger.told();
    record.judge(history, epochs);
    let judged = judge_answers(history, &told, epochs);
    println!(
        "{said} messages said, {} answered ok ({} as repeats, {} of epochs that are over), {} given up; \
         tries: {} refused, {} unsettled, {} lost; {} stand there; {} epochs more",
        told.promises.len(),
        judged.repeats,
        judged.of_old_epochs,
        told.given_up.len(),
        told.refusals,
        told.unsettled,
        told.lost,
        judged.messages,
        record.changes(),
    );
    let ends = history
        .iter()
        .filter(|(_, channel)| !channel.epoch.is_empty());
    ends.map(|(name, channel)| {
        let end = Position {
            epoch: channel.epoch.clone(),
            offset: channel.newest,
        };
        (name.clone(), end)
    })
    .collect()
}

/// How long things took.
#[derive(Default)]
struct Times {
    services: Vec<Duration>,
    presences: Vec<Duration>,
}

impl Times {
    fn say(mut self, heard: Heard) {
        self.services.sort();
        self.presences.sort();
        let middle_and_last = |times: &[Duration]| {
            let last = times.len().checked_sub(1)?;
            Some((times[last / 2], times[last]))
        };
        println!(
            "{} heard in {} logins, {} channels told of a gap; all nodes took messages after {:?}, presence \
             was right after {:?} (median, worst)",
            heard.messages,
            heard.resumes,
            heard.told,
            middle_and_last(&self.services),
            middle_and_last(&self.presences),
        );
    }
}
