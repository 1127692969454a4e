//! What outlives the process.

mod restarts;
