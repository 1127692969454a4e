//! Tests of what a store promises, for both of them, and of what a broken disk does to the journal.

mod basics;
mod common;
mod restart;
