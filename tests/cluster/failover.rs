//! A replica takes the place of a primary that died, froze, or was cut off: nothing acknowledged is lost.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::record::Epochs;
use super::rounds::{Rehearsal, Scene};
use super::world::Setup;

fn rehearse(name: &'static str, epochs: Epochs, fault: impl Fn(&mut Scene<'_>)) {
    let setup = Setup::replicated();
    Rehearsal {
        name,
        setup,
        epochs,
    }
    .run(fault);
}

/// Has who was the primary follow the new one.
fn rejoin(scene: &mut Scene<'_>, old: usize) {
    let group = scene.world.group();
    group.follow(old, 1 - old);
}

#[test]
fn a_primary_that_is_killed_is_replaced_and_nothing_is_lost() {
    rehearse("failover", Epochs::MayChange, |scene| {
        let group = scene.world.group();
        let old = group.primary();
        group.servers[old].kill();
        group.until_replaced(old);
        group.servers[old].start();
        rejoin(scene, old);
    });
}

#[test]
fn a_replica_that_was_behind_loses_nothing_that_was_acknowledged() {
    rehearse(
        "failover to a replica that was stopped",
        Epochs::MayChange,
        |scene| {
            let group = scene.world.group();
            let old = group.primary();
            group.servers[1 - old].signal(Signal::STOP);
            thread::sleep(Duration::from_millis(300));
            group.servers[old].kill();
            group.go_on(1 - old);
            group.until_replaced(old);
            group.servers[old].start();
            rejoin(scene, old);
        },
    );
}

#[test]
fn a_primary_that_wakes_up_beside_its_successor_takes_nothing() {
    rehearse("a frozen primary", Epochs::MayChange, |scene| {
        let group = scene.world.group();
        let old = group.primary();
        group.servers[old].signal(Signal::STOP);
        group.until_replaced(old);
        group.go_on(old);
        thread::sleep(Duration::from_millis(300));
        rejoin(scene, old);
    });
}
