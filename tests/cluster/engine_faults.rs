//! Redis dies, freezes, forgets, is full, is slow, and stops to sync.

use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::node_faults::freeze;
use super::record::Epochs;
use super::rounds::{Rehearsal, Scene};
use super::support::installed::is_there;
use super::support::wait::until;
use super::world::{SYNCED, Setup};

fn rehearse(name: &'static str, epochs: Epochs, fault: impl Fn(&mut Scene<'_>)) {
    let setup = Setup::synced();
    Rehearsal {
        name,
        setup,
        epochs,
    }
    .run(fault);
}

#[test]
fn a_redis_that_is_killed_has_lost_nothing_once_it_is_back() {
    rehearse("kill -9 of Redis", Epochs::Stay, |scene| {
        scene.world.redis().kill();
        thread::sleep(Duration::from_micros(scene.random.below(500_000)));
        scene.world.redis().start();
    });
}

#[test]
fn a_redis_and_a_node_that_are_killed_at_once_have_lost_nothing() {
    rehearse("kill -9 of Redis and a node", Epochs::Stay, |scene| {
        let node = scene.world.some_node(scene.random);
        scene.place.set(node, None);
        scene.world.nodes[node].signal(Signal::KILL);
        scene.world.redis().kill();
        scene.world.nodes[node].kill();
        scene.world.redis().start();
        scene.world.start(scene.place, node);
    });
}

#[test]
fn a_redis_that_freezes_and_goes_on_has_lost_nothing() {
    rehearse("SIGSTOP of Redis", Epochs::Stay, |scene| {
        let time = freeze(scene);
        scene.world.redis().signal(Signal::STOP);
        thread::sleep(time);
        scene.world.redis().signal(Signal::CONT);
    });
}

#[test]
fn a_redis_that_forgets_everything_begins_new_epochs_which_all_are_told() {
    rehearse("FLUSHALL", Epochs::MayBeLost, |scene| {
        let mut redis = scene.world.redis().connection();
        redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
    });
}

#[test]
fn a_redis_with_an_older_file_begins_new_epochs_which_all_are_told() {
    rehearse("an older AOF", Epochs::MayBeLost, |scene| {
        let redis = scene.world.redis();
        let (now, old) = (redis.path("appendonlydir"), redis.path("older"));
        let copy = |from: &str, to: &str| {
            let _ = std::fs::remove_dir_all(to);
            let copied = Command::new("cp").args(["-a", from, to]).status().unwrap();
            assert!(copied.success());
        };
        copy(&now, &old);
        scene.ledger.await_next();
        thread::sleep(Duration::from_millis(200));
        let redis = scene.world.redis();
        redis.kill();
        copy(&old, &now);
        scene.world.redis().start();
    });
}

#[test]
fn a_redis_that_stops_to_sync_each_write_is_noticed() {
    rehearse(
        "appendfsync everysec under way",
        Epochs::MayBeLost,
        |scene| {
            scene.world.redis().set("appendfsync", "everysec");
            thread::sleep(Duration::from_millis(300));
            scene.world.redis().kill();
            scene.world.redis().start();
        },
    );
}

#[test]
fn a_full_redis_takes_nothing_and_nobody_is_taken_for_dead() {
    rehearse("OOM", Epochs::Stay, |scene| {
        scene.world.redis().set("maxmemory", "1000");
        let world = &mut *scene.world;
        let node = &world.nodes[0];
        until("a message is refused", || !node.takes("probe-full"));
        // Who comes and goes is written all the same.
        world.sitters.change(&world.nodes, scene.random);
        world
            .sitters
            .until_true(&world.nodes, super::rounds::PRESENCE_MAX);
        scene.world.redis().set("maxmemory", "0");
    });
}

#[test]
fn a_redis_whose_syncs_are_slow_shows_nothing_early() {
    if !is_there("strace") {
        return;
    }
    let mut setup = Setup::synced();
    setup.redis = Some(SYNCED.to_vec());
    let rehearsal = Rehearsal {
        name: "each sync takes 50 ms",
        setup,
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        let redis = scene.world.redis();
        redis.kill();
        let mut slow = Command::new("strace");
        let delay = "inject=fdatasync:delay_enter=50000";
        slow.args([
            "-f",
            "-qq",
            "-e",
            "trace=fdatasync",
            "-e",
            delay,
            "-o",
            "/dev/null",
        ]);
        slow.arg("redis-server");
        redis.start_by(slow);
        thread::sleep(Duration::from_secs(1));
        // Right in a sync, and so with something that nobody may have seen.
        scene.ledger.await_next();
        scene.world.redis().kill_all();
        scene.world.redis().start();
    });
}
