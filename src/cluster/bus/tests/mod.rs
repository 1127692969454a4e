//! Nodes with their buses on the model of the engine: everybody hears everything once, in the order of the
//! log, and nothing before it is safe.

mod breaks;
mod held;
mod order;
mod overflow;
mod requests;
mod seeds;
mod world;
