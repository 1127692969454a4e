//! The engine of a cluster: the scripts in a real Redis, beside the model of them that simulations use.
//!
//! A binary of its own, since it needs that engine: `tests/tools/install` installs it. Where it is missing, CI
//! fails; elsewhere the tests say so and do nothing. `TIDINGS_ENGINE=10000` tries so many random histories.

mod access;
mod bare;
mod chance;
mod early;
mod history;
mod keys;
mod membership;
mod node;
mod presence;
mod same;
mod shares;
#[path = "../support/mod.rs"]
mod support;
mod trouble;
mod world;
