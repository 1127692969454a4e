//! The program's arguments, out of the sight of others.
//!
//! Every account of the machine can read in `/proc/PID/cmdline` what a program was started with. A
//! program that was given a secret by flag executes itself again at once, as the same process: the
//! system then shows [`HIDDEN`] in place of the secret, and the arguments as they were given come in a
//! file in memory, which is emptied once it is read. So nothing that this program starts can find
//! them there.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use rustix::fs::MemfdFlags;

use crate::auth::{HIDDEN, redacted};
use crate::output::tell_without_waiting;

/// The variable with the number of this process and that of the file's descriptor: a program that
/// only inherits the variable is another process.
const FILE_VAR: &str = "TIDINGS_ARGUMENTS";

/// The name of the file, as `/proc/PID/fd` shows it.
const FILE_NAME: &str = "tidings-arguments";

/// The name of this program, for `ps`: after a link was executed it would be the link's.
const PROGRAM_NAME: &str = "tidings";

/// Flags whose value is a secret.
const SECRET_FLAGS: [&str; 3] = ["--link-key", "--api-key", "--token"];

/// The flag whose value is a setting, which may be a secret.
const SETTING_FLAG: &str = "--set";

/// The arguments as they were given, once others can't see a secret in them.
pub(super) fn arguments() -> Vec<OsString> {
    let seen: Vec<OsString> = std::env::args_os().collect();
    if let Some(given) = handed_over() {
        return given;
    }
    let shown = shown(&seen);
    if shown != seen {
        let Err(error) = execute_again(&seen, &shown);
        tell_without_waiting(format!(
            "tidings: others can see the secret that was given by flag: {error}"
        ));
    }
    seen
}

/// Executes this program again, with the arguments in a file in memory; returns only an error.
fn execute_again(given: &[OsString], shown: &[OsString]) -> io::Result<Infallible> {
    // Inherited by what is executed, as it has to be.
    let mut file = File::from(rustix::fs::memfd_create(FILE_NAME, MemfdFlags::empty())?);
    for argument in given {
        file.write_all(argument.as_bytes())?;
        file.write_all(b"\0")?;
    }
    let (zeroth, rest) = shown.split_first().ok_or(io::ErrorKind::NotFound)?;
    let place = format!("{} {}", process::id(), file.as_raw_fd());
    Err(Command::new("/proc/self/exe")
        .arg0(zeroth)
        .args(rest)
        .env(FILE_VAR, place)
        .exec())
}

/// The arguments that this process handed over to itself, if it did.
fn handed_over() -> Option<Vec<OsString>> {
    let place = std::env::var(FILE_VAR).ok()?;
    let (pid, descriptor) = place.split_once(' ')?;
    if pid.parse() != Ok(process::id()) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", descriptor.parse::<u32>().ok()?);
    let target = fs::read_link(&path).ok()?;
    let target = target.to_str()?.strip_prefix("/memfd:")?;
    if !target.starts_with(FILE_NAME) {
        return None;
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    // The descriptor that was inherited stays open, and this program's own children inherit it too.
    file.set_len(0).ok()?;
    if let Ok(name) = CString::new(PROGRAM_NAME) {
        // Only `ps` would show another name.
        _ = rustix::thread::set_name(&name);
    }
    let arguments = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
    Some(
        arguments
            .map(|one| OsString::from_vec(one.to_vec()))
            .collect(),
    )
}

/// The arguments as others may see them. What isn't sure to be no secret is hidden: only `ps` shows
/// these, and the program goes by those that were given.
fn shown(given: &[OsString]) -> Vec<OsString> {
    let mut flag_before: Option<String> = None;
    let mut show = |argument: &OsString| -> OsString {
        let text = argument.to_string_lossy();
        let hidden = match flag_before.take() {
            Some(flag) => shown_value(&flag, &text),
            None => match text.split_once('=').filter(|_| text.starts_with("--")) {
                Some((flag, value)) if may_be_secret(flag) => {
                    format!("{flag}={}", shown_value(flag, value))
                }
                _ => {
                    flag_before = may_be_secret(&text).then(|| text.clone().into_owned());
                    redacted(&text).into_owned()
                }
            },
        };
        match hidden == text {
            true => argument.clone(),
            false => OsStr::from_bytes(hidden.as_bytes()).to_owned(),
        }
    };
    given.iter().map(&mut show).collect()
}

fn may_be_secret(flag: &str) -> bool {
    flag == SETTING_FLAG || SECRET_FLAGS.contains(&flag)
}

/// The value of a flag that may be a secret, as others may see it.
fn shown_value(flag: &str, value: &str) -> String {
    match value.split_once('=') {
        Some((key, value)) if flag == SETTING_FLAG => {
            let value = match is_secret_setting(key) {
                true => HIDDEN.into(),
                false => redacted(value),
            };
            format!("{key}={value}")
        }
        _ => HIDDEN.to_owned(),
    }
}

/// Whether a setting of this name is a secret, also where the name is mistyped.
fn is_secret_setting(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    let is_named_so = ["key", "secret", "pass"]
        .iter()
        .any(|word| name.contains(word));
    is_named_so && !name.ends_with("_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_shown(given: &str, expected: &str) {
        let given: Vec<OsString> = given.split(' ').map(OsString::from).collect();
        let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
        assert_eq!(shown(&given), expected);
    }

    #[test]
    fn secrets_are_hidden_and_everything_else_is_shown() {
        assert_shown(
            "tidings gateway --upstream ws://a:1/link --link-key K --insecure",
            "tidings gateway --upstream ws://a:1/link --link-key *** --insecure",
        );
        assert_shown(
            "tidings listen --token=T --room a=b",
            "tidings listen --token=*** --room a=b",
        );
        assert_shown(
            "tidings send --api-key K --url ws://u:p@h/ws?token=T hi",
            "tidings send --api-key *** --url ws://***@h/ws?token=*** hi",
        );
        assert_shown(
            "t serve --set uplink.key=K --set=api_keys.b.key=K --set api_keys.b.keyy=K --set K",
            "t serve --set uplink.key=*** --set=api_keys.b.key=*** --set api_keys.b.keyy=*** --set ***",
        );
        assert_shown(
            "t gateway --set gateway.upstreams=ws://u:p@h/link",
            "t gateway --set gateway.upstreams=ws://***@h/link",
        );
        for open in [
            "tidings serve --set tokens.leeway_s=30 --set http.idle_ms_max=5",
            "tidings serve --set uplink.key_file=/etc/key",
            "tidings token --uid ann --private-key key.pem",
            "tidings token",
        ] {
            assert_shown(open, open);
        }
    }

    #[test]
    fn what_is_no_text_stays_as_it_is() {
        let given = [OsString::from_vec(vec![b'-', 0xff])];
        assert_eq!(shown(&given), given);
    }
}
