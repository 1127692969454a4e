//! The beginning of an image that was executed in place of another one: what it was handed, and the way
//! back.
//!
//! Until [`Entered::commit`] the image that was before is one `execve` away, with the same handover.
//! Nothing that was handed over has an owner until then, so that whatever fails closes no connection.

use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::descriptors::named_in;
use super::kernel::{self, DescriptorKind, Execution, InheritedDescriptors};
use super::server_state::thaw_max;
use crate::base::sync::lock;
use crate::base::vital::is_told_to_fail;
use crate::handover::Handover;
use crate::server::settings::THAW_MS_MAX;

/// The variable that says so: this process's number, the descriptors of the handover and of the image
/// before, and on the way back the reason.
pub const UPGRADE_VAR: &str = "TIDINGS_UPGRADE";

/// Bytes of a reason at most, since the environment has a bound of its own.
const REASON_SIZE_MAX: usize = 4_096;

/// What an image was handed by the one before.
#[derive(Debug)]
pub struct Entered {
    bytes: Vec<u8>,
    memory: RawFd,
    before: RawFd,
    /// Why the image after this one has failed, if this is the way back.
    back: Option<String>,
    inherited: Mutex<Option<InheritedDescriptors>>,
}

/// Returns what this process was handed if it was executed in place of an image of the program. To be
/// called before anything is opened.
///
/// # Errors
///
/// The handover can't be read. There is no way back, since nobody can say from where.
pub fn entered() -> io::Result<Option<Entered>> {
    let Some(said) = std::env::var_os(UPGRADE_VAR) else {
        return Ok(None);
    };
    let said = String::from_utf8_lossy(said.as_bytes()).into_owned();
    let mut words = said.splitn(4, ' ');
    let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
    // One that only inherits the variable is another process.
    if number() != Some(std::process::id()) {
        return Ok(None);
    }
    let numbers = (number(), number());
    let (Some(memory), Some(before)) = (numbers.0, numbers.1) else {
        return Err(io::Error::other(format!("{UPGRADE_VAR} is {said:?}")));
    };
    // As the image before did, whose mask this one has.
    kernel::hold_signals();
    let (memory, before) = (memory as RawFd, before as RawFd);
    let mut file = std::fs::File::from(kernel::duplicate(memory)?);
    if !kernel::is_sealed(&file) {
        return Err(io::Error::other("what was handed over is no handover"));
    }
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file)?;
    file.read_to_end(&mut bytes)?;
    name_process();
    Ok(Some(Entered {
        bytes,
        memory,
        before,
        back: words.next().map(str::to_owned),
        inherited: Mutex::default(),
    }))
}

/// Gives the process its name back, for `ps`, which shows the descriptor's number otherwise.
fn name_process() {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_name();
    if let Some(name) = name.and_then(|name| CString::new(name.as_bytes()).ok()) {
        _ = rustix::thread::set_name(&name);
    }
}

