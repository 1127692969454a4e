//! Who is where, as it stands in Redis and in MariaDB: the real server beside real engines, which each
//! test starts for itself on a Unix socket.
//!
//! A binary of its own, since it needs these engines: `tests/tools/install` installs them. Where one is
//! missing, CI fails; elsewhere its tests say so and do nothing. `TIDINGS_BINDINGS=100000` takes so many
//! logins and closes, and `TIDINGS_BINDINGS_ROUNDS=20` kills server, store and both that often.

mod beside;
mod crowd;
mod engine;
mod faults;
mod generations;
mod kills;
mod mariadb;
mod nodes;
mod readers;
mod redis_server;
mod session;
mod standing;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod truth;
