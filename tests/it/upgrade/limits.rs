//! An upgrade where the system gives no more: of memory, of descriptors, of time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use super::Upgradable;
use crate::support::api::post;
use crate::support::chat_client::{ChatClient, say};
use crate::support::http::HttpClient;
use crate::support::program::copy_program;

/// A program of ours of its own, which can be changed.
fn copy(server: &Upgradable) -> PathBuf {
    let path = server.folder.path().join("copy");
    copy_program(env!("CARGO_BIN_EXE_tidings"), &path);
    path
}

impl Upgradable {
    /// Gives the server another limit, and gives the one before.
    fn limit(&self, resource: Resource, limit: Option<u64>) -> Option<u64> {
        let pid = Some(self.program.pid());
        let maximum = rustix::process::getrlimit(resource).maximum;
        let limit = Rlimit {
            current: limit.or(maximum),
            maximum,
        };
        prlimit(pid, resource, limit).unwrap().current
    }
}

#[test]
fn a_handover_for_which_there_is_no_memory_is_none_and_all_goes_on() {
    // The messages are in memory, so that the server writes no file.
    let server = Upgradable::serve(&["--data", "none", "--set", "control=c"]);
    let control = ["--control", "c"];
    let mut ann = ChatClient::login(&server.program, "ann", &["tea"]);
    post(
        &mut server.program.http(),
        "tea",
        50,
        &json!("x".repeat(1_000)),
    );
    ann.hear_offsets("tea", 1..=50);
    server.limit(Resource::Fsize, Some(10_000));
    server.is_refused(&control, "File too large");
    server.limit(Resource::Fsize, None);
    server.let_fail("rehearsed");
    let (code, _, err) = server.meanwhile(&control, || {
        server.waits_at("rehearsed");
        server.limit(Resource::Fsize, Some(10_000));
    });
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("File too large"), "{err}");
    server.limit(Resource::Fsize, None);
    ann.ok(say("tea", "I am here"));
    server.is_upgraded(&control);
    ann.ok(say("tea", "still"));
    server.program.stop();
}

#[test]
fn with_every_descriptor_in_use_an_upgrade_is_done_or_refused_and_nobody_is_cut() {
    let server = Upgradable::serve(&["--set", "websocket.ping_ms=0"]);
    let pid = server.program.pid();
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let open = || fs::read_dir(&folder).unwrap().count() as u64;
    let mut ann = ChatClient::login(&server.program, "ann", &["tea"]);
    // The hard limit, too: an image raises the other one at its start.
    let limit = open() + 24;
    let both = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    prlimit(Some(pid), Resource::Nofile, both).unwrap();
    let mut crowd: Vec<HttpClient> = Vec::new();
    while open() < limit {
        let mut http = server.program.http();
        assert_eq!(http.get("/healthz").status, 200);
        crowd.push(http);
    }
    // Whoever asks for the upgrade takes one.
    drop(crowd.pop());
    let mut outcomes = Vec::new();
    while let Some(mut leaves) = crowd.pop() {
        let (code, out, err) = server.upgrade(&[]);
        println!("{} open of {limit}: {code} {out}{err}", open());
        outcomes.push(code);
        ann.ok(say("tea", "I am here"));
        for one in &mut crowd {
            assert_eq!(one.get("/healthz").status, 200);
        }
        assert_eq!(leaves.get("/healthz").status, 200);
    }
    // With room for what an image opens it goes well, and without it is refused.
    assert!(outcomes.is_sorted_by(|a, b| a >= b), "{outcomes:?}");
    assert_eq!(outcomes.last(), Some(&0), "{outcomes:?}");
    assert_eq!(outcomes.first(), Some(&1), "{outcomes:?}");
    server.program.stop();
}

#[test]
fn with_memory_at_its_limit_an_upgrade_is_refused_with_both_numbers() {
    let server = Upgradable::serve(&[]);
    let mut ann = ChatClient::login(&server.program, "ann", &["tea"]);
    let pid = server.program.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .trim()
            .strip_suffix(" kB")
            .unwrap()
            .parse()
            .unwrap()
    };
    for (resource, used) in [
        (Resource::As, kib("VmSize:")),
        (Resource::Data, kib("VmData:")),
    ] {
        server.limit(resource, Some((used << 10) + (16 << 20)));
        server.is_refused(&[], "MiB are free");
        server.limit(resource, None);
        ann.ok(say("tea", "I am here"));
    }
    server.is_upgraded(&[]);
    server.program.stop();
}

#[test]
fn a_file_that_is_changed_or_replaced_after_its_rehearsal_is_not_executed() {
    let server = Upgradable::serve(&[]);
    let mut ann = ChatClient::login(&server.program, "ann", &["tea"]);
    let path = copy(&server);
    let binary = ["--binary", path.to_str().unwrap()];
    let written_over = || fs::write(&path, "something else").unwrap();
    let replaced = || {
        let other = server.folder.path().join("other");
        copy_program("/bin/true", &other);
        fs::rename(other, &path).unwrap();
    };
    let changes: [&dyn Fn(); 2] = [&written_over, &replaced];
    for change in changes {
        copy(&server);
        server.let_fail("rehearsed");
        let (code, _, err) = server.meanwhile(&binary, || {
            server.waits_at("rehearsed");
            change();
        });
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("was changed after it was rehearsed"), "{err}");
        ann.ok(say("tea", "I am here"));
    }
    server.program.stop();
}

