//! Debian's MariaDB.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use mysql::prelude::Queryable as _;
use tempfile::TempDir;

use super::engine::{Engine, NODE, PASSWORD};
use super::support::wait::until;
use super::table::{Standing, Table};

/// Small files and little memory: a test has few rows.
const SIZES: [&str; 3] = [
    "--innodb-log-file-size=4M",
    "--innodb-data-file-path=ibdata1:5M:autoextend",
    "--innodb-buffer-pool-size=16M",
];

/// The database and the user of the tests.
const INIT: &str = "CREATE DATABASE IF NOT EXISTS chat;
CREATE USER IF NOT EXISTS 'tidings'@'localhost' IDENTIFIED BY 'a password that nobody shows';
GRANT ALL ON chat.* TO 'tidings'@'localhost';
";

/// A MariaDB that syncs each transaction.
pub struct MariaDb {
    child: Option<Child>,
    folder: TempDir,
}

/// The folder of an installed MariaDB that nobody has used, made once.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb");
        if folder.exists() {
            return folder;
        }
        let new = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let made = Command::new("mariadb-install-db")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", new.path().display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--user=root"])
            .args(SIZES)
            .stdout(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        // Another run may have been quicker; then that one's stays.
        let new = new.keep();
        if fs::rename(&new, &folder).is_err() {
            fs::remove_dir_all(&new).unwrap();
        }
        folder
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => _ = fs::copy(entry.path(), to).unwrap(),
        }
    }
}

impl MariaDb {
    pub fn new() -> Self {
        let mut new = Self {
            child: None,
            folder: tempfile::tempdir().unwrap(),
        };
        copy(installed(), &new.folder.path().join("data"));
        fs::write(new.path("password"), PASSWORD).unwrap();
        fs::write(new.path("init.sql"), INIT).unwrap();
        new.start();
        new
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn connection(&self) -> mysql::Conn {
        self.try_connection().unwrap()
    }

    fn try_connection(&self) -> mysql::Result<mysql::Conn> {
        let options = mysql::OptsBuilder::new()
            .socket(Some(self.path("mariadb.sock")))
            .user(Some("tidings"))
            .pass(Some(PASSWORD))
            .db_name(Some("chat"));
        mysql::Conn::new(options)
    }

    /// The runs that stand there, each with the name of its server, and their counters.
    pub fn runs(&self) -> BTreeMap<(String, u64), u64> {
        let rows = self.rows("SELECT node, generation, beat FROM tidings_nodes");
        let rows: Vec<(String, u64, u64)> = rows;
        let runs = rows.into_iter();
        runs.map(|(node, generation, beat)| ((node, generation), beat))
            .collect()
    }

    fn rows<T: mysql::prelude::FromRow>(&self, statement: &str) -> Vec<T> {
        match self.connection().query(statement) {
            Ok(rows) => rows,
            // Nobody has made the tables yet.
            Err(mysql::Error::MySqlError(error)) if error.code == 1146 => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Engine for MariaDb {
    fn child(&mut self) -> &mut Option<Child> {
        &mut self.child
    }

    fn start(&mut self) {
        let log = fs::File::create(self.path("log")).unwrap();
        let child = Command::new("mariadbd")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["--no-defaults", "--user=root", "--skip-networking"])
            .arg(format!("--datadir={}", self.path("data")))
            .arg(format!("--socket={}", self.path("mariadb.sock")))
            .arg(format!("--pid-file={}", self.path("pid")))
            .arg(format!("--init-file={}", self.path("init.sql")))
            .args(SIZES)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        until("MariaDB answers", || self.try_connection().is_ok());
    }

    fn settings(&self) -> Vec<String> {
        let socket = self.path("mariadb.sock");
        vec![
            "bindings.store=mysql".into(),
            format!("bindings.mysql=mysql+unix://tidings@{socket}/chat"),
            format!("bindings.mysql_password_file={}", self.path("password")),
        ]
    }

    fn table(&mut self) -> Table {
        let mut table = Table {
            members: self
                .rows("SELECT room, uid FROM tidings_members")
                .into_iter()
                .collect(),
            ..Table::default()
        };
        let of_node = "JOIN tidings_nodes USING (node, generation)";
        let standing = format!("SELECT generation, beat FROM tidings_nodes WHERE node='{NODE}'");
        let standing: Vec<(u64, u64)> = self.rows(&standing);
        table.standing = standing.first().map(|(generation, beat)| Standing {
            generation: *generation,
            beat: *beat,
        });
        let connections: Vec<(u64, String, Option<String>, u64)> = self.rows(&format!(
            "SELECT fd, uid, session, since FROM tidings_connections {of_node}"
        ));
        for (fd, uid, session, since) in connections {
            assert!(since > 0, "{fd} of {uid}");
            (table.connections).insert(fd, (uid, session.unwrap_or_default()));
        }
        let rooms: Vec<(String, String, usize)> = self.rows(&format!(
            "SELECT room, uid, CAST(SUM(connections) AS UNSIGNED) FROM tidings_rooms {of_node} \
             GROUP BY room, uid"
        ));
        let rooms = rooms.into_iter();
        table.rooms = rooms
            .map(|(room, uid, count)| ((room, uid), count))
            .collect();
        table
    }

    fn leftovers(&mut self) -> usize {
        let of = |table: &str| {
            let rows: Vec<usize> = self.rows(&format!(
                "SELECT COUNT(*) FROM {table} r LEFT JOIN tidings_nodes n USING (node, generation) \
                 WHERE n.beat IS NULL"
            ));
            rows.iter().sum::<usize>()
        };
        of("tidings_connections") + of("tidings_rooms")
    }

    fn empty(&mut self) {
        let tables = ["nodes", "connections", "rooms", "members"];
        let mut connection = self.connection();
        for table in tables {
            (connection.query_drop(format!("DELETE FROM tidings_{table}"))).unwrap();
        }
    }

    fn age(&mut self) {
        let aged = "UPDATE tidings_nodes SET beat_at = beat_at - INTERVAL 6 SECOND";
        self.connection().query_drop(aged).unwrap();
    }

    fn arguments(&self) -> Vec<String> {
        vec!["mysql".into(), self.path("mariadb.sock"), PASSWORD.into()]
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
