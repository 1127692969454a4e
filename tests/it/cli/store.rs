//! `tidings store`, on damaged directories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tidings::store::{
    Channel, Epoch, Journal, MessageBody, MessageRecord, Record, Store, StoreSettings,
};

use crate::support::program::Program;

/// A key of a link; nobody asks for it here.
const KEY: &str = "a-link-key-of-this-length";

fn tidings(args: &[&str], path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.arg("store").args(args).arg(path).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.into()).unwrap()
}

/// A store of 20 messages, and its file.
fn filled(directory: &Path) -> PathBuf {
    let settings = StoreSettings {
        free_bytes_min: 0,
        ..StoreSettings::new(directory)
    };
    let mut store = Journal::open(settings).unwrap();
    for number in 0..20 {
        let data = number.to_string();
        let message = MessageRecord {
            channel: Channel::stored("tea", Epoch::from_bits(1)),
            second: None,
            body: MessageBody {
                id: "id",
                from: None,
                to: None,
                ts: 1_700_000_000_000,
                data: &data,
            },
            idempotency_key: None,
            id_owner: 0,
            opens: false,
            mark: None,
            except: &[],
        };
        let record = Record::Message(message);
        store.append(1_700_000_000_000, &record).unwrap();
        store.commit().unwrap();
    }
    directory.join("journal-0000000001.log")
}

#[test]
fn a_store_is_verified_dumped_found_damaged_and_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let file = filled(directory.path());
    let verified = tidings(&["verify"], directory.path());
    assert!(verified.status.success(), "{verified:?}");
    let expected = "all is right: 20 messages in 1 channels, in 1 file\n";
    assert_eq!(text(&verified.stdout), expected);
    let dumped = text(&tidings(&["dump"], directory.path()).stdout);
    let messages = dumped.lines().filter(|line| line.contains("\"message\""));
    assert_eq!(messages.count(), 20);

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let verified = tidings(&["verify"], directory.path());
    assert_eq!(verified.status.code(), Some(1));
    let said = text(&verified.stderr);
    // It says what to type.
    let (_, command) = said.split_once("`tidings store repair ").unwrap();
    let (path, rest) = command.split_once(" --cut-at ").unwrap();
    assert_eq!(Path::new(path), file);
    let at = rest.split('`').next().unwrap();
    let repaired = tidings(&["repair", "--cut-at", at], &file);
    assert!(repaired.status.success(), "{repaired:?}");
    assert!(
        text(&repaired.stdout).starts_with("cut at byte "),
        "{repaired:?}"
    );
    let verified = tidings(&["verify"], directory.path());
    assert!(verified.status.success(), "{verified:?}");
    assert!(directory.path().join("journal-0000000001.log.cut").exists());
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let directory = tempfile::tempdir().unwrap();
    let verified = tidings(&["verify"], directory.path());
    assert_eq!(verified.status.code(), Some(1));
    assert!(text(&verified.stderr).contains("find a journal in"));
    let repaired = tidings(
        &["repair", "--cut-at", "0"],
        &directory.path().join("other"),
    );
    assert_eq!(repaired.status.code(), Some(1));
}

/// Files and directories under a directory that other accounts may get at, itself among them.
fn wide_ones(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let mut all = vec![directory.to_owned()];
    let mut found = Vec::new();
    while let Some(path) = all.pop() {
        let (mode, is_directory) = (mode(&path), path.is_dir());
        if is_directory {
            let entries = fs::read_dir(&path).unwrap();
            all.extend(entries.map(|entry| entry.unwrap().path()));
        }
        if mode != if is_directory { 0o700 } else { 0o600 } {
            found.push((path, mode));
        }
    }
    found
}

/// The program with this umask, which only a shell can set for it.
fn with_umask(umask: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("umask {umask}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_tidings")]);
    command
}

#[test]
fn messages_on_disk_are_for_one_account_only_whatever_the_umask() {
    for umask in ["000", "022"] {
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("of").join("tidings");
        let (data_set, text_of) = (format!("store.data={}", data.display()), text);
        let flags = ["serve", "--listen", "127.0.0.1:0", "--set", &data_set];
        Program::start(with_umask(umask).args(flags)).stop();
        assert_eq!(wide_ones(&parent.path().join("of")), [], "umask {umask}");

        let outbox = parent.path().join("outbox");
        let outbox_set = format!("gateway.data={}", outbox.display());
        let upstream = ["--upstream", "ws://127.0.0.1:1/link", "--set", &outbox_set];
        let gateway = ["gateway", "--listen", "127.0.0.1:0"];
        Program::start(
            (with_umask(umask).args(gateway).args(upstream)).env("TIDINGS_GATEWAY_LINK_KEY", KEY),
        )
        .stop();
        assert_eq!(wide_ones(&outbox), [], "umask {umask}");

        // What a repair puts aside is as private as what it was cut from.
        let file = data.join("journal-0000000001.log");
        let repaired = with_umask(umask)
            .args(["store", "repair", "--cut-at", "1"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            data.join("journal-0000000001.log.cut").exists(),
            "{}",
            text_of(&repaired.stderr)
        );
        assert_eq!(wide_ones(&data), [], "umask {umask}");
    }
}

#[test]
fn a_start_warns_of_data_that_other_accounts_may_read_and_leaves_it_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = filled(directory.path());
    for (path, mode) in [(directory.path(), 0o755), (&*file, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut server = Program::serve_in(directory.path(), &[]);
    for mode in ["mode=0755", "mode=0644"] {
        server.stderr.wait_for(mode);
    }
    server.stop();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(directory.path()), mode(&file)), (0o755, 0o644));
}
