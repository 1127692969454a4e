//! A node of a cluster whose settings or whose folder aren't right is refused, and what to do is said. No
//! engine is needed for that.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::program::Program;

/// Whether a command succeeds, and what it says.
fn tidings(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .current_dir(folder)
        .env_clear()
        .args(arguments)
        .output()
        .expect("tidings runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8(text).expect("text"),
    )
}

/// The address of no Redis.
const NOWHERE: &str = "redis+unix:///nowhere/redis.sock";

#[test]
fn an_address_or_a_name_that_cant_be_used_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, what) in [
        (
            &["--cluster", "redis+cluster://a,b,c", "--node", "a"][..],
            "Redis Cluster isn't used",
        ),
        (
            &["--cluster", "redis+sentinel://a,b,c", "--node", "a"],
            "the name is missing by which Sentinels know the primary",
        ),
        (&["--cluster", NOWHERE], "node has to be named"),
        (
            &[
                "--cluster",
                NOWHERE,
                "--node",
                "a",
                "--set",
                "bindings.store=memory",
            ],
            "bindings.store can't be \"memory\" in a cluster",
        ),
        (
            &[
                "--cluster",
                NOWHERE,
                "--node",
                "a",
                "--set",
                "cluster.promise=maybe",
            ],
            "\"synced\", \"replicated\", \"fast\"",
        ),
    ] {
        for command in ["serve", "check"] {
            let arguments: Vec<&str> = [&[command], arguments].concat();
            let (is_right, said) = tidings(folder.path(), &arguments);
            assert!(!is_right && said.contains(what), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn an_engine_that_isnt_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let node = ["--cluster", NOWHERE, "--node", "a"];
    for command in [&["serve"][..], &["check"]] {
        let arguments: Vec<&str> = [command, &node].concat();
        let (is_right, said) = tidings(folder.path(), &arguments);
        assert!(!is_right && said.contains("/nowhere/redis.sock"), "{said}");
    }
    for command in ["check", "renew"] {
        let (is_right, said) = tidings(folder.path(), &["cluster", command, "--cluster", NOWHERE]);
        assert!(!is_right && said.contains("/nowhere/redis.sock"), "{said}");
        let (is_right, said) = tidings(folder.path(), &["cluster", command]);
        assert!(!is_right && said.contains("say --cluster"), "{said}");
    }
}

#[test]
fn a_folder_with_channels_in_it_is_refused_unless_it_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("tidings-data");
    let mut alone = Command::new(env!("CARGO_BIN_EXE_tidings"));
    alone.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    let program = Program::start(alone.arg(&data));
    let message = json!({"to": {"room": "tea"}, "data": 1});
    let (status, _) = program.http().json("POST", "/v1/messages", &message);
    assert_eq!(status, 200);
    program.stop();
    let node = ["serve", "--cluster", NOWHERE, "--node", "a"];
    let (is_right, said) = tidings(folder.path(), &node);
    let what = "tidings-data has 1 channels of a server by itself in it";
    assert!(
        !is_right && said.contains(what) && said.contains("--data none"),
        "{said}"
    );
    let without: Vec<&str> = [&node[..], &["--data", "none"]].concat();
    let (is_right, said) = tidings(folder.path(), &without);
    assert!(
        !is_right
            && !said.contains("channels")
            && said.contains(NOWHERE.trim_start_matches("redis+unix://")),
        "{said}"
    );
}
