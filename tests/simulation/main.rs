//! The chat against a plain model of it, on a clock that a seed moves.
//!
//! `SEED=n` plays one world again, `SEEDS=n` that many of them.
//!
//! A binary of its own: whoever plays thousands of worlds runs nothing else.
#![cfg(feature = "chat")]

mod actions;
mod asking;
#[cfg(feature = "cluster")]
mod cluster;
mod coming;
mod crowd;
mod disk;
mod forgetting;
mod handover;
mod invariants;
mod log;
mod model;
#[allow(dead_code, reason = "others use more of it")]
#[path = "../support/random.rs"]
mod random;
mod reactors;
mod repeats;
mod saying;
mod stored;
mod world;

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use world::World;

/// Actions in one world.
const STEPS: usize = 250;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} has to be a number: {text}")),
    )
}

fn live(seed: u64) -> Vec<(&'static str, u64)> {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.end()
}

#[test]
fn the_chat_does_what_its_model_does() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(250),
    };
    let worlds = seeds.end - seeds.start;
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds {
        let Ok(counted) = catch_unwind(|| live(seed)) else {
            panic!("it went wrong in a world that can be played again: SEED={seed}");
        };
        for (name, count) in counted {
            *sums.entry(name).or_default() += count;
        }
    }
    println!("{worlds} worlds of {STEPS} actions: {sums:?}");
    // Worlds in which something never happens would prove nothing about it.
    let never = |name: &&str| sums[name] < worlds / 10;
    let happens = [
        "messages",
        "duplicates",
        "deliveries",
        "recovered",
        "unrecovered",
        "joined",
        "left",
        "replaced",
        "dedup_forgotten",
        "refused_full",
        "gaps",
        "places",
    ];
    let missing: Vec<_> = happens.iter().filter(|name| never(name)).collect();
    assert!(
        worlds < 100 || missing.is_empty(),
        "{missing:?} of {sums:?}"
    );
}

#[test]
fn who_comes_back_to_a_stored_channel_hears_everything_once_whatever_was_lost() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(500),
    };
    let worlds = seeds.end - seeds.start;
    let mut sums = stored::Counts::new();
    for seed in seeds {
        let lived = catch_unwind(|| {
            let mut world = stored::World::new(seed);
            for _ in 0..2 * STEPS {
                world.step();
            }
            world.end()
        });
        let Ok(counted) = lived else {
            panic!("it went wrong in a world that can be played again: SEED={seed}");
        };
        for (name, count) in counted {
            *sums.entry(name).or_default() += count;
        }
    }
    println!("{worlds} worlds: {sums:?}");
    let happens = [
        "pages",
        "crashes",
        "recovered",
        "unrecovered",
        "purges",
        "repeats",
        "forgotten",
        "places",
    ];
    let never = |name: &&str| sums.get(*name).is_none_or(|count| *count < worlds / 10);
    let missing: Vec<_> = happens.iter().filter(|name| never(name)).collect();
    assert!(
        worlds < 100 || missing.is_empty(),
        "{missing:?} of {sums:?}"
    );
}

#[cfg(feature = "cluster")]
#[test]
fn several_nodes_are_one_whatever_goes_wrong() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(250),
    };
    let worlds = seeds.end - seeds.start;
    let mut sums = cluster::Counts::new();
    for seed in seeds {
        let lived = catch_unwind(|| {
            let mut world = cluster::World::new(seed);
            for _ in 0..3 * STEPS {
                world.step();
            }
            world.end()
        });
        let Ok(counted) = lived else {
            panic!("it went wrong in a world that can be played again: SEED={seed}");
        };
        for (name, count) in counted {
            *sums.entry(name).or_default() += count;
        }
    }
    println!("{worlds} worlds: {sums:?}");
    let happens = [
        "ok",
        "repeats",
        "refused",
        "recovered",
        "unrecovered",
        "gaps",
        "killed",
        "frozen",
        "lives",
        "purges",
        "shown",
    ];
    let never = |name: &&str| sums.get(*name).is_none_or(|count| *count < worlds / 10);
    let missing: Vec<_> = happens.iter().filter(|name| never(name)).collect();
    assert!(
        worlds < 100 || missing.is_empty(),
        "{missing:?} of {sums:?}"
    );
}

#[test]
fn threads_on_one_chat_agree_on_every_order() {
    let rounds = number("ROUNDS").unwrap_or(20);
    let mut places = 0;
    for seed in 0..rounds {
        places += crowd::hammer(seed, 400);
    }
    println!("{rounds} rounds, {places} places in channels");
    assert!(places as u64 > rounds * 100, "{places} are too few");
}
