//! The way between nodes and Redis is cut, held up, and slowed down: for the bus, for calls, for all.

use std::thread;
use std::time::Duration;

use super::record::Epochs;
use super::rounds::{Rehearsal, Scene};
use super::support::proxy::{Way, Which};
use super::world::{LEASE, Setup};

/// One way at a time fares so for a while.
fn rehearse(name: &'static str, way: Way, which: &[Which], time: Duration) {
    let rehearsal = Rehearsal {
        name,
        setup: Setup::proxied(),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        for which in which {
            let node = scene.world.some_node(scene.random);
            let time = time.mul_f64(0.5 + scene.random.below(1_000_u64) as f64 / 1_000.0);
            hinder(scene, node, *which, way, time);
            scene.world.until_service();
        }
    });
}

fn hinder(scene: &Scene<'_>, node: usize, which: Which, way: Way, time: Duration) {
    let proxy = scene.world.nodes[node].proxy.as_ref().expect("it has one");
    proxy.set(which, way);
    thread::sleep(time);
    proxy.set(which, Way::Open);
}

const EACH: [Which; 3] = [Which::Bus, Which::Calls, Which::All];

#[test]
fn a_way_that_is_cut_loses_nothing() {
    rehearse("cuts", Way::Cut, &EACH, Duration::from_millis(300));
}

#[test]
fn a_node_that_is_cut_off_for_longer_than_a_lease_comes_back() {
    rehearse(
        "cut off beyond the lease",
        Way::Cut,
        &[Which::All],
        LEASE * 2,
    );
}

#[test]
fn a_way_that_is_held_up_loses_nothing() {
    rehearse("stalls", Way::Held, &EACH, Duration::from_millis(1_500));
}

#[test]
fn a_way_that_is_held_up_in_one_direction_loses_nothing() {
    let time = Duration::from_millis(1_500);
    rehearse("stalls to the server", Way::HeldToServer, &EACH, time);
    rehearse("stalls to the node", Way::HeldToClient, &EACH, time);
}

#[test]
fn a_way_that_takes_two_seconds_doubles_nothing() {
    let slow = Way::Slow(Duration::from_secs(2));
    rehearse("delays of 2 s", slow, &EACH, Duration::from_secs(3));
}

#[test]
fn a_call_that_comes_after_its_repeat_does_nothing() {
    let rehearsal = Rehearsal {
        name: "an old connection whose bytes come after their repeat",
        setup: Setup::proxied().with("cluster.call_ms_max=500"),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        let node = scene.world.some_node(scene.random);
        let proxy = scene.world.nodes[node].proxy.as_ref().expect("it has one");
        proxy.set_for_present(Which::Calls, Way::HeldToServer);
        let before = proxy.count();
        super::support::wait::until("it connects anew", || proxy.count() > before);
        scene.world.until_service();
        let proxy = scene.world.nodes[node].proxy.as_ref().expect("it has one");
        proxy.set(Which::All, Way::Open);
    });
}
