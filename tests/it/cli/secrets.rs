//! What others can see of a program: its command line, its folders and files, what it hands to its
//! children, what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use crate::gateway::procfs::children_of;
use crate::support::chat_client::ChatClient;
use crate::support::http::{HttpClient, JSON};
use crate::support::keys::Keys;
use crate::support::program::{Lines, Program};
use crate::support::wait::until;

/// A key that stands nowhere else.
const SECRET: &str = "a-secret-0123456789-of-this-test";

/// A file of `/proc` about a process.
fn of_process(pid: Pid, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{}/{file}", pid.as_raw_pid())).expect("it lives");
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Fails if anything that a process was started with has the secret in it.
#[track_caller]
fn nothing_is_in_sight(pid: Pid) {
    for file in ["cmdline", "environ"] {
        let text = of_process(pid, file);
        assert!(!text.contains(SECRET), "{file}: {text}");
    }
}

/// Whether a process can find the secret in a file that it has inherited.
fn inherits_it(pid: Pid) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).expect("it lives");
    let paths = descriptors.flatten().map(|one| one.path());
    let mut files = paths.filter(|path| {
        let target = fs::read_link(path).unwrap_or_default();
        let is_memory = target.to_string_lossy().starts_with("/memfd:");
        is_memory || fs::metadata(path).is_ok_and(|file| file.is_file())
    });
    files.any(|path| {
        fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(SECRET))
    })
}

#[test]
fn a_key_that_was_given_by_flag_works_and_is_in_nobodys_sight() {
    let flags = ["--set", "uplink.key", "--set", "api_keys.shop.key"];
    let flags: Vec<String> = flags
        .iter()
        .map(|flag| match flag.starts_with("--") {
            true => (*flag).to_owned(),
            false => format!("{flag}={SECRET}"),
        })
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Program::serve(&flags);
    let mut http = server.http();
    assert_eq!(http.get("/v1/stats").status, 401);
    let field = format!("Authorization: Bearer {SECRET}\r\n");
    let answer = http.ask_with("GET", "/v1/stats", &field, "").unwrap();
    assert_eq!(answer.status, 200);
    nothing_is_in_sight(server.pid());
    let shown = of_process(server.pid(), "cmdline");
    let expected = "--set uplink.key=*** --set api_keys.shop.key=***";
    assert!(shown.contains(expected), "{shown}");
    assert_eq!(of_process(server.pid(), "comm").trim(), "tidings");
    drop(http);
    server.stop();
}

#[test]
fn a_push_process_gets_no_key_that_its_gateway_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(["gateway", "--listen", "127.0.0.1:0", "--upstream"]);
    command.args(["ws://127.0.0.1:9/link", "--link-key", SECRET, "--data"]);
    command.arg(folder.path());
    command.env("TIDINGS_API_KEYS_SHOP_KEY", format!("{SECRET}-of-a-shop"));
    command.env("TIDINGS_LOG_FORMAT", "json");
    let mut gateway = Program::start(&mut command);
    let pid = gateway.pid();
    let shown = of_process(pid, "cmdline");
    assert!(!shown.contains(SECRET), "{shown}");
    until("there is a push process", || !children_of(pid).is_empty());
    let push = children_of(pid)[0];
    // Once it logs, it is past its start.
    let line = gateway.stderr.wait_for("the link is dead");
    assert!(line.starts_with('{'), "it logs as the gateway does: {line}");
    nothing_is_in_sight(push);
    assert!(!of_process(push, "environ").contains("TIDINGS_API"));
    for process in [pid, push] {
        assert!(!inherits_it(process), "{process:?}");
    }
    let field = format!("Authorization: Bearer {SECRET}-of-a-shop\r\n{JSON}");
    let body = r#"{"to":{"room":"tea"},"data":1}"#;
    let mut http = HttpClient::connect(gateway.address);
    let posted = http.ask_with("POST", "/v1/messages", &field, body).unwrap();
    assert_eq!(posted.status, 202, "{posted:?}");
    drop(http);
    gateway.stop();
}

#[test]
fn a_floor_to_compare_with_gets_no_key_of_the_environment() {
    let server = Program::serve(&["--echo"]);
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(["bench", "echo", "--floor", "--seconds", "20"])
        .args(["--url", &server.url("ws", "/echo")])
        .env("TIDINGS_TOKEN", SECRET)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&bench);
    until("there is a floor", || !children_of(pid).is_empty());
    let floor = children_of(pid)[0];
    // Before that it is a copy of what starts it.
    until("it is what it was started as", || {
        of_process(floor, "cmdline").contains("bench raw")
    });
    let environment = of_process(floor, "environ");
    bench.kill().unwrap();
    bench.wait().unwrap();
    assert!(!environment.contains(SECRET), "{environment}");
    server.stop();
}

