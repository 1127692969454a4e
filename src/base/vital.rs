//! Threads that a process can't do without: whoever waits for one learns that it has died.
//!
//! A build with debug assertions has a way to make each of them die ([`may_die_here`]), and other
//! points of the program fail ([`is_told_to_fail`]), for the tests; a build for users hasn't.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::{Builder, JoinHandle};

use super::rest::take_part;

/// The variable with the path of a file that names threads which shall die, and points of the program
/// that shall fail, one a line.
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

/// Panics if a test says that the present thread dies; never does in a build for users.
pub fn may_die_here() {
    #[cfg(debug_assertions)]
    {
        let thread = std::thread::current();
        let dies = thread.name().is_some_and(is_named_by_a_test);
        assert!(!dies, "a test said that this thread dies");
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
fn is_named_by_a_test(name: &str) -> bool {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static FAULTS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let path = FAULTS.get_or_init(|| std::env::var_os(FAULTS_VAR).map(PathBuf::from));
    let Some(path) = path else {
        return false;
    };
    let names = std::fs::read_to_string(path).unwrap_or_default();
    names.lines().any(|line| line == name)
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
