//! MySQL, or MariaDB.

mod bindings;
mod connection;
mod statements;

pub(super) use connection::MySqlStore;
