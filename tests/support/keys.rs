//! A file of settings with keys, as `tidings init` writes it.

use std::process::Command;

use tempfile::TempDir;

pub struct Keys {
    folder: TempDir,
    /// For `Authorization: Bearer`.
    pub api_key: String,
}

impl Keys {
    pub fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidings.toml");
        tidings(&["init", "--file", file.to_str().unwrap()]);
        let text = std::fs::read_to_string(file).unwrap();
        let api_key = text
            .lines()
            .find_map(|line| line.strip_prefix("key = \"")?.split('"').next())
            .unwrap()
            .to_owned();
        Self { folder, api_key }
    }

    pub fn file(&self) -> String {
        let file = self.folder.path().join("tidings.toml");
        file.to_str().unwrap().to_owned()
    }

    pub fn token(&self, uid: &str, rooms: &str, ttl: &str) -> String {
        let file = self.file();
        let token = tidings(&[
            "token", "--config", &file, "--uid", uid, "--rooms", rooms, "--ttl", ttl,
        ]);
        token.trim().to_owned()
    }

    /// The line of a head that shows the API key.
    pub fn field(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.api_key)
    }
}

fn tidings(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
