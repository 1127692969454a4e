//! What outlives the process.

mod batches;
mod restarts;
