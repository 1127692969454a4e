//! Turns of a reactor, one by one.

mod bench;
mod crowds;
mod shares;
