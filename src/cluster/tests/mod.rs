//! A node's dealings with the engine, held against the model of it: whatever is lost on the way, each call
//! takes effect once, and what was answered stands.

mod full;
mod lives;
mod once;
mod promises;
mod replicas;
mod seeds;
mod unsettled;
pub(super) mod world;
