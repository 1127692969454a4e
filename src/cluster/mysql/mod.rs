//! MySQL, or MariaDB.

mod bindings;
mod connection;
#[cfg(feature = "cluster")]
mod node;
mod statements;
mod store;

#[cfg(feature = "cluster")]
pub(super) use node::MySqlNodeStore;
pub(super) use store::MySqlStore;
