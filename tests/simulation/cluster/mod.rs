//! Several nodes by a seed, on one thread at a time: the real chat, log and bus of each, around the model of
//! the engine, on a clock that stands still while anybody does anything.

mod baton;
mod bus;
mod faults;
mod hearing;
mod judgement;
mod ledger;
mod node;
mod people;
mod pipe;
mod reading;
mod sayings;
mod start;
mod way;
mod world;

pub use world::{Counts, World};
