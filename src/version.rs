//! The version of this program.

use std::hint::black_box;
use std::sync::LazyLock;

/// Bytes for the name of a build at most.
const NAME_SIZE_MAX: usize = 16;

/// What stands before the name of the build in the program's file, where a test can give another one.
const MARK: &[u8; 16] = b"tidings-build-is";

/// The mark and the name of the build, which `TIDINGS_BUILD` gives when it is compiled.
static BUILD: [u8; MARK.len() + NAME_SIZE_MAX] = marked(match option_env!("TIDINGS_BUILD") {
    Some(name) => name,
    None => "",
});

const fn marked(name: &str) -> [u8; MARK.len() + NAME_SIZE_MAX] {
    let mut bytes = [0; MARK.len() + NAME_SIZE_MAX];
    let mut at = 0;
    while at < MARK.len() {
        bytes[at] = MARK[at];
        at += 1;
    }
    let name = name.as_bytes();
    while at - MARK.len() < name.len() {
        bytes[at] = name[at - MARK.len()];
        at += 1;
    }
    bytes
}

/// Returns the version, with the name of the build behind a `+` where it has one.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        let name = &black_box(&BUILD)[MARK.len()..];
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        match str::from_utf8(name) {
            Ok("") | Err(_) => version.to_owned(),
            Ok(name) => format!("{version}+{name}"),
        }
    });
    &VERSION
}
