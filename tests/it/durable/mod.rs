//! What outlives the process.

mod batches;
mod freezes;
mod restarts;
