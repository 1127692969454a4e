//! What an upgrade asks of the kernel that no safe function gives: the only file with `unsafe`.
//!
//! An image hands descriptors to the next one as numbers, and a number has no owner. Three things
//! follow that the compiler can't check, and that each function here says for itself: a number is looked
//! at while it has no owner, it gets one once, and a program is executed in place of this one.

#![expect(
    unsafe_code,
    reason = "a descriptor made of its number, execve and pthread_sigmask have no safe form"
)]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{FileType, MemfdFlags, SealFlags};
use rustix::io::{Errno, FdFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

/// The signals that a server heeds. While one image follows the other they wait in the kernel.
const HEEDED: [i32; 5] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];

/// The name of the file in memory, as `/proc/PID/fd` shows it.
const MEMORY_NAME: &str = "tidings-handover";

/// Whether a program that is executed finds a descriptor open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inheritance {
    /// It does.
    Kept,
    /// The descriptor is closed then, as nearly every one is.
    Closed,
}

/// What a descriptor leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescriptorKind {
    /// A socket.
    Socket,
    /// A file, also one in memory.
    File,
    /// Something else, such as a pidfd.
    Other,
}

/// The descriptors that this program was executed with, and who owns them by now.
#[derive(Debug)]
pub struct InheritedDescriptors {
    /// Those without an owner.
    left: HashMap<RawFd, DescriptorKind>,
}

impl InheritedDescriptors {
    /// Looks whether these descriptors are open. To be called before this program opens any of its own,
    /// so that none of them can be another one's.
    ///
    /// # Errors
    ///
    /// One of them isn't open, leads to something else, or is named twice.
    pub fn at_the_start(
        named: impl IntoIterator<Item = (RawFd, DescriptorKind)>,
    ) -> io::Result<Self> {
        let mut left = HashMap::new();
        for (number, kind) in named {
            let found = kind_of(number)?;
            if found != kind {
                return Err(io::Error::other(format!(
                    "descriptor {number} is a {found:?}, and not a {kind:?}"
                )));
            }
            if left.insert(number, kind).is_some() {
                return Err(io::Error::other(format!(
                    "descriptor {number} is handed over twice"
                )));
            }
        }
        Ok(Self { left })
    }

    /// Looks at a descriptor without becoming its owner.
    ///
    /// # Errors
    ///
    /// This program wasn't executed with it, or it leads to something else.
    pub fn check(&self, number: RawFd, kind: DescriptorKind) -> io::Result<()> {
        match self.left.get(&number) {
            Some(found) if *found == kind => Ok(()),
            found => Err(io::Error::other(format!(
                "descriptor {number} was handed over as {found:?}, and not as a {kind:?}"
            ))),
        }
    }

    /// Becomes the owner of a descriptor, which is closed by the next `execve`; `None` if this program
    /// wasn't executed with it, or has made it somebody's already.
    pub fn adopt(&mut self, number: RawFd) -> Option<OwnedFd> {
        self.left.remove(&number)?;
        // SAFETY: the number was open before this program opened anything, so nothing of ours owns it,
        // and it has left the table, so that it is given away once.
        let owned = unsafe { OwnedFd::from_raw_fd(number) };
        // A flag of an open descriptor can always be set.
        _ = rustix::io::fcntl_setfd(&owned, FdFlags::CLOEXEC);
        Some(owned)
    }

    /// Has no program that this one starts find those without an owner.
    pub fn close_on_execution(&self) {
        for number in self.left.keys() {
            // A flag of an open descriptor can always be set.
            _ = set_inheritance(*number, Inheritance::Closed);
        }
    }
}

/// Borrows a descriptor by its number, for one call.
fn borrow<T>(number: RawFd, call: impl FnOnce(BorrowedFd<'_>) -> T) -> io::Result<T> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: only `-1` is no descriptor at all. One that isn't open makes `call` fail with EBADF, and
    // none of the calls here closes the descriptor or keeps it beyond the call.
    Ok(call(unsafe { BorrowedFd::borrow_raw(number) }))
}

/// Says what a descriptor leads to.
///
/// # Errors
///
/// There is no such descriptor.
pub fn kind_of(number: RawFd) -> io::Result<DescriptorKind> {
    let found = borrow(number, |descriptor| rustix::fs::fstat(descriptor))??;
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::Socket => DescriptorKind::Socket,
        FileType::RegularFile => DescriptorKind::File,
        _ => DescriptorKind::Other,
    })
}

