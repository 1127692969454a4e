//! The bindings in MySQL, in the tables of `docs/bindings.md`.

#[cfg(feature = "cluster")]
use std::time::Instant;

use super::connection::MySqlConnection;
#[cfg(feature = "cluster")]
use super::statements::CLEANED_A_STEP_MAX;
use super::statements::MySqlTables;
use crate::base::Fd;
use crate::chat::{
    BindingChange, BindingError, BindingNode, Bindings, ConnectionRecord, GenerationState, User,
};

/// The tables whose rows carry a generation.
const OF_GENERATIONS: [&str; 2] = ["connections", "rooms"];

/// Times that a write is tried again whose rows are locked by another server.
const BUSY_MAX: usize = 5;

/// The bindings in MySQL, through one connection.
pub(super) struct MySqlBindings {
    connection: MySqlConnection,
    tables: MySqlTables,
}

impl MySqlBindings {
    pub(super) fn new(connection: MySqlConnection, tables: MySqlTables) -> Self {
        Self { connection, tables }
    }

    /// Makes the tables, where they aren't there yet.
    pub(super) fn make_tables(&mut self) -> Result<(), BindingError> {
        let mut are_there = true;
        for look in self.tables.look() {
            are_there &= self.connection.finds_table(&look)?;
        }
        if !are_there {
            for create in self.tables.create() {
                self.connection.run(&create)?;
            }
        }
        Ok(())
    }

    /// Writes what is so about rows of the server's own.
    pub(super) fn write_rows(
        &mut self,
        node: &BindingNode,
        changes: &[&BindingChange],
    ) -> Result<(), BindingError> {
        let statements = self.tables.write(node, changes.iter().copied());
        match statements.is_empty() {
            true => Ok(()),
            false => self.transact(Some(node), &statements),
        }
    }

    /// Writes what is so about lasting memberships, whichever server stands.
    #[cfg(feature = "cluster")]
    pub(super) fn write_members(&mut self, changes: &[BindingChange]) -> Result<(), BindingError> {
        let nobody = BindingNode {
            name: String::new(),
            generation: 0,
            started_unix_ms: 0,
        };
        let statements = self.tables.write(&nobody, changes);
        self.transact(None, &statements)
    }

    /// Runs statements, all or none; of a server, only if its generation stands. What other servers hold is
    /// waited for.
    fn transact(
        &mut self,
        node: Option<&BindingNode>,
        statements: &[String],
    ) -> Result<(), BindingError> {
        for _ in 0..BUSY_MAX {
            match self.transact_once(node, statements) {
                Err(error) if MySqlConnection::is_busy(&error) => self.roll_back()?,
                done => return done,
            }
        }
        self.transact_once(node, statements)
    }

    fn transact_once(
        &mut self,
        node: Option<&BindingNode>,
        statements: &[String],
    ) -> Result<(), BindingError> {
        self.connection.run("START TRANSACTION")?;
        // The row stays locked until the end: nobody takes the name over in between.
        if let Some(node) = node
            && self.standing(node, true)? != GenerationState::Own
        {
            self.roll_back()?;
            return Err(BindingError::Displaced);
        }
        for statement in statements {
            self.connection.run(statement)?;
        }
        self.connection.run("COMMIT").map(drop)
    }

    pub(super) fn roll_back(&mut self) -> Result<(), BindingError> {
        self.connection.run("ROLLBACK").map(drop)
    }

    /// Lists the runs that have rows, each by the name of its server and its generation.
    #[cfg(feature = "cluster")]
    pub(super) fn runs(&mut self) -> Result<Vec<(String, u64)>, BindingError> {
        let statement = self.tables.runs();
        self.connection.ask(&statement)
    }

