//! Programs of others that a test needs.

use std::path::PathBuf;

/// Whether a program is installed, which in CI it has to be.
pub fn is_there(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    places.push("/usr/sbin".into());
    let is_there = places.iter().any(|folder| folder.join(program).exists());
    let must = std::env::var_os("CI").is_some();
    assert!(
        is_there || !must,
        "{program} is missing: tests/tools/install"
    );
    if !is_there {
        eprintln!("WARNING: {program} is missing, so this tests NOTHING: tests/tools/install");
    }
    is_there
}
