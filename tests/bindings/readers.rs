//! The programs of others that read the tables: the examples in Rust and PHP.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use super::engine::{Engine, serve, with_each};
use super::support::chat_client::ChatClient;
use super::truth::until_true;

/// Whether PHP can speak to an engine.
fn has_php(engine: &str) -> bool {
    let extension = match engine {
        "redis" => "redis",
        _ => "pdo_mysql",
    };
    let code = format!("exit(extension_loaded('{extension}') ? 0 : 1);");
    let asked = Command::new("php").args(["-r", &code]).status();
    let is_there = asked.is_ok_and(|status| status.success());
    let must = std::env::var_os("CI").is_some();
    assert!(
        is_there || !must,
        "PHP or its {extension} is missing: tests/tools/install"
    );
    if !is_there {
        eprintln!("WARNING: PHP or its {extension} is missing, so this tests NOTHING");
    }
    is_there
}

fn told(mut command: Command, engine: &dyn Engine) -> String {
    let output = command.args(engine.arguments()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The examples that read an engine.
fn readers(engine: &dyn Engine) -> Vec<Command> {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let mut readers = vec![Command::new(profile.join("examples").join("bindings"))];
    if has_php(&engine.arguments()[0]) {
        let mut php = Command::new("php");
        php.arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/contrib/php/bindings.php"
        ));
        readers.push(php);
    }
    readers
}

#[test]
fn the_examples_in_rust_and_php_tell_who_is_where_and_leave_dead_servers_out() {
    with_each(|engine| {
        let server = serve(engine, &[]);
        let ann = ChatClient::login(&server, "ann", &["tea"]);
        let _more = [
            ChatClient::login(&server, "ann", &["tea", "coffee"]),
            ChatClient::login(&server, "bob", &["tea"]),
        ];
        let path = format!("/v1/connections/{}/session", ann.fd());
        assert_eq!(
            server
                .http()
                .json("PUT", &path, &json!({"theme": "dark"}))
                .0,
            200
        );
        until_true(engine, &server, &BTreeSet::new());
        let alive = "ann: 2 connections, in coffee, tea; session {\"theme\":\"dark\"}\n\
                     bob: 1 connection, in tea\n\
                     room coffee: ann\n\
                     room tea: ann, bob\n";
        for reader in readers(engine) {
            assert_eq!(told(reader, engine), alive);
        }
        server.kill();
        engine.age();
        for reader in readers(engine) {
            assert_eq!(told(reader, engine), "", "nobody, and no error");
        }
    });
}
