//! Threads that a process can't do without: whoever waits for one learns that it has died.
//!
//! A build with debug assertions has a way to make each of them die or hang ([`may_die_here`]), and other
//! points of the program fail ([`is_told_to_fail`]) or wait ([`wait_while_told`]), for the tests; a build
//! for users hasn't.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::{Builder, JoinHandle};

use super::rest::take_part;

/// The variable with the path of a file that names threads which shall die, points of the program that
/// shall fail, and others that shall wait, one a line.
#[cfg(debug_assertions)]
const FAULTS_VAR: &str = "FAULTS_OF_TIDINGS";

/// Starts a thread that calls `died` if `run` panics, after everything that `run` owned is gone. It
/// rests in a freeze.
///
/// # Errors
///
/// The system gives no thread.
pub fn spawn_vital(
    name: &str,
    run: impl FnOnce() + Send + 'static,
    died: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        take_part();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            died();
            resume_unwind(panic);
        }
    })
}

/// Panics if a test says that the present thread dies, and waits while one says that it hangs; never does
/// in a build for users.
pub fn may_die_here() {
    #[cfg(debug_assertions)]
    if let Some(name) = std::thread::current().name() {
        let dies = is_named_by_a_test(name);
        assert!(!dies, "a test said that this thread dies");
        wait_while_told(&format!("{name} hangs"));
    }
}

/// Waits while a test says so of this point of the program, and tells the test that it was reached; never
/// does in a build for users.
pub fn wait_while_told(point: &str) {
    #[cfg(debug_assertions)]
    if is_named_by_a_test(point) {
        tell_the_test(point);
        while is_named_by_a_test(point) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    #[cfg(not(debug_assertions))]
    {
        _ = point;
    }
}

/// Whether a test says that this point of the program fails; never does in a build for users.
#[must_use]
pub fn is_told_to_fail(point: &str) -> bool {
    #[cfg(debug_assertions)]
    return is_named_by_a_test(point);
    #[cfg(not(debug_assertions))]
    {
        _ = point;
        false
    }
}

#[cfg(debug_assertions)]
fn faults() -> Option<&'static std::path::Path> {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static FAULTS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let path = FAULTS.get_or_init(|| std::env::var_os(FAULTS_VAR).map(PathBuf::from));
    path.as_deref()
}

#[cfg(debug_assertions)]
fn is_named_by_a_test(name: &str) -> bool {
    let Some(path) = faults() else {
        return false;
    };
    let names = std::fs::read_to_string(path).unwrap_or_default();
    names.lines().any(|line| line == name)
}

/// Adds a line to the file beside that of the faults.
#[cfg(debug_assertions)]
fn tell_the_test(point: &str) {
    use std::io::Write;

    let path = faults().map(|path| path.with_extension("reached"));
    let file = path.and_then(|path| {
        let mut open = std::fs::OpenOptions::new();
        open.append(true).create(true).open(path).ok()
    });
    if let Some(mut file) = file {
        // The test waits for it in vain otherwise, and says so.
        _ = writeln!(file, "{point}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_death_is_told_once_and_an_end_is_not() {
        for dies in [true, false] {
            let (tell, told) = channel();
            let run = move || assert!(!dies, "as the test wants");
            let thread = spawn_vital("test", run, move || tell.send(()).unwrap()).unwrap();
            assert_eq!(thread.join().is_err(), dies);
            assert_eq!(told.iter().count(), usize::from(dies));
        }
    }
}
