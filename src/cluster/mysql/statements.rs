//! The statements, as text: names are written as hexadecimal digits, so that nothing in them is read as a
//! part of the statement, whatever the server's mode.

use std::fmt::Write as _;

use crate::chat::{BindingChange, BindingNode, ConnectionRecord, User};

/// The tables, with the prefix `tidings_`.
const SCHEMA: &str = include_str!("schema.sql");

/// The columns of each table that have to be there.
const COLUMNS: [(&str, &str); 4] = [
    ("nodes", "node, generation, version, started, beat, beat_at"),
    ("connections", "fd, node, generation, uid, since, session"),
    ("rooms", "room, uid, node, generation, connections"),
    ("members", "room, uid"),
];

/// Rows that one step of cleaning takes out at the most.
pub(super) const CLEANED_A_STEP_MAX: usize = 1_000;

/// The tables that begin with one prefix.
#[derive(Debug, Clone)]
pub(super) struct MySqlTables(pub(super) String);

/// A text as a literal.
struct Hex<'a>(&'a str);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("x'")?;
        for byte in self.0.bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("'")
    }
}

impl MySqlTables {
    /// Makes the tables that are missing.
    pub(super) fn create(&self) -> impl Iterator<Item = String> + '_ {
        let own = format!("{}_", self.0);
        let statements = SCHEMA.split(';').map(str::trim);
        statements.map(move |one| one.replace("tidings_", &own))
    }

    /// Fails where a table is missing, or is another program's.
    pub(super) fn look(&self) -> impl Iterator<Item = String> + '_ {
        COLUMNS
            .iter()
            .map(|(table, columns)| format!("SELECT {columns} FROM {}_{table} LIMIT 0", self.0))
    }

    pub(super) fn register(&self, node: &BindingNode) -> String {
        let BindingNode {
            name,
            generation,
            started_unix_ms,
        } = node;
        format!(
            "INSERT INTO {}_nodes (node, generation, version, started, beat, beat_at) \
             VALUES ({}, {generation}, '{}', {started_unix_ms}, 1, UTC_TIMESTAMP(3)) \
             ON DUPLICATE KEY UPDATE generation=VALUES(generation), version=VALUES(version), \
             started=VALUES(started), beat=beat+1, beat_at=VALUES(beat_at)",
            self.0,
            Hex(name),
            env!("CARGO_PKG_VERSION"),
        )
    }

    pub(super) fn beat(&self, node: &BindingNode) -> String {
        format!(
            "UPDATE {}_nodes SET beat=beat+1, beat_at=UTC_TIMESTAMP(3) \
             WHERE node={} AND generation={}",
            self.0,
            Hex(&node.name),
            node.generation
        )
    }

    /// Reads the generation that stands under the server's name, and its counter; `holds` keeps both as
    /// they are until the end of the transaction.
    pub(super) fn standing(&self, node: &BindingNode, holds: bool) -> String {
        format!(
            "SELECT generation, beat FROM {}_nodes WHERE node={}{}",
            self.0,
            Hex(&node.name),
            if holds { " FOR UPDATE" } else { "" }
        )
    }

    /// Takes some rows of other generations out of a table.
    pub(super) fn clean(&self, table: &str, node: &BindingNode) -> String {
        format!(
            "DELETE FROM {}_{table} WHERE node={} AND generation<>{} LIMIT {CLEANED_A_STEP_MAX}",
            self.0,
            Hex(&node.name),
            node.generation
        )
    }

    /// Takes some rows of the server's own generation out of a table.
    pub(super) fn clear(&self, table: &str, node: &BindingNode) -> String {
        format!(
            "DELETE FROM {}_{table} WHERE node={} AND generation={} LIMIT {CLEANED_A_STEP_MAX}",
            self.0,
            Hex(&node.name),
            node.generation
        )
    }

    pub(super) fn leave(&self, node: &BindingNode) -> String {
        format!(
            "DELETE FROM {}_nodes WHERE node={} AND generation={}",
            self.0,
            Hex(&node.name),
            node.generation
        )
    }

    /// Holds the row of a run that is over, unless somebody else does.
    #[cfg(feature = "cluster")]
    pub(super) fn claim(&self, node: &BindingNode) -> String {
        format!(
            "SELECT beat FROM {}_nodes WHERE node={} AND generation={} FOR UPDATE NOWAIT",
            self.0,
            Hex(&node.name),
            node.generation
        )
    }

    /// Lists the runs that have rows.
    #[cfg(feature = "cluster")]
    pub(super) fn runs(&self) -> String {
        let of = |table| {
            let prefix = &self.0;
            format!("SELECT node, generation FROM {prefix}_{table} GROUP BY node, generation")
        };
        format!(
            "{} UNION {} UNION {}",
            of("nodes"),
            of("connections"),
            of("rooms")
        )
    }

    pub(super) fn connections(&self, node: &BindingNode) -> String {
        format!(
            "SELECT fd, uid, since, session FROM {}_connections WHERE node={} AND generation={}",
            self.0,
            Hex(&node.name),
            node.generation
        )
    }

    pub(super) fn rooms(&self, node: &BindingNode) -> String {
        format!(
            "SELECT room, uid, connections FROM {}_rooms WHERE node={} AND generation={}",
            self.0,
            Hex(&node.name),
            node.generation
        )
    }

    pub(super) fn members(&self) -> String {
        format!("SELECT room, uid FROM {}_members", self.0)
    }

    /// Writes what is so, in one statement for each kind of change.
    pub(super) fn write<'a>(
        &self,
        node: &BindingNode,
        changes: impl IntoIterator<Item = &'a BindingChange>,
    ) -> Vec<String> {
        let mut batch = WrittenRows::default();
        for change in changes {
            batch.add(node, change);
        }
        let prefix = &self.0;
        let rows = |list: &[String], before: &str, behind: &str| {
            let is_any = !list.is_empty();
            is_any.then(|| format!("{before} {}{behind}", list.join(",")))
        };
        // By the key: a walk through the table would wait for rows that other servers write.
        let either = |list: &[String], table: &str| {
            let is_any = !list.is_empty();
            is_any.then(|| {
                let list = list.join(" OR ");
                format!("DELETE t FROM {prefix}_{table} AS t FORCE INDEX (PRIMARY) WHERE {list}")
            })
        };
        [
            // First: a connection may have gone from one user to another.
            either(&batch.closed, "connections"),
            either(&batch.left, "rooms"),
            either(&batch.ended, "members"),
            rows(
                &batch.connected,
                &format!(
                    "INSERT INTO {prefix}_connections (fd, node, generation, uid, since, session) VALUES"
                ),
                " ON DUPLICATE KEY UPDATE node=VALUES(node), generation=VALUES(generation), \
                 uid=VALUES(uid), since=VALUES(since), session=VALUES(session)",
            ),
            rows(
                &batch.entered,
                &format!(
                    "INSERT INTO {prefix}_rooms (room, uid, node, generation, connections) VALUES"
                ),
                " ON DUPLICATE KEY UPDATE generation=VALUES(generation), \
                 connections=VALUES(connections)",
            ),
            rows(
                &batch.begun,
                &format!("INSERT IGNORE INTO {prefix}_members (room, uid) VALUES"),
                "",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Conditions and rows of the statements of one write.
#[derive(Debug, Default)]
struct WrittenRows {
    closed: Vec<String>,
    left: Vec<String>,
    ended: Vec<String>,
    connected: Vec<String>,
    entered: Vec<String>,
    begun: Vec<String>,
}

impl WrittenRows {
    fn add(&mut self, node: &BindingNode, change: &BindingChange) {
        let (name, generation) = (Hex(&node.name), node.generation);
        match change {
            BindingChange::Connected { fd, user, record } => {
                let ConnectionRecord {
                    since_unix_ms,
                    session,
                } = record;
                let mut row = format!("({},{name},{generation}", fd.0);
                let session = session.as_deref().map(Hex);
                let session = session.map_or("NULL".to_owned(), |text| format!("_utf8mb4 {text}"));
                let uid = uid(user);
                write!(row, ",{uid},{since_unix_ms},{session})").expect("a String takes it all");
                self.connected.push(row);
            }
            BindingChange::Closed { fd, user } => {
                self.closed
                    .push(format!("(fd={} AND uid={})", fd.0, uid(user)));
            }
            BindingChange::Present {
                room,
                user,
                connections: 0,
                ..
            } => self.left.push(format!(
                "(room={} AND uid={} AND node={name})",
                Hex(room),
                uid(user)
            )),
            BindingChange::Present {
                room,
                user,
                connections,
                ..
            } => self.entered.push(format!(
                "({},{},{name},{generation},{connections})",
                Hex(room),
                uid(user)
            )),
            BindingChange::Lasting {
                room,
                user,
                is_member: true,
            } => self.begun.push(format!("({},{})", Hex(room), uid(user))),
            BindingChange::Lasting { room, user, .. } => {
                (self.ended).push(format!("(room={} AND uid={})", Hex(room), uid(user)));
            }
            // Routes of a cluster stand in its Redis.
            BindingChange::Heard { .. } => {}
        }
    }
}

fn uid(user: &User) -> Hex<'_> {
    Hex(user.uid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Fd;

    #[test]
    fn a_name_never_becomes_a_part_of_a_statement() {
        let user = User::of_uid("a'; DROP TABLE x; --");
        let closed = BindingChange::Closed { fd: Fd(7), user };
        let node = BindingNode {
            name: "n\\'".into(),
            generation: 3,
            started_unix_ms: 0,
        };
        let tables = MySqlTables("t".into());
        assert_eq!(
            tables.write(&node, &[closed]),
            ["DELETE t FROM t_connections AS t FORCE INDEX (PRIMARY) \
                 WHERE (fd=7 AND uid=x'61273b2044524f50205441424c4520783b202d2d')"]
        );
        assert!(
            tables
                .beat(&node)
                .ends_with("node=x'6e5c27' AND generation=3")
        );
    }

    #[test]
    fn the_tables_have_the_prefix_of_the_settings() {
        let tables = MySqlTables("shop".into());
        let created: Vec<String> = tables.create().collect();
        assert_eq!(created.len(), COLUMNS.len());
        for (table, statement) in COLUMNS.iter().zip(&created) {
            assert!(statement.contains(&format!("IF NOT EXISTS shop_{} (", table.0)));
        }
    }
}