#[test]
fn an_execution_that_the_system_refuses_changes_nothing() {
    let server = Upgradable::serve(&[]);
    let mut ann = ChatClient::login(&server.program, "ann", &["tea"]);
    // What the test itself was started with.
    let before = server.inheritable();
    server.execution_is_refused();
    ann.ok(say("tea", "I am here"));
    // No descriptor of a connection is left for children to inherit.
    assert_eq!(server.inheritable(), before);
    server.is_upgraded(&[]);
    assert_eq!(server.inheritable(), before);
    ann.ok(say("tea", "still"));
    server.program.stop();
}

impl Upgradable {
    /// An upgrade that comes as far as the execution, which the system refuses.
    pub fn execution_is_refused(&self) {
        let path = copy(self);
        self.let_fail("exec.wait");
        let (code, _, err) = self.meanwhile(&["--binary", path.to_str().unwrap()], || {
            self.waits_at("exec.wait");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        });
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("Permission denied"), "{err}");
    }

    /// What a program that the server starts would find open, beside the standard streams.
    pub fn inheritable(&self) -> Vec<String> {
        const CLOEXEC: u64 = 0o2_000_000;
        let pid = self.program.pid().as_raw_nonzero();
        let all = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
        let mut left = Vec::new();
        for entry in all {
            let entry = entry.unwrap();
            let number = entry.file_name().into_string().unwrap();
            let info = fs::read_to_string(entry.path()).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let Some(flags) = flags else { continue };
            let flags = u64::from_str_radix(flags.trim(), 8).unwrap();
            if flags & CLOEXEC == 0 && number.parse::<u32>().unwrap() > 2 {
                let leads = fs::read_link(format!("/proc/{pid}/fd/{number}"));
                left.push(format!("{number}: {leads:?}"));
            }
        }
        left
    }
}

#[test]
fn settings_that_are_broken_after_the_rehearsal_have_the_image_before_go_on() {
    let config = |folder: &std::path::Path| folder.join("t.toml");
    let binary = env!("CARGO_BIN_EXE_tidings").as_ref();
    let server = Upgradable::start(binary, &["--config", "t.toml"], |command| {
        let folder = command.get_current_dir().unwrap().to_owned();
        fs::write(config(&folder), "[limits]\ncommands_per_s_max = 50\n").unwrap();
    });
    let path = config(server.folder.path());
    let mut ann = ChatClient::login(&server.program, "ann", &["tea"]);
    for text in ["not toml", "[chat]\nunkept = [\"tea\"]\n", "reactors = 2\n"] {
        let before = server.status()["settings"].clone();
        server.let_fail("rehearsed");
        let (code, _, err) = server.meanwhile(&["--config", "t.toml"], || {
            server.waits_at("rehearsed");
            fs::write(&path, text).unwrap();
        });
        assert_eq!(code, 1, "{text}: {err}");
        assert!(
            err.contains("the next image could not go on"),
            "{text}: {err}"
        );
        // Those that were in force are, whatever the file says by now.
        assert_eq!(server.status()["settings"], before, "{text}");
        ann.ok(say("tea", "I am here"));
        fs::write(&path, "[limits]\ncommands_per_s_max = 50\n").unwrap();
    }
    server.is_upgraded(&["--config", "t.toml"]);
    server.program.stop();
}

#[test]
fn a_thread_that_hangs_is_named_and_all_goes_on_once_it_does() {
    let server = Upgradable::serve(&["--set", "freeze_ms_max=700", "--set", "websocket.ping_ms=0"]);
    let mut ann = ChatClient::login(&server.program, "ann", &["stored"]);
    for (thread, reason) in [
        ("worker-0", "worker 0, whose callback doesn't return"),
        ("disk", "it waited for the disk"),
        ("reactor-0", "reactor 0, whose turn doesn't end"),
    ] {
        let hangs = format!("{thread} hangs");
        server.let_fail(&hangs);
        // A worker's, and what comes behind it is, too; a `say` alone may be the reactor's.
        ann.send(json!({"type": "who", "room": "stored"}));
        ann.send(say("stored", thread));
        server.waits_at(&hangs);
        server.is_refused(&[], reason);
        // It goes on for ever after, and never meets the order to rest that was taken back.
        server.let_fail("");
        let mut said = std::iter::repeat_with(|| ann.hear());
        assert!(
            said.any(|frame| frame["data"]["text"] == thread),
            "{thread}"
        );
        ann.ok(say("stored", "and goes on"));
        server.is_upgraded(&[]);
        ann.ok(say("stored", "in the next image"));
    }
    server.program.stop();
}

#[test]
fn a_sync_that_takes_five_seconds_takes_the_upgrade_back_and_is_answered() {
    // Longer than a freeze may take, by as much as the freeze may: what a disk of a cloud does at times.
    let server = Upgradable::serve(&["--set", "freeze_ms_max=2000"]);
    let mut ann = ChatClient::login(&server.program, "ann", &["stored"]);
    let mut http = server.program.http();
    server.let_fail("disk hangs");
    server.waits_at("disk hangs");
    ann.send(say("stored", "one"));
    let request = json!({"to": {"room": "stored"}, "data": "two"}).to_string();
    http.send(crate::support::http::json_request(
        "POST",
        "/v1/messages",
        &request,
    ))
    .unwrap();
    server.is_refused(&[], "not everything came to rest within 2000 ms");
    assert!(!http.has_answer());
    server.let_fail("");
    assert_eq!(http.answer().unwrap().status, 200);
    ann.hear_offsets("stored", 1..=2);
    server.is_upgraded(&[]);
    ann.ok(say("stored", "three"));
    server.program.stop();
}
