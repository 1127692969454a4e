//! `tidings store`, on damaged directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tidings::store::{
    Channel, Epoch, Journal, MessageBody, MessageRecord, Record, Store, StoreSettings,
};

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
            channel: Channel {
                name: "tea",
                epoch: Epoch::from_bits(1),
            },
            second: None,
            body: MessageBody {
                id: "id",
                from: None,
                to: None,
                ts: 1_700_000_000_000,
                data: &data,
            },
            idempotency_key: None,
            mark: None,
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