#[test]
fn a_token_of_the_command_line_and_one_in_an_address_are_in_nobodys_sight() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let token = keys.token("ann", "*", "1h");
    for (url, flag) in [("/ws", Some(&token)), ("/ws?token=", None)] {
        let mut url = server.url("ws", url);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.args(["listen", "--uid", "ann", "--room", "tea"]);
        match flag {
            Some(token) => drop(command.args(["--token", token])),
            None => url.push_str(&token),
        }
        let mut listen = command
            .args(["--url", &url])
            .env("TIDINGS_TOKEN", "")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Lines::of(listen.stderr.take().unwrap());
        // One in the address logs in by itself, and is no token for the login that follows.
        let line = said.wait_for("");
        let shown = match flag {
            Some(_) => of_process(Pid::from_child(&listen), "cmdline"),
            None => String::new(),
        };
        _ = listen.kill();
        listen.wait().unwrap();
        assert!(!shown.contains(&token), "{shown}");
        assert!(!line.contains(&token), "{line}");
        assert!(flag.is_none() || line.contains("connected"), "{line}");
    }
    server.stop();
}

/// The modes of a folder and of all that is in it.
fn modes_in(folder: &Path) -> Vec<(String, u32)> {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut modes = vec![(folder.display().to_string(), mode(folder))];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => modes.extend(modes_in(&path)),
            false => modes.push((path.display().to_string(), mode(&path))),
        }
    }
    modes
}

/// `tidings` with a umask that takes nothing away.
fn careless(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_tidings"))
        .args(arguments)
        .current_dir(folder);
    command
}

#[test]
fn whatever_the_umask_nobody_else_may_read_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let init = careless(path, &["init", "--file", "t.toml"]).output();
    assert!(init.unwrap().status.success());
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", "a/b/data"];
    // Files of 64 KiB, so that there are several.
    let small = ["--set", "store.segment_size_max=65536"];
    let server = Program::start(&mut careless(path, &[&serve[..], &small].concat()));
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let mut http = server.http();
    let body = format!(
        r#"{{"to":{{"user":"ann"}},"data":"{}"}}"#,
        "x".repeat(9_000)
    );
    for _ in 0..20 {
        let posted = http.ask_with_json("POST", "/v1/messages", &body).unwrap();
        assert_eq!(posted.status, 200);
    }
    let ack = serde_json::json!({"type": "ack", "channel": "@ann", "offset": 3});
    ann.ok(ack);
    drop((ann, http));
    server.stop();
    let gateway = ["gateway", "--listen", "127.0.0.1:0", "--data", "outbox"];
    let upstream = ["--upstream", "ws://127.0.0.1:9/link", "--link-key", SECRET];
    let gateway = Program::start(&mut careless(path, &[&gateway[..], &upstream].concat()));
    let mut http = HttpClient::connect(gateway.address);
    let posted = http.ask_with_json("POST", "/v1/messages", &body).unwrap();
    assert_eq!(posted.status, 202);
    drop(http);
    gateway.stop();
    let journal = path.join("a/b/data/journal-0000000001.log");
    let repair = [
        "store",
        "repair",
        journal.to_str().unwrap(),
        "--cut-at",
        "30000",
    ];
    let repaired = careless(path, &repair).output().unwrap();
    assert!(repaired.status.success(), "{repaired:?}");
    let modes: Vec<_> = ["a", "outbox"]
        .iter()
        .flat_map(|name| modes_in(&path.join(name)))
        .chain([(
            "t.toml".to_owned(),
            fs::metadata(path.join("t.toml"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
        )])
        .collect();
    assert!(
        modes.iter().any(|(name, _)| name.ends_with(".cut")),
        "{modes:?}"
    );
    assert!(modes.len() > 8, "{modes:?}");
    let wide: Vec<_> = modes.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(wide.is_empty(), "{wide:?}");
}

#[test]
fn a_folder_that_others_may_read_is_warned_of_at_the_start_of_a_server_and_of_a_gateway() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().to_str().unwrap();
    let upstream = ["--upstream", "ws://127.0.0.1:9/link", "--link-key", SECRET];
    for arguments in [vec!["serve"], [&["gateway"][..], &upstream].concat()] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command
            .args(&arguments)
            .args(["--listen", "127.0.0.1:0", "--data", data]);
        let mut program = Program::start(&mut command);
        let line = program
            .stderr
            .wait_for("other accounts can get at private messages");
        assert!(line.contains("0755") && line.contains(data), "{line}");
        program.stop();
    }
}

#[test]
fn a_private_key_that_others_may_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    for file in ["ec.pem", "ec.pub"] {
        fs::copy(keys.join(file), folder.path().join(file)).unwrap();
    }
    let settings = "[tokens.keys.k1]\nalgorithm = 'ES256'\npublic_key_file = 'ec.pub'\n";
    fs::write(folder.path().join("t.toml"), settings).unwrap();
    for (mode, is_warned) in [(0o644, true), (0o600, false)] {
        let key = folder.path().join("ec.pem");
        fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
        let made = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args(["token", "--config", "t.toml", "--uid", "ann"])
            .args(["--private-key", "ec.pem"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
        assert_eq!(
            said.contains("ec.pem has a private key"),
            is_warned,
            "{said}"
        );
        assert_eq!(said.contains("chmod 600"), is_warned, "{said}");
    }
}