/// Has a descriptor outlive the execution of another program, or not.
///
/// # Errors
///
/// There is no such descriptor.
pub fn set_inheritance(number: RawFd, inheritance: Inheritance) -> io::Result<()> {
    let flags = match inheritance {
        Inheritance::Kept => FdFlags::empty(),
        Inheritance::Closed => FdFlags::CLOEXEC,
    };
    Ok(borrow(number, |descriptor| {
        rustix::io::fcntl_setfd(descriptor, flags)
    })??)
}

/// Makes a second descriptor of what a number leads to: whoever owns that one can close it without a
/// loss.
///
/// # Errors
///
/// There is no such descriptor, or there are too many.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    Ok(borrow(number, |descriptor| {
        rustix::io::fcntl_dupfd_cloexec(descriptor, 3)
    })??)
}

/// Puts bytes into a file in memory that nobody can change any more.
///
/// # Errors
///
/// The system gives no memory.
pub fn sealed_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Some systems forbid a file without the second flag, and older ones don't know it.
    let file = match rustix::fs::memfd_create(MEMORY_NAME, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(MEMORY_NAME, flags)?,
        made => made?,
    };
    let mut file = fs::File::from(file);
    file.write_all(bytes)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// Whether a descriptor leads to bytes that nobody can change any more.
