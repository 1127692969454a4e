//! The shape of the tree: which layer may use which, and the rules for a file.
//!
//! These rules are checked on the text of `src` and `benches/load` alone; the reasons stand in `src/architecture.rs`.
//! The lists of what is still allowed may only shrink.

mod circles;
mod journeys;
mod layers;
mod load_generator;
mod names;
mod paths;
mod rooms;
mod source;
