//! A connection to MySQL or MariaDB: opened in a bounded time, and given up at the first error.

use mysql::prelude::{FromRow, Queryable as _};
use mysql::{Conn, Error, OptsBuilder};

use crate::chat::BindingError;
use crate::cluster::{EnginePlace, EngineSettings};

/// The oldest versions that the tests know.
const MARIADB_MIN: (u32, u32) = (10, 5);
const MYSQL_MIN: (u32, u32) = (8, 0);

/// Errors that somebody has to mend, by the server's numbers: no such user, host, database, right, no
/// way to log what several servers write.
const REFUSALS: [u16; 9] = [1044, 1045, 1049, 1054, 1130, 1142, 1143, 1665, 1698];

/// Rows that another one holds: too long, in a circle, at this moment.
const BUSY: [u16; 3] = [1205, 1213, 3572];

/// A table that isn't there.
const NO_TABLE: u16 = 1146;

/// An open connection.
pub(super) struct MySqlConnection(Conn);

impl MySqlConnection {
    pub(super) fn open(settings: &EngineSettings) -> Result<Self, BindingError> {
        let (address, limit) = (&settings.address, Some(settings.answer_max));
        let options = OptsBuilder::new()
            .user(Some(&address.user))
            .pass((!settings.password.is_empty()).then_some(&settings.password))
            .db_name(Some(&address.database))
            .tcp_connect_timeout(limit)
            .read_timeout(limit)
            .write_timeout(limit)
            .stmt_cache_size(0);
        let options = match &address.place {
            EnginePlace::Tcp(host, port) => options
                .ip_or_hostname(Some(host))
                .tcp_port(*port)
                .prefer_socket(false),
            EnginePlace::Unix(path) => options.socket(Some(path.to_string_lossy())),
            // No address of MySQL is read as that.
            EnginePlace::Sentinel { .. } => options,
        };
        Conn::new(options).map(Self).map_err(of_mysql)
    }

    /// Refuses a server that is too old, or that takes no writes.
    pub(super) fn check(&mut self) -> Result<(), BindingError> {
        let found: Vec<(String, bool)> = self.ask("SELECT VERSION(), @@GLOBAL.read_only")?;
        let (version, is_read_only) = found.into_iter().next().unwrap_or_default();
        let is_mariadb = version.contains("MariaDB");
        // Some put the version of the protocol before their own.
        let own = version.strip_prefix("5.5.5-").unwrap_or(&version);
        let mut numbers = own
            .split(['.', '-'])
            .map(|number| number.parse().unwrap_or(0));
        let numbers = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let (name, min) = match is_mariadb {
            true => ("MariaDB", MARIADB_MIN),
            false => ("MySQL", MYSQL_MIN),
        };
        if numbers < min {
            let (major, minor) = min;
            let what = format!("{name} is {version}, but {major}.{minor} or newer is needed");
            return Err(BindingError::Refused(what));
        } else if is_read_only {
            let what = format!("this {name} is read_only");
            return Err(BindingError::Refused(what));
        }
        Ok(())
    }

    /// Has other servers that write to the same tables wait for this one as little as can be, and this one
    /// for none of them for long.
    #[cfg(feature = "cluster")]
    pub(super) fn share(&mut self) -> Result<(), BindingError> {
        // Rows that a statement only looks at stay free, and so do the gaps between them.
        self.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")?;
        self.run("SET SESSION innodb_lock_wait_timeout = 1")?;
        Ok(())
    }

    /// Whether an error says that rows were locked: the statement has done nothing, and the transaction is to
    /// be rolled back and tried again.
    pub(super) fn is_busy(error: &BindingError) -> bool {
        let BindingError::Away(error) = error else {
            return false;
        };
        let error = error.downcast_ref::<Error>();
        matches!(error, Some(Error::MySqlError(told)) if BUSY.contains(&told.code))
    }

    /// Runs a statement that gives rows.
    pub(super) fn ask<T: FromRow>(&mut self, statement: &str) -> Result<Vec<T>, BindingError> {
        self.0.query(statement).map_err(of_mysql)
    }

    /// Shows the rows of a statement one after the other.
    pub(super) fn each<T: FromRow>(
        &mut self,
        statement: &str,
        mut visit: impl FnMut(T),
    ) -> Result<(), BindingError> {
        let rows = self.0.query_iter(statement).map_err(of_mysql)?;
        for row in rows {
            let row = mysql::from_row_opt(row.map_err(of_mysql)?);
            visit(row.map_err(|error| away(error.into()))?);
        }
        Ok(())
    }

    /// Runs a statement; returns how many rows it changed.
    pub(super) fn run(&mut self, statement: &str) -> Result<u64, BindingError> {
        self.0.query_drop(statement).map_err(of_mysql)?;
        Ok(self.0.affected_rows())
    }

    /// Runs a statement; `false` where its table is missing.
    pub(super) fn finds_table(&mut self, statement: &str) -> Result<bool, BindingError> {
        match self.0.query_drop(statement) {
            Ok(()) => Ok(true),
            Err(Error::MySqlError(error)) if error.code == NO_TABLE => Ok(false),
            Err(error) => Err(of_mysql(error)),
        }
    }
}

/// Tells what has to be mended from what passes.
fn of_mysql(error: Error) -> BindingError {
    match &error {
        Error::MySqlError(told) if REFUSALS.contains(&told.code) => {
            BindingError::Refused(format!("the database refuses: {}", told.message))
        }
        _ => away(error),
    }
}

fn away(error: Error) -> BindingError {
    BindingError::Away(Box::new(error))
}
