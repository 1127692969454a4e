//! Several nodes as one, with real engines and real faults: nothing acknowledged is lost, nothing stands
//! twice, everybody hears one order without a hole, and who is there is known to all.
//!
//! `TIDINGS_CLUSTER_ROUNDS=20` rehearses each fault that often, `TIDINGS_CLUSTER_SEED` as it was once (as far
//! as the threads allow).
//!
//! A binary of its own, since it needs these engines: `tests/tools/install` installs them. Where one is
//! missing, CI fails; elsewhere its tests say so and do nothing.

mod alone;
mod anywhere;
mod back_ends;
mod commands;
mod drains;
mod engine_faults;
mod failover;
mod links;
mod node;
mod node_faults;
mod page;
mod quiet_rooms;
mod reader;
mod record;
mod remains;
mod rounds;
mod shares;
mod silence;
mod sitters;
#[path = "../support/mod.rs"]
mod support;
mod two_nodes;
mod upgrades;
mod way_faults;
mod world;
