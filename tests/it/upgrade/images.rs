//! Which file an upgrade executes, and which it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Upgradable;

const OWN: &str = env!("CARGO_BIN_EXE_tidings");

/// What stands before the name of a build in the program's file.
const MARK: &[u8] = b"tidings-build-is";

/// A build of another name, in a folder.
pub fn build(folder: &Path, name: &str) -> PathBuf {
    let mut bytes = fs::read(OWN).unwrap();
    let at = bytes.windows(MARK.len()).position(|window| window == MARK);
    let at = at.expect("the mark") + MARK.len();
    bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
    let path = folder.join(format!("tidings-{name}"));
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn what_is_no_program_of_ours_is_refused_with_the_reason() {
    let server = Upgradable::serve(&[]);
    let file = |name: &str, text: &str, mode| {
        let path = server.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (path, reason) in [
        ("/nowhere/tidings".to_owned(), "No such file"),
        ("/tmp".to_owned(), "is no file"),
        (file("plain", "text", 0o644), "can't be executed"),
        (
            file("foreign", "\x7fELF of another machine", 0o755),
            "can't be executed",
        ),
        ("/bin/true".to_owned(), "ended without a report"),
        ("/bin/ls".to_owned(), "doesn't know how to rehearse"),
    ] {
        for check in [&["--check"][..], &[]] {
            let arguments = [&["--binary", &path][..], check].concat();
            server.is_refused(&arguments, reason);
        }
    }
    server.serves();
    server.program.stop();
}

#[test]
fn two_builds_follow_each_other_there_and_back() {
    let builds = tempfile::tempdir().unwrap();
    let (one, other) = (build(builds.path(), "one"), build(builds.path(), "other"));
    let server = Upgradable::start(&one, &[], |_| {});
    let version = env!("CARGO_PKG_VERSION");
    for _ in 0..super::rounds(2) {
        for (binary, from, to) in [(&other, "one", "other"), (&one, "other", "one")] {
            let out = server.is_upgraded(&["--binary", binary.to_str().unwrap()]);
            let said = format!("{version}+{from} → {version}+{to}: ");
            assert!(out.starts_with(&said), "{out}");
            assert_eq!(server.image(), *binary);
            assert_eq!(server.status()["version"], format!("{version}+{to}"));
        }
    }
    server.program.stop();
}

#[test]
fn without_a_file_the_path_of_the_start_is_followed_also_when_another_one_stands_there() {
    let builds = tempfile::tempdir().unwrap();
    let (one, other) = (build(builds.path(), "one"), build(builds.path(), "other"));
    let link = builds.path().join("tidings");
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let mut server = Upgradable::start(&link, &[], |_| {});
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    server.is_upgraded(&[]);
    assert_eq!(server.image(), other);
    // A file that is moved into the place of the one that runs, which is gone then.
    fs::rename(build(builds.path(), "next"), &other).unwrap();
    server.let_fail("thaw.chat");
    server.is_refused(&[], "a test said");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(server.status()["version"], format!("{version}+other"));
    server.let_fail("");
    server.is_upgraded(&[]);
    assert_eq!(server.status()["version"], format!("{version}+next"));
    server.program.stderr.wait_for("upgraded");
    server.program.stop();
}