impl Entered {
    /// Takes the handover apart, and looks at each descriptor that it names.
    ///
    /// # Errors
    ///
    /// It is damaged, or a descriptor isn't what it should be.
    pub fn handover(&self) -> io::Result<Handover<'_>> {
        if self.back.is_none() && is_told_to_fail("thaw.header") {
            return Err(io::Error::other("a test said that the header is broken"));
        }
        let handover = Handover::read(&self.bytes).map_err(io::Error::other)?;
        let mut inherited = self.inherited();
        if inherited.is_none() {
            let named = named_in(&handover).map_err(io::Error::other)?;
            let all = [
                (self.memory, DescriptorKind::File),
                (self.before, DescriptorKind::File),
            ];
            let all = named.into_iter().chain(all);
            *inherited = Some(InheritedDescriptors::at_the_start(all)?);
        }
        Ok(handover)
    }

    /// Returns why the image after this one has failed, if this is the way back.
    #[must_use]
    pub fn back(&self) -> Option<&str> {
        self.back.as_deref()
    }

    /// Looks at a descriptor without becoming its owner.
    ///
    /// # Errors
    ///
    /// It wasn't handed over, or leads to something else.
    pub fn check(&self, number: RawFd, kind: DescriptorKind) -> io::Result<()> {
        let unread = || io::Error::other("the handover is not read");
        self.inherited()
            .as_ref()
            .ok_or_else(unread)?
            .check(number, kind)
    }

    /// Makes a second descriptor of one that was handed over: it may be closed before the commit.
    ///
    /// # Errors
    ///
    /// It wasn't handed over, leads to something else, or there are too many.
    pub fn duplicate(&self, number: RawFd, kind: DescriptorKind) -> io::Result<OwnedFd> {
        self.check(number, kind)?;
        kernel::duplicate(number)
    }

    /// Becomes the owner of a descriptor, after the commit; `None` if it has another owner already.
    pub fn adopt(&self, number: RawFd) -> Option<OwnedFd> {
        self.inherited().as_mut()?.adopt(number)
    }

    /// Has no program that this one starts inherit what has no owner yet; after the commit.
    pub(super) fn close_on_execution(&self) {
        if let Some(inherited) = &*self.inherited() {
            inherited.close_on_execution();
        }
    }

    /// Closes the way back: handover and image before.
    pub fn commit(&self) {
        drop(self.adopt(self.memory));
        drop(self.adopt(self.before));
    }

    /// Runs `work` on a thread of its own, and what `work` has made ready on this one, which has to be
    /// the main thread; see [`ThawRelay::run`]. Goes back if `work` fails, panics or takes longer than
    /// the image before has allowed ([`thaw_ms_max`](crate::server::ServerSettings::thaw_ms_max)) before it
    /// has anything ready.
    ///
    /// # Errors
    ///
    /// Nothing was made ready, and there is no way back: the reason.
    pub fn thaw<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(ThawRelay) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let time = self.thaw_max();
        let (sender, ready) = channel();
        let relay = ThawRelay {
            entered: Arc::clone(self),
            sender,
        };
        let helper = std::thread::Builder::new().name("thaw".into());
        let helper = helper.spawn(move || {
            let failed = relay.sender.clone();
            let worked = catch_unwind(AssertUnwindSafe(|| work(relay)));
            let worked = worked.unwrap_or_else(|_| Err("the thaw has panicked".to_owned()));
            if let Err(reason) = &worked {
                // Nobody listens once something was ready.
                _ = failed.send(Thawed::Failed(reason.clone()));
            }
            worked
        });
        let helper = match helper {
            Ok(helper) => helper,
            Err(error) => return Err(self.go_back(&format!("can't start a thread: {error}"))),
        };
        match ready.recv_timeout(time) {
            Ok(Thawed::Ready(run)) => {
                run();
                let ended = helper.join();
                ended.unwrap_or_else(|_| Err("the thaw has panicked".to_owned()))
            }
            Ok(Thawed::Failed(reason)) => Err(self.go_back(&reason)),
            Err(RecvTimeoutError::Timeout) => {
                let ms = time.as_millis();
                Err(self.go_back(&format!("the thaw took longer than {ms} ms")))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(self.go_back("the thaw ended without a server"))
            }
        }
    }

    /// Executes the image before, with the same handover. Returns only where there is none, or it can't
    /// be executed.
    #[must_use]
    pub fn go_back(&self, reason: &str) -> String {
        if let Some(first) = &self.back {
            return format!("{reason}; before that, the next image failed: {first}");
        }
        let reason = one_line(reason);
        let said = said(self.memory, self.before, Some(&reason));
        let execution = Execution::new(self.before, own_arguments(), environment(&said));
        for number in [self.memory, self.before] {
            // They still are: nothing has changed the flag.
            _ = kernel::set_inheritance(number, kernel::Inheritance::Kept);
        }
        let error = execution.execute();
        format!("{reason}; and the image before can't be executed: {error}")
    }

    fn thaw_max(&self) -> Duration {
        if self.back.is_some() {
            // There is nobody else to go on: longer is better than never.
            return Duration::MAX;
        }
        // One that is damaged is refused by `work`.
        let handover = Handover::read(&self.bytes).ok();
        handover.map_or(Duration::from_millis(THAW_MS_MAX), |handover| {
            thaw_max(&handover)
        })
    }

    fn inherited(&self) -> MutexGuard<'_, Option<InheritedDescriptors>> {
        lock(&self.inherited)
    }
}

/// The way from the thread that thaws to the main one.
#[derive(Debug)]
pub struct ThawRelay {
    entered: Arc<Entered>,
    sender: Sender<Thawed>,
}

enum Thawed {
    Ready(Box<dyn FnOnce() + Send>),
    Failed(String),
}

impl std::fmt::Debug for Thawed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Thawed")
    }
}

impl ThawRelay {
    /// Returns what this image was handed.
    #[must_use]
    pub fn entered(&self) -> &Arc<Entered> {
        &self.entered
    }

    /// Runs `ready` on the main thread, which decides by that that nothing goes back, and waits for its
    /// end; `None` if the main thread has decided otherwise, and is about to execute the image before.
    pub fn run<T: Send + 'static>(self, ready: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, ended) = channel();
        let run = move || {
            // The thread that thaws waits for it.
            _ = sender.send(ready());
        };
        self.sender.send(Thawed::Ready(Box::new(run))).ok()?;
        ended.recv().ok()
    }
}

/// Makes what [`UPGRADE_VAR`] says.
pub(super) fn said(memory: RawFd, before: RawFd, back: Option<&str>) -> String {
    let pid = std::process::id();
    match back {
        Some(reason) => format!("{pid} {memory} {before} {reason}"),
        None => format!("{pid} {memory} {before}"),
    }
}

/// The arguments of this process, as others see them.
pub(super) fn own_arguments() -> Vec<CString> {
    std::env::args_os().filter_map(c_string).collect()
}

/// The environment of this process, with this in [`UPGRADE_VAR`].
pub(super) fn environment(said: &str) -> Vec<CString> {
    let variables = std::env::vars_os().filter(|(name, _)| name != UPGRADE_VAR);
    let said = (OsString::from(UPGRADE_VAR), OsString::from(said));
    variables
        .chain([said])
        .filter_map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            c_string(variable)
        })
        .collect()
}

/// No text of the system's has a zero byte.
fn c_string(text: OsString) -> Option<CString> {
    CString::new(text.into_vec()).ok()
}

fn one_line(reason: &str) -> String {
    let reason = reason.replace(char::is_control, " ");
    let end = reason.floor_char_boundary(REASON_SIZE_MAX);
    reason[..end].to_owned()
}
