//! Nodes die, freeze, are wrong about the time, and are replaced one after the other.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::record::Epochs;
use super::rounds::{Rehearsal, Scene};
use super::support::installed::is_there;
use super::support::number_in_env;
use super::world::{LEASE, Setup};

/// A time for which something stands still: mostly short, and up to 30 s where rounds are many.
pub fn freeze(scene: &mut Scene<'_>) -> Duration {
    let most = number_in_env("TIDINGS_CLUSTER_FREEZE_MS_MAX").unwrap_or(3_000);
    Duration::from_millis(1_000 + scene.random.below(most.saturating_sub(1_000).max(1)))
}

#[test]
fn a_node_that_is_killed_loses_nothing_and_is_back_at_once() {
    let rehearsal = Rehearsal {
        name: "kill -9 of a node, and its start",
        setup: Setup::synced(),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        let node = scene.world.some_node(scene.random);
        scene.world.kill(scene.place, node);
        scene.world.start(scene.place, node);
        // Right within a second after its restart under the same name.
        let world = &mut *scene.world;
        let took = world
            .sitters
            .until_true(&world.nodes, Duration::from_secs(3));
        println!("presence right {took:?} after the restart");
    });
}

#[test]
fn a_node_that_is_killed_and_stays_away_is_taken_out() {
    let rehearsal = Rehearsal {
        name: "kill -9 of a node that stays away",
        setup: Setup::synced(),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        let node = scene.world.some_node(scene.random);
        scene.world.kill(scene.place, node);
        let world = &mut *scene.world;
        let took = world
            .sitters
            .until_true(&world.nodes, LEASE + Duration::from_secs(2));
        println!("ghosts gone {took:?} after the kill");
        world.until_service();
        scene.world.start(scene.place, node);
    });
}

#[test]
fn a_node_that_freezes_and_goes_on_does_no_harm() {
    let rehearsal = Rehearsal {
        name: "SIGSTOP of a node",
        setup: Setup::synced(),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        let node = scene.world.some_node(scene.random);
        let time = freeze(scene);
        scene.place.set(node, None);
        scene.world.nodes[node].signal(Signal::STOP);
        thread::sleep(time);
        scene.world.nodes[node].signal(Signal::CONT);
        scene.world.tell(scene.place);
    });
}

#[test]
fn a_clock_that_is_an_hour_off_harms_nobody() {
    if !is_there("faketime") {
        return;
    }
    let rehearsal = Rehearsal {
        name: "the clock of a node an hour off",
        setup: Setup::synced(),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        let node = scene.world.some_node(scene.random);
        let clock = scene.random.pick(&[Some("+1h"), Some("-1h"), None]);
        scene.world.kill(scene.place, node);
        scene.world.nodes[node].clock = clock;
        scene.world.start(scene.place, node);
    });
}

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    let rehearsal = Rehearsal {
        name: "rolling restart",
        setup: Setup::synced(),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        for node in 0..scene.world.nodes.len() {
            scene.place.set(node, None);
            scene.world.sitters.leave(node);
            scene.world.nodes[node].stop();
            scene.world.start(scene.place, node);
            scene.world.until_service();
        }
    });
}
