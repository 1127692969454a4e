//! MySQL, or MariaDB.

mod bindings;
mod connection;
mod statements;
mod store;

pub(super) use store::MySqlStore;
