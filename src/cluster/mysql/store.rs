//! The way to a MySQL or MariaDB.

use super::bindings::MySqlBindings;
use super::connection::MySqlConnection;
use super::statements::MySqlTables;
use crate::chat::{BindingError, BindingStore, Bindings};
use crate::cluster::EngineSettings;

/// The way to a MySQL.
pub(in crate::cluster) struct MySqlStore(pub(in crate::cluster) EngineSettings);

impl BindingStore for MySqlStore {
    fn open(&self) -> Result<Box<dyn Bindings>, BindingError> {
        let mut connection = MySqlConnection::open(&self.0)?;
        connection.check()?;
        let tables = MySqlTables(self.0.prefix.clone());
        Ok(Box::new(MySqlBindings::new(connection, tables)))
    }
}
