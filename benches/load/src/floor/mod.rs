//! Floors to compare with: servers and logs that do what must be done, and nothing else.

pub(crate) mod durable;
pub(crate) mod durable_log;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod handler;
pub(crate) mod handshake;
pub(crate) mod log_file;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod raw_log;
