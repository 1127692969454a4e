//! What the log says of a start: what runs, where, and what it has found.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::parsed;
use crate::support::program::Program;

/// `tidings` with its data in a folder, little room for descriptors, and a log for programs.
fn start(arguments: &[&str], data: &Path) -> Program {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 200; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_tidings"))
        .args(arguments)
        .args(["--listen", "127.0.0.1:0", "--log-format", "json", "--data"])
        .arg(data)
        .env(
            "TIDINGS_GATEWAY_LINK_KEY",
            "0123456789abcdef0123456789abcdef",
        );
    Program::start(&mut command)
}

/// The fields of the next line with this message.
fn fields_of(program: &mut Program, message: &str) -> Value {
    let line = program
        .stderr
        .wait_for(&format!("\"message\":\"{message}\""));
    parsed(&line)["fields"].take()
}

#[test]
fn a_server_and_a_gateway_tell_what_they_start_with_and_what_they_have_restored() {
    let gateway = ["gateway", "--upstream", "ws://127.0.0.1:9/link"];
    for (what, arguments) in [("server", &["serve"][..]), ("gateway", &gateway)] {
        let folder = tempfile::tempdir().unwrap();
        for messages in [0, 3] {
            let mut program = start(arguments, folder.path());
            let starting = fields_of(&mut program, &format!("{what} is starting"));
            assert_eq!(starting["version"], env!("CARGO_PKG_VERSION"));
            assert_eq!(starting["pid"], program.pid().as_raw_pid());
            assert_eq!(starting["data"], folder.path().to_str().unwrap());
            assert_eq!(starting["descriptors_max"], 200);
            fields_of(
                &mut program,
                "the limit of descriptors is low: each connection takes one; raise it with `ulimit -n` or LimitNOFILE",
            );
            let restored = fields_of(&mut program, "the data is restored");
            assert_eq!(restored["messages"], messages, "{what}: {restored}");
            assert!(
                restored["ms"].is_u64() && restored["bytes"].is_u64(),
                "{restored}"
            );
            let listening = fields_of(&mut program, "listening");
            assert_eq!(listening["address"], program.address.to_string());
            let mut http = program.http();
            for _ in messages..3 {
                let body = r#"{"to":{"room":"tea"},"data":1}"#;
                let posted = http.ask_with_json("POST", "/v1/messages", body).unwrap();
                assert!([200, 202].contains(&posted.status), "{posted:?}");
            }
            drop(http);
            program.stop();
        }
    }
}
