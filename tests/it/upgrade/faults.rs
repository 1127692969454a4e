//! An upgrade that fails, wherever it does, is refused with its reason, and the server goes on.

use std::fs;

use super::Upgradable;
use crate::support::api::post;
use crate::support::chat_client::ChatClient;
use rustix::process::Signal;
use serde_json::json;
use std::os::unix::process::ExitStatusExt;

#[test]
fn a_next_image_that_fails_while_it_begins_has_the_one_before_go_on() {
    for (point, reason) in [
        ("exec", "refuses to execute the next image"),
        ("thaw.header", "a test said that the header is broken"),
        ("thaw.chat", "a test said that the chat can't be thawed"),
        ("thaw.panic", "the thaw has panicked"),
    ] {
        let server = Upgradable::serve(&[]);
        post(&mut server.program.http(), "tea", 3, &json!("one"));
        server.let_fail(point);
        server.is_refused(&[], reason);
        server.serves();
        let last = server.status()["last_upgrade"].clone();
        assert_eq!(last["ok"], false, "{point}: {last}");
        assert!(last["error"].as_str().unwrap().contains(reason), "{last}");
        let page = server.program.http().get("/v1/rooms/tea/messages");
        assert!(page.body.contains("\"one\""), "{point}: {}", page.body);
        // What failed once may be mended.
        server.let_fail("");
        server.is_upgraded(&[]);
        server.serves();
        server.program.signal(Signal::TERM);
    }
}

#[test]
fn a_next_image_that_hangs_has_the_one_before_go_on_in_time() {
    let server = Upgradable::serve(&["--set", "thaw_ms_max=1000"]);
    server.let_fail("thaw.wait");
    server.is_refused(&[], "the thaw took longer than 1000 ms");
    server.serves();
    server.program.stop();
}

#[test]
fn a_next_image_that_is_killed_ends_the_server_as_a_crash_does_and_what_was_stored_is_there() {
    let mut server = Upgradable::serve(&[]);
    post(&mut server.program.http(), "tea", 3, &json!("one"));
    server.let_fail("thaw.kill");
    let (code, _, err) = server.upgrade(&[]);
    assert_eq!(code, 1, "{err}");
    assert_eq!(server.program.ended().signal(), Some(9));
    let mut again =
        crate::service::tidings(server.folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let again = crate::support::program::Program::start(&mut again);
    let page = again.http().get("/v1/rooms/tea/messages");
    assert!(page.body.contains("\"one\""), "{}", page.body);
    again.stop();
}

#[test]
fn settings_that_cant_be_carried_are_refused_by_name_and_others_are_in_force_afterwards() {
    let server = Upgradable::start(
        env!("CARGO_BIN_EXE_tidings").as_ref(),
        &["--config", "t.toml"],
        |command| {
            let folder = command.get_current_dir().unwrap().to_owned();
            fs::write(folder.join("t.toml"), "").unwrap();
        },
    );
    let config = ["--config", "t.toml"];
    let write = |text: &str| fs::write(server.folder.path().join("t.toml"), text).unwrap();
    let before = server.status()["settings"].clone();
    for (text, reason) in [
        ("[chat]\nunkept = [\"tea\"]\n", "chat.unkept"),
        ("nonsense = 1\n", "nonsense"),
        ("not toml", "that is no TOML"),
    ] {
        write(text);
        server.is_refused(&[&config[..], &["--check"]].concat(), reason);
        server.is_refused(&config, reason);
        assert_eq!(server.status()["settings"], before);
    }
    write("[limits]\ncommands_per_s_max = 7\n");
    server.is_upgraded(&config);
    assert_eq!(server.status()["settings"]["generation"], 2);
    // Bounds of the chat become a part of what is handed over.
    let ann = ChatClient::login(&server.program, "ann", &["tea"]);
    write("[chat]\nring_messages_max = 5\nring_ms = 1000\n");
    server.is_upgraded(&config);
    assert_eq!(server.status()["settings"]["generation"], 3);
    drop(ann);
    // The way back has the settings that were in force.
    write("[limits]\ncommands_per_s_max = 8\n");
    server.let_fail("thaw.chat");
    server.is_refused(&config, "a test said");
    assert_eq!(server.status()["settings"]["generation"], 3);
    server.program.stop();
}
