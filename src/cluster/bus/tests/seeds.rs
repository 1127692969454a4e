//! Whatever breaks, by seed: in the end each listener was sent the log, in its order, without a hole and
//! without a repeat, and each change of an epoch was told.

use super::world::{BusNode, ROOMS, Sent, append_and_die, nodes, run};
use crate::base::Position;
use crate::cluster::ClusterPromise;
use crate::cluster::model::{LifeChange, LostCalls, Model};
use crate::cluster::tests::world::{dice, message};

/// Takes a step, which may break something.
fn step(nodes: &mut [BusNode; 3], model: &Model, number: u64, random: u64) {
    let at = (random >> 8) as usize % 3;
    let (owner, room) = (at as u64 + 1, ROOMS[(random >> 16) as usize % 2]);
    let yes = random >> 24 & 1 == 1;
    let (one, two) = (format!("{number}a"), format!("{number}b"));
    match random % 24 {
        0..8 => {
            let records = [message(room, &one, None), message(room, &two, None)];
            nodes[at].node.take(&records);
        }
        8..12 => {
            append_and_die(nodes, 10_000 + number, room, &[&one, &two]);
        }
        12 => model.cut_bus(owner),
        13 | 14 => model.stall_bus(owner, yes),
        15 => model.drop_frames(owner, yes),
        16 => nodes[at].purge(room, 10_000 + number as u32),
        17 if random >> 32 & 1 == 0 => {
            let lost = match random >> 34 & 3 {
                0 => LostCalls::Nothing,
                calls => LostCalls::Tail(calls as usize),
            };
            model.new_life(LifeChange::Restart, lost);
            // Each node learns of this life before the next one begins.
            run(nodes, 15_000);
        }
        _ => run(nodes, random >> 32 & 0xff),
    }
}

/// Checks what a listener was sent of a room: in each epoch a run of the log, begun by a gap.
fn check(seed: u64, node: &BusNode, room: &str) {
    let mut last: Option<Position> = None;
    for sent in node.sent(room) {
        let at = match sent {
            Sent::Gap(position) => position,
            Sent::Message(position, text) => {
                let position = position.expect("all is kept");
                if let Some(last) = last {
                    assert_eq!(
                        (position.epoch, position.offset),
                        (last.epoch, last.offset + 1),
                        "seed {seed}: {text} in {room}"
                    );
                }
                position
            }
        };
        last = Some(at);
    }
    let (epoch, messages) = node.node.model.log(room).expect("the engine has the room");
    let newest = messages.last().map(|(offset, _)| *offset);
    let posted = node.people_posted(room);
    assert_eq!(posted.epoch, epoch, "seed {seed}: {room}");
    if let Some(newest) = newest {
        assert_eq!(posted.offset, newest, "seed {seed}: {room}");
    }
    // What stands in the log is what was heard there.
    let log = node.node.log(room);
    for sent in node.sent(room) {
        let Sent::Message(Some(position), text) = sent else {
            continue;
        };
        if position.epoch == epoch {
            let place = position.offset as usize - 1;
            assert_eq!(
                log.get(place),
                Some(&text),
                "seed {seed}: {room} {position:?}"
            );
        }
    }
}

#[test]
fn everybody_hears_the_log_whatever_breaks() {
    // Many, or one of them: `BUS_SEEDS=1000`, `BUS_SEED=385`.
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let one = number("BUS_SEED");
    let seeds = one.map_or(0..number("BUS_SEEDS").unwrap_or(40), |seed: u64| {
        seed..seed + 1
    });
    for seed in seeds {
        let random = dice(seed);
        let promise = match random() % 3 {
            0 => ClusterPromise::Replicated,
            _ => ClusterPromise::Synced,
        };
        let mut nodes = nodes::<3>(promise);
        let model = nodes[0].node.model.clone();
        for number in 0..80 {
            step(&mut nodes, &model, number, random());
        }
        for owner in 1..=3 {
            model.stall_bus(owner, false);
            model.drop_frames(owner, false);
        }
        run(&mut nodes, 70_000);
        for node in &nodes {
            ROOMS.iter().for_each(|room| check(seed, node, room));
        }
        for room in ROOMS {
            let messages = |node: &BusNode| node.texts(room).len();
            let heard: Vec<usize> = nodes.iter().map(messages).collect();
            assert!(heard.iter().any(|count| *count > 0), "seed {seed}: {room}");
        }
    }
}
