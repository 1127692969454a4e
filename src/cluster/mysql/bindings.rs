//! The bindings in MySQL, in the tables of `docs/bindings.md`.

use super::connection::MySqlConnection;
use super::statements::MySqlTables;
use crate::base::Fd;
use crate::chat::{
    BindingChange, BindingError, BindingNode, Bindings, ConnectionRecord, GenerationState, User,
};

/// The tables whose rows carry a generation.
const OF_GENERATIONS: [&str; 2] = ["connections", "rooms"];

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
    fn make_tables(&mut self) -> Result<(), BindingError> {
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
                });
            })?;
        let statement = self.tables.members();
        self.connection
            .each(&statement, |(room, uid): (String, String)| {
                visit(BindingChange::Lasting {
                    room: room.into(),
                    user: User::of_uid(&uid),
                    is_member: true,
                });
            })
    }

    fn write(&mut self, node: &BindingNode, changes: &[BindingChange]) -> Result<(), BindingError> {
        self.connection.run("START TRANSACTION")?;
        // The row stays locked until the end: nobody takes the name over in between.
        if self.standing(node, true)? != GenerationState::Own {
            self.connection.run("ROLLBACK")?;
            return Err(BindingError::Displaced);
        }
        for statement in self.tables.write(node, changes) {
            self.connection.run(&statement)?;
        }
        self.connection.run("COMMIT").map(drop)
    }

    fn leave(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        self.connection.run(&self.tables.leave(node))?;
        for table in OF_GENERATIONS {
            self.run_on(&self.tables.clear(table, node))?;
        }
        Ok(())
    }
}