    /// Takes out rows of a run that is over, until there are none or it is `until`; whether none is left.
    #[cfg(feature = "cluster")]
    pub(super) fn clean_run(
        &mut self,
        (name, generation): &(String, u64),
        until: Instant,
    ) -> Result<bool, BindingError> {
        let run = BindingNode {
            name: name.clone(),
            generation: *generation,
            started_unix_ms: 0,
        };
        // The row of the run goes first: no other row counts without it, and a server that was frozen finds
        // that it is over before it writes more.
        self.connection.run("START TRANSACTION")?;
        let claim = self.tables.claim(&run);
        let _: Vec<u64> = self.connection.ask(&claim)?;
        self.connection.run(&self.tables.leave(&run))?;
        self.connection.run("COMMIT")?;
        for table in OF_GENERATIONS {
            let clear = self.tables.clear(table, &run);
            while self.connection.run(&clear)? == CLEANED_A_STEP_MAX as u64 {
                if Instant::now() >= until {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Shows the rows of the server's generation.
    pub(super) fn own_rows(
        &mut self,
        node: &BindingNode,
        visit: &mut dyn FnMut(BindingChange),
    ) -> Result<(), BindingError> {
        type Connection = (u64, String, u64, Option<String>);
        let statement = self.tables.connections(node);
        self.connection.each(&statement, |row: Connection| {
            let (fd, uid, since_unix_ms, session) = row;
            visit(BindingChange::Connected {
                fd: Fd(fd),
                user: User::of_uid(&uid),
                record: ConnectionRecord {
                    since_unix_ms,
                    session: session.map(Into::into),
                },
            });
        })?;
        let statement = self.tables.rooms(node);
        self.connection
            .each(&statement, |row: (String, String, usize)| {
                let (room, uid, connections) = row;
                visit(BindingChange::Present {
                    room: room.into(),
                    user: User::of_uid(&uid),
                    connections,
                    is_leaving: false,
                });
            })
    }

    /// Shows all lasting memberships, by rooms and uids.
    pub(super) fn members(
        &mut self,
        visit: &mut dyn FnMut(String, String),
    ) -> Result<(), BindingError> {
        let statement = self.tables.members();
        (self.connection).each(&statement, |(room, uid)| visit(room, uid))
    }

    /// Runs a statement until there is nothing left to do for it.
    fn run_on(&mut self, statement: &str) -> Result<(), BindingError> {
        while self.connection.run(statement)? > 0 {}
        Ok(())
    }

    fn standing(
        &mut self,
        node: &BindingNode,
        holds: bool,
    ) -> Result<GenerationState, BindingError> {
        let statement = self.tables.standing(node, holds);
        let found: Vec<(u64, u64)> = self.connection.ask(&statement)?;
        Ok(match found.first() {
            None => GenerationState::None,
            Some((generation, _)) if *generation == node.generation => GenerationState::Own,
            Some((generation, beat)) => GenerationState::Other {
                generation: *generation,
                beat: *beat,
            },
        })
    }
}

impl Bindings for MySqlBindings {
    fn register(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        self.make_tables()?;
        self.connection.run(&self.tables.register(node))?;
        for table in OF_GENERATIONS {
            self.run_on(&self.tables.clean(table, node))?;
        }
        Ok(())
    }

    fn beat(&mut self, node: &BindingNode) -> Result<GenerationState, BindingError> {
        match self.connection.run(&self.tables.beat(node))? {
            0 => self.standing(node, false),
            _ => Ok(GenerationState::Own),
        }
    }

    fn rows(
        &mut self,
        node: &BindingNode,
        visit: &mut dyn FnMut(BindingChange),
    ) -> Result<(), BindingError> {
        self.own_rows(node, visit)?;
        self.members(&mut |room, uid| {
            visit(BindingChange::Lasting {
                room: room.into(),
                user: User::of_uid(&uid),
                is_member: true,
            });
        })
    }

    fn write(&mut self, node: &BindingNode, changes: &[BindingChange]) -> Result<(), BindingError> {
        let changes: Vec<&BindingChange> = changes.iter().collect();
        self.write_rows(node, &changes)
    }

    fn leave(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        self.connection.run(&self.tables.leave(node))?;
        for table in OF_GENERATIONS {
            self.run_on(&self.tables.clear(table, node))?;
        }
        Ok(())
    }
}
