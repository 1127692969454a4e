//! The settings of the bindings, and the engine that they are written to, made from them.

use std::time::Duration;

use super::section::section;
use super::types::BindingPlace;
use super::{Loader, Settings};
use tidings::cluster::{EngineSettings, StoreEngine};

section! {
    /// Who is connected, as whom and in which rooms, in tables that your own programs can read: in
    /// docs/bindings.md. One server has a prefix for itself, and needs a name: `node`.
    BindingSection {
        /// "memory" keeps them in the process; "redis" and "mysql" write them there, too.
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

impl Settings {
    /// Milliseconds between two writes at least: a database gets statements of many rows, and Redis what
    /// a page of people does at once.
    #[must_use]
    pub fn bindings_gather_ms(&self) -> u64 {
        match self.bindings.store {
            BindingPlace::MySql => 100,
            BindingPlace::Memory | BindingPlace::Redis => 50,
        }
    }
}

impl Loader {
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
        if self.settings.general.node.is_empty() {
            let what = "node has to be named where bindings.store isn't \"memory\": by its name a \
                        server knows its own rows after a restart";
            self.problem("bindings.store", what);
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !bindings.prefix.bytes().all(is_word) {
            let what = "bindings.prefix has to be of letters, digits and _";
            self.problem("bindings.prefix", what);
        }
        let key = format!("bindings.{key}");
        let address = match engine.address(&text) {
            Ok(address) => address,
            Err(flaw) => {
                // Not the address: there may be a password in it.
                let what = format!(
                    "{key} is no address of a store: {flaw}; it has to be like {}",
                    engine.example()
                );
                self.problem(&key, what);
                return None;
            }
        };
        let password = match file.is_empty() {
            true => String::new(),
            false => {
                let table = "bindings";
                let name = key.rsplit('.').next().unwrap_or_default();
                let password = self.read_key_file(table, &file, &format!("{name}_password"))?;
                password.reveal().to_owned()
            }
        };
        Some(EngineSettings {
            engine,
            address,
            password,
            prefix: bindings.prefix,
            answer_max: Duration::from_millis(bindings.answer_ms_max),
        })
    }
}
