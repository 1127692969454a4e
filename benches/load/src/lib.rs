//! The load generator, for any WebSocket or HTTP server:
//! `tidings bench echo|connect|idle|http|fanout|publish|raw|raw-log`.
//!
//! A program takes [`Bench`] as its subcommand `bench`, and gives [`Bench::run`] a log of its own
//! to compare with the floor of one. The name matters: to measure a floor beside a server, the
//! generator starts its own program again as `bench raw`.
//!
//! The way of a run is the list of the folders. In `client` a target is checked (strangers are
//! refused), connections are opened, and each knows how to client; `load` keeps them busy over one
//! epoll a thread, a mode a file; `measure` accounts for the server's process tree, and prints a
//! table and a line of JSON. `floor` is what to compare with: a server that makes the system calls
//! of an echo, a fan-out or a durable request and does nothing else, and a log that does no more
//! than a log must. All of them stand on `wire`: frames, HTTP answers, an epoll.
//!
//! The generator must be far from its own limit, so what it sends is prepared, answers are
//! compared with what must come instead of being parsed, and one clock reading serves a whole
//! batch. Every run is bounded in connections and in time, and stops by itself.

mod client;
mod command;
mod flags;
mod floor;
mod load;
mod measure;
mod wire;

pub use command::Bench;
pub use floor::durable_log::{DurableLog, LogTotals, OpenLog};
