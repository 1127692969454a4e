//! The ledger itself, with one node that has its messages in a folder.

use super::record::Epochs;
use super::rounds::Rehearsal;
use super::world::Setup;

#[test]
fn the_ledger_holds_for_one_node_that_is_killed() {
    let rehearsal = Rehearsal {
        name: "one node without a cluster, killed",
        setup: Setup::alone(),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        scene.world.kill(scene.place, 0);
        scene.world.start(scene.place, 0);
    });
}
