//! Listeners through an upgrade: Unix sockets and their files, and addresses that the settings change.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Upgradable;
use crate::support::program::Program;
use crate::support::unix::{http_at, websocket_at};
use crate::support::wait::until;

#[test]
fn a_unix_socket_its_file_and_its_connections_are_carried_and_go_at_the_stop() {
    let server = Upgradable::serve(&["--listen", "unix:t.sock"]);
    let path = server.folder.path().join("t.sock");
    let inode = || fs::metadata(&path).unwrap().ino();
    let (mut ann, made) = (websocket_at(&path, "/ws?uid=ann"), inode());
    ann.hear_text();
    server.let_fail("thaw.chat");
    server.is_refused(&[], "a test said that the chat can't be thawed");
    server.let_fail("");
    assert_eq!(
        (inode(), http_at(&path).get("/healthz").status),
        (made, 200)
    );
    for _ in 0..2 {
        let out = server.is_upgraded(&[]);
        assert!(out.contains("1 connections carried"), "{out}");
        assert_eq!(
            (inode(), http_at(&path).get("/healthz").status),
            (made, 200)
        );
    }
    ann.say(r#"{"type":"join","seq":1,"room":"tea"}"#);
    until("ann is in the room", || {
        ann.hear_text().contains("\"seq\":1")
    });
    drop(ann);
    let Upgradable { program, folder } = server;
    program.stop();
    assert!(!path.exists(), "the last image removes it");
    drop(folder);
}

#[test]
fn an_upgrade_listens_on_what_the_settings_say_by_then() {
    let config =
        |listen: &str| format!("listen = [\"127.0.0.1:0\", {listen}]\nfreeze_ms_max = 20000\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    fs::write(&file, config("\"unix:old.sock\"")).unwrap();
    let serve = ["serve", "--config", "t.toml"];
    let program = Program::start(&mut crate::service::tidings(folder.path(), &serve));
    let (old, new) = (
        folder.path().join("old.sock"),
        folder.path().join("new.sock"),
    );
    assert!(old.exists());
    fs::write(&file, config("\"unix:new.sock\", \"localhost:0\"")).unwrap();
    let (code, _, err) = super::upgrade_in(folder.path(), &["--config", "t.toml"]);
    assert_eq!(code, 0, "{err}");
    // The answer comes with the commit, which the file outlives for a moment.
    until("nobody listens there any more", || !old.exists());
    assert_eq!(http_at(&new).get("/healthz").status, 200);
    assert_eq!(
        program.http().get("/healthz").status,
        200,
        "the port is the same"
    );
    program.stop();
    assert!(!new.exists());
}
