//! Tests of what a store promises, for both of them, and of what a broken disk does to the journal.

mod aside;
mod basics;
mod broken;
mod common;
mod damage;
mod dice;
mod disk;
mod golden;
mod hostile;
mod meanwhile;
mod model;
mod offline;
mod pauses;
mod property;
mod rest;
mod restart;
mod resume;
mod trouble;
