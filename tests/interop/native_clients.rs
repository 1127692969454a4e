//! The native protocol as clients of others speak it: frames written by hand, sent by Node's `ws`,
//! by Python's `websockets` and by `websocat`, against the real server.
//!
//! The programs come from `tests/tools/install`. Each script goes on when a claim doesn't hold,
//! and says which ones didn't.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tools::{run, serve_echo, tool};
use crate::support::PATIENCE;

/// Runs a client against a server with its handlers on the reactor, and one with two workers.
fn holds(client: impl Fn() -> Command) {
    for workers in ["0", "2"] {
        let server = serve_echo(&["--workers", workers, "--set", "chat.left_ms=300"]);
        let told = run(client().arg(server.url("ws", "/ws")), PATIENCE);
        assert!(told.ends_with("\n12 claims hold\n"), "{told}");
        server.stop();
    }
}

#[test]
fn the_ws_of_node_speaks_the_native_protocol() {
    holds(|| {
        let mut client = Command::new("node");
        client
            .env("NODE_PATH", tool("node/node_modules"))
            .arg(script("ws_native.cjs"));
        client
    });
}

#[test]
fn the_websockets_of_python_speak_the_native_protocol() {
    holds(|| python("websockets_native.py"));
}

#[test]
fn websocat_speaks_the_native_protocol() {
    holds(|| python("websocat_native.py"));
}

fn python(name: &str) -> Command {
    let mut client = Command::new(tool("python3/bin/python"));
    // It would leave what it compiled beside the scripts.
    client.arg("-B").arg(script(name));
    client
}

fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools");
    folder.join(name)
}
