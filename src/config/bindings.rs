//! The settings of the bindings, and the engine that they are written to, made from them.

use std::time::Duration;

use super::Loader;
use super::section::section;
use super::types::BindingPlace;
use tidings::cluster::{EngineSettings, StoreAddress, StoreEngine};

section! {
    /// Who is connected, as whom and in which rooms, in tables that your own programs can read: in
    /// docs/bindings.md. One server has a prefix for itself, and needs a name: `node`.
    BindingSection {
        /// "memory" keeps them in the process; "redis" and "mysql" write them there, too. Those of a node
        /// of a cluster are in the cluster's Redis in any case, and with "mysql" there besides.
        store: BindingPlace = BindingPlace::Memory, by upgrade;
        /// Redis 7.0 or newer, or Valkey: redis://[USER@]HOST[:PORT][/NUMBER], or redis+unix://PATH.
        redis: String = "redis://127.0.0.1:6379".into(), within 0..=4_096, by upgrade;
        /// A file with its password; one line break at its end doesn't count. Empty: no password.
        redis_password_file: String = String::new(), within 0..=4_096, by upgrade;
        /// MySQL 8.0 or MariaDB 10.5, or newer: mysql://USER@HOST[:PORT]/DATABASE, or
        /// mysql+unix://USER@PATH/DATABASE. Tables that are missing are made.
        mysql: String = "mysql://tidings@127.0.0.1:3306/tidings".into(), within 0..=4_096, by upgrade;
        /// A file with the user's password; one line break at its end doesn't count. Empty: none.
        mysql_password_file: String = String::new(), within 0..=4_096, by upgrade;
        /// Beginning of the names of all keys and tables: letters, digits and _.
        prefix: String = "tidings".into(), within 1..=32, by upgrade;
        /// Rows that wait to be written at most; with one more, all are compared with those in the store
        /// once it is there again. Nobody who chats waits for it.
        changes_max: usize = 100_000, within 1..=100_000_000, by upgrade;
        /// Longest wait for an answer of the store, in milliseconds; then it is connected to anew.
        answer_ms_max: u64 = 2_000, within 10..=60_000, by upgrade;
        /// Session data of one connection, in bytes; more is refused with 413.
        session_size_max: usize = 4_096, within 2..=16_384, by reload;
        /// Session data of all connections, in bytes; more is refused with 503.
        sessions_size_max: usize = 67_108_864, within 2..=1 << 40, by reload;
    }
}

impl Loader {
    /// Complains about a prefix that can't begin the name of a key or a table.
    pub(super) fn check_prefix(&mut self, key: &str, prefix: &str) {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !prefix.bytes().all(is_word) {
            self.problem(key, format!("{key} has to be of letters, digits and _"));
        }
    }

    /// Reads the address of an engine.
    pub(super) fn engine_address(
        &mut self,
        key: &str,
        engine: StoreEngine,
        text: &str,
    ) -> Option<StoreAddress> {
        let address = engine.address(text);
        let complain = |flaw| {
            // Not the address: there may be a password in it.
            let example = engine.example();
            format!("{key} is no address of a store: {flaw}; it has to be like {example}")
        };
        let complaint = |what: String| self.problem(key, what);
        address.map_err(complain).map_err(complaint).ok()
    }

    /// Reads the password of an engine; no file is no password.
    pub(super) fn engine_password(&mut self, table: &str, key: &str, file: &str) -> Option<String> {
        if file.is_empty() {
            return Some(String::new());
        }
        let password = self.read_key_file(table, file, key)?;
        Some(password.reveal().to_owned())
    }

    /// Prepares the engine of the bindings, with its password.
    pub(super) fn binding_engine(&mut self) -> Option<EngineSettings> {
        let bindings = self.settings.bindings.clone();
        let (engine, key, text, file) = match bindings.store {
            BindingPlace::Memory => return None,
            BindingPlace::Redis => (
                StoreEngine::Redis,
                "redis",
                bindings.redis,
                bindings.redis_password_file,
            ),
            BindingPlace::MySql => (
                StoreEngine::MySql,
                "mysql",
                bindings.mysql,
                bindings.mysql_password_file,
            ),
        };
        if self.settings.general.node.is_empty() && !self.settings.is_node() {
            let what = "node has to be named where bindings.store isn't \"memory\": by its name a \
                        server knows its own rows after a restart";
            self.problem("bindings.store", what);
        }
        self.check_prefix("bindings.prefix", &bindings.prefix);
        let address = self.engine_address(&format!("bindings.{key}"), engine, &text)?;
        let password = self.engine_password("bindings", &format!("{key}_password"), &file)?;
        Some(EngineSettings {
            engine,
            address,
            password,
            prefix: bindings.prefix,
            answer_max: Duration::from_millis(bindings.answer_ms_max),
        })
    }
}
