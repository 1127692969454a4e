//! The load generator, for any WebSocket or HTTP server:
//! `tidings bench echo|connect|idle|http|fanout|publish|raw|raw-log`.
//!
//! The way of a run is the list of the files: a [`target::Target`] is checked (strangers are
//! refused), [`open`] makes the connections, [`drive`] keeps them busy over one epoll a thread,
//! [`cpu`] and [`memory`] account for the server's process tree, and a [`report::Report`] prints a
//! table and a line of JSON. [`raw`] is the floor to compare with: a server that makes the
//! system calls of an echo, a fan-out or a durable request and does nothing else; [`raw_log`] is that
//! of a log.
//!
//! A room needs one account of who has heard what: in `fanout` one thread drives a [`room`] of
//! [`member`]s and publishing [`mod@line`]s, a [`course`] knows what is under way, and a [`ledger`]
//! what went astray. A [`shape`] says how one talks to the server.
//!
//! The generator must be far from its own limit, so what it sends is prepared, answers are
//! compared with what must come instead of being parsed, and one clock reading serves a whole
//! batch. Every run is bounded in connections and in time, and stops by itself.

pub mod client;
pub mod connect;
pub mod conversation;
pub mod course;
pub mod cpu;
pub mod crowd;
pub mod drive;
pub mod echo;
pub mod exchange;
pub mod failure;
pub mod fanout;
pub mod flight;
pub mod floor;
pub mod frame;
pub mod guest;
pub mod hall;
pub mod histogram;
pub mod http;
pub mod idle;
pub mod inbox;
pub mod ledger;
pub mod line;
pub mod log;
pub mod marker;
pub mod member;
pub mod memory;
pub mod notary;
pub mod open;
pub mod parrot;
pub mod progress;
pub mod publish;
pub mod raw;
pub mod raw_log;
pub mod repeat;
pub mod report;
pub mod response;
pub mod room;
pub mod shape;
pub mod target;
pub mod template;
pub mod tree;