pub fn is_sealed(file: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

/// Whether this program holds signals back on all threads but the main one, as one does that can be
/// replaced: a signal that another thread has begun to handle would end with that thread.
static HOLDS_SIGNALS: AtomicBool = AtomicBool::new(false);

/// Holds back, on this thread and on those that it starts, the signals that a server heeds; they wait.
/// Programs that these threads start inherit that.
pub fn hold_signals() {
    HOLDS_SIGNALS.store(true, Relaxed);
    change_mask(libc::SIG_BLOCK);
}

/// Whether [`hold_signals`] was ever called.
pub fn holds_signals() -> bool {
    HOLDS_SIGNALS.load(Relaxed)
}

/// Holds signals back on a thread that the main one has started, if this program does so.
pub fn hold_as_others_do() {
    if holds_signals() {
        change_mask(libc::SIG_BLOCK);
    }
}

/// Lets this thread have the signals that waited, and those that come.
pub fn heed_signals() {
    change_mask(libc::SIG_UNBLOCK);
}

/// Does something with signals heeded on this thread, which holds them back otherwise. Threads that are
/// started meanwhile hold none back, but programs are started as they should be.
pub fn heeding_signals<T>(work: impl FnOnce() -> T) -> T {
    if !holds_signals() {
        return work();
    }
    heed_signals();
    let done = work();
    hold_signals();
    done
}

fn change_mask(how: i32) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` makes the set that the others take, all pointers are of this function, and
    // the numbers are those of signals, so that no call fails.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in HEEDED {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Finds a thread that waits in the kernel for what nothing interrupts, such as a disk of another machine:
/// `execve` waits until it has ended, and can't be taken back meanwhile.
pub fn uninterruptible_thread() -> Option<String> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    threads.flatten().find_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        // `<number> (<name>) <state> ...`, and a name may hold anything.
        let (name, rest) = stat.rsplit_once(") ")?;
        let (_, name) = name.split_once('(')?;
        rest.starts_with('D').then(|| name.to_owned())
    })
}

/// What is executed, made ready before anything stands still: nothing is allocated on the way.
#[derive(Debug)]
pub struct Execution {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Execution {
    /// Makes ready the execution of the file that a descriptor leads to, whatever its name is by now.
    #[must_use]
    pub fn new(image: RawFd, arguments: Vec<CString>, environment: Vec<CString>) -> Self {
        let path = format!("/proc/self/fd/{image}");
        Self {
            path: CString::new(path).expect("a number has no zero byte"),
            arguments,
            environment,
        }
    }

    /// Executes the file in place of this program, and returns only if the system refuses to. To be
    /// called on the main thread: the processes that were started by any other one are killed.
    ///
    /// Unlike `Command::exec` it leaves SIGPIPE alone, which would stay at its default after a failure,
    /// so that the next write to a peer that has gone ended the server.
    #[must_use]
    pub fn execute(&self) -> io::Error {
        let arguments = pointers(&self.arguments);
        let environment = pointers(&self.environment);
        // SAFETY: each list ends with a null pointer, and every pointer leads to a string of `self`,
        // which lives until the call returns.
        unsafe {
            libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        }
        io::Error::last_os_error()
    }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let texts = texts.iter().map(|text| CStr::as_ptr(text));
    texts.chain([std::ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_gets_one_owner() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let number = duplicate(ours.as_raw_fd()).unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(number);
        let named = |kind| InheritedDescriptors::at_the_start([(number, kind)]);
        let wrong = named(DescriptorKind::File).unwrap_err();
        assert!(wrong.to_string().contains("is a Socket"), "{wrong}");
        let twice = [(number, DescriptorKind::Socket); 2];
        InheritedDescriptors::at_the_start(twice).unwrap_err();
        let mut inherited = named(DescriptorKind::Socket).unwrap();
        inherited.check(number, DescriptorKind::Socket).unwrap();
        inherited.check(number, DescriptorKind::File).unwrap_err();
        drop(inherited.adopt(number).unwrap());
        assert!(inherited.adopt(number).is_none());
        assert!(inherited.check(number, DescriptorKind::Socket).is_err());
        assert!(inherited.adopt(1 << 20).is_none());
    }

    /// Starts a program which opens a file at first; the thread waits until that is open, as after a
    /// `vfork`, and nothing interrupts it.
    fn start_behind(path: &CStr) -> libc::pid_t {
        let mut actions = MaybeUninit::uninit();
        let (mut pid, arguments) = (0, [c"true".as_ptr().cast_mut(), std::ptr::null_mut()]);
        // SAFETY: `init` makes the actions that the others take, all pointers are of this function or of
        // its caller, and the lists end with a null pointer.
        unsafe {
            libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
            let path = path.as_ptr();
            libc::posix_spawn_file_actions_addopen(
                actions.as_mut_ptr(),
                0,
                path,
                libc::O_RDONLY,
                0,
            );
            let (program, environment) = (c"/bin/true".as_ptr(), arguments[1..].as_ptr());
            let failed = libc::posix_spawn(
                &raw mut pid,
                program,
                actions.as_ptr(),
                std::ptr::null(),
                arguments.as_ptr(),
                environment,
            );
            assert_eq!(failed, 0);
            libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
        }
        pid
    }

    #[test]
    fn a_thread_that_nothing_interrupts_is_named_as_long_as_it_is_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
        let name = CString::new(path.to_str().unwrap()).unwrap();
        let thread = std::thread::Builder::new().name("waits (D) so".into());
        let thread = thread.spawn(move || start_behind(&name)).unwrap();
        let wait_for = |is_named: bool| {
            let began = std::time::Instant::now();
            let named = || uninterruptible_thread().as_deref() == Some("waits (D) so");
            while named() != is_named {
                assert!(began.elapsed().as_secs() < 30, "{is_named}");
                std::thread::yield_now();
            }
        };
        wait_for(true);
        drop(fs::File::options().write(true).open(&path).unwrap());
        let child = rustix::process::Pid::from_raw(thread.join().unwrap()).unwrap();
        rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).unwrap();
        wait_for(false);
    }

    #[test]
    fn sealed_bytes_are_read_and_never_changed() {
        let memory = sealed_memory(b"as they are").unwrap();
        assert!(is_sealed(&memory));
        assert_eq!(rustix::io::pwrite(&memory, b"X", 0), Err(Errno::PERM));
        let mut bytes = [0; 16];
        let size = rustix::io::pread(&memory, &mut bytes, 0).unwrap();
        assert_eq!(&bytes[..size], b"as they are");
        assert!(!is_sealed(std::fs::File::open("/dev/null").unwrap()));
    }

    #[test]
    fn a_file_that_cant_be_executed_leaves_the_program_as_it_was() {
        let file = tempfile::tempfile().unwrap();
        let execution = Execution::new(file.as_raw_fd(), vec![c"x".into()], Vec::new());
        let error = execution.execute();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
