//! A server with a file of settings that tests change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{said, tidings};
use crate::support::program::Program;

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// Writes a file that its owner alone may read.
pub fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server with a file of settings that the test changes.
pub struct Served {
    pub folder: TempDir,
    pub server: Program,
}

impl Served {
    pub fn with(text: &str) -> Self {
        Self::started(text, |_| {})
    }

    pub fn started(text: &str, more: impl FnOnce(&mut std::process::Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_secret(&folder.path().join("t.toml"), text);
        let serve = ["serve", "--listen", "127.0.0.1:0", "--config", "t.toml"];
        let mut command = tidings(folder.path(), &serve);
        more(&mut command);
        let server = Program::start(&mut command);
        Self { folder, server }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, text: &str) {
        write_secret(&self.path().join("t.toml"), text);
    }

    pub fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        said(&mut tidings(
            self.path(),
            &[arguments, &["--config", "t.toml"]].concat(),
        ))
    }

    /// Has a file put into force, and gives what the command printed.
    #[track_caller]
    pub fn reload(&self, text: &str) -> String {
        self.write(text);
        let (code, out, err) = self.command(&["reload"]);
        assert_eq!((code, &*err), (0, ""), "{out}");
        out
    }

    /// Has a file refused, and gives the reason.
    #[track_caller]
    pub fn refused(&self, text: &str) -> String {
        self.write(text);
        let (code, out, err) = self.command(&["reload"]);
        assert_eq!((code, &*out), (1, ""), "{err}");
        err
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        let (code, out, err) = self.command(&["status", "--json"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// The status of a request with this field in its head.
    pub fn get(&self, path: &str, field: &str) -> u16 {
        let answer = self.server.http().ask_with("GET", path, field, "");
        answer.unwrap().status
    }

    pub fn bearer(&self, credentials: &str) -> u16 {
        self.get(
            "/v1/stats",
            &format!("Authorization: Bearer {credentials}\r\n"),
        )
    }

    pub fn token(&self, more: &[&str]) -> String {
        let token = ["token", "--uid", "ann", "--rooms", "tea"];
        let (code, out, err) = self.command(&[&token, more].concat());
        assert_eq!(code, 0, "{err}");
        out.trim().to_owned()
    }

    /// Whether a token lets a user in.
    pub fn lets_in(&self, token: &str) -> bool {
        let mut client = self.server.websocket("/ws");
        client.hear_text();
        client.say(json!({"type": "login", "seq": 1, "token": token}).to_string());
        let heard = client.hear_text_or_close();
        heard.is_ok_and(|text| text.contains("\"ok\""))
    }
}

/// A file with keys, and more settings at its top.
pub fn with_keys(top: &str, more: &str) -> String {
    format!(
        "{top}\n[store]\ndata = \"d\"\n[api_keys.shop]\nkey = \"{SECRET}-shop\"\n\
         [tokens.keys.k1]\nsecret = \"{SECRET}\"\n{more}"
    )
}
