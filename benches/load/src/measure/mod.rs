//! What a run finds, and how it is reported.

pub(crate) mod cpu;
pub(crate) mod failure;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod process_tree;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod row;
