//! The commands that are being carried out, and what waits for their end.
//!
//! A kick takes effect between two commands of its connection. One that runs at that moment, on
//! another thread, goes on to its end; an answer that promises that nothing more is taken is sent
//! after it. No thread waits for another: the one that ends such a command sends the answer.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use crate::base::Fd;
use crate::base::sync::lock;
use crate::server::{Handle, WorkerHandle};

/// No connection has this name.
const NOBODY: u64 = 0;

/// The connection of which one thread carries out a command, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Running(AtomicU64);

/// What is done once the last command that it waits for has ended.
struct AtTheEnd(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        if let Some(then) = lock(&self.0).take() {
            then();
        }
    }
}

/// The commands of all threads that are being carried out.
#[derive(Default)]
pub(super) struct RunningCommands {
    /// By the number of the thread.
    threads: OnceLock<Box<[Running]>>,
    /// How many wait. Nearly always none, and each command looks.
    count: AtomicUsize,
    waiting: Mutex<Vec<(Fd, Arc<AtTheEnd>)>>,
}

impl RunningCommands {
    /// Notes how many threads carry out commands; before it no command runs.
    pub(super) fn start(&self, server: &Handle) {
        let threads = 0..server.callback_threads();
        self.threads
            .get_or_init(|| threads.map(|_| Running::default()).collect());
    }

    /// Notes that this thread carries out what a connection has sent, until the guard is dropped.
    pub(super) fn begin(&self, server: &WorkerHandle, fd: Fd) -> RunningGuard<'_> {
        let running = self.of(server.thread_of_callback(fd));
        if let Some(running) = running {
            running.0.store(fd.0, SeqCst);
        }
        RunningGuard {
            commands: self,
            running,
            fd,
        }
    }

    /// Whether no command is being carried out, and nothing waits for one.
    pub(super) fn are_none(&self) -> bool {
        let mut threads = self.threads.get().into_iter().flatten();
        let is_idle = threads.all(|running| running.0.load(SeqCst) == NOBODY);
        is_idle && lock(&self.waiting).is_empty()
    }

    /// Whether a command of a connection is being carried out.
    pub(super) fn contains(&self, server: Option<&Handle>, fd: Fd) -> bool {
        let threads = server.map(|server| [fd.reactor(), server.callback_thread_of(fd)]);
        let mut running = threads.into_iter().flatten().filter_map(|at| self.of(at));
        running.any(|running| running.0.load(SeqCst) == fd.0)
    }

    /// Calls `then` after the commands of these connections that are being carried out now.
    pub(super) fn after(
        &self,
        server: Option<&Handle>,
        fds: &[Fd],
        then: impl FnOnce() + Send + 'static,
    ) {
        let then = Arc::new(AtTheEnd(Mutex::new(Some(Box::new(then)))));
        for fd in fds {
            let mut waiting = lock(&self.waiting);
            // Before the look at the thread, whose look at the count comes after its end: one of
            // the two sees the other.
            self.count.store(waiting.len() + 1, SeqCst);
            if self.contains(server, *fd) {
                waiting.push((*fd, Arc::clone(&then)));
            }
            self.count.store(waiting.len(), SeqCst);
        }
    }

    fn of(&self, thread: usize) -> Option<&Running> {
        self.threads.get()?.get(thread)
    }

    fn ended(&self, fd: Fd) {
        if self.count.load(SeqCst) == 0 {
            return;
        }
        let mut waiting = lock(&self.waiting);
        let ended: Vec<_> = waiting.extract_if(.., |(of, _)| *of == fd).collect();
        self.count.store(waiting.len(), SeqCst);
        drop(waiting);
        drop(ended);
    }
}

/// A command that is being carried out.
pub(in crate::endpoint) struct RunningGuard<'a> {
    commands: &'a RunningCommands,
    running: Option<&'a Running>,
    fd: Fd,
}

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.running {
            running.0.store(NOBODY, SeqCst);
            self.commands.ended(self.fd);
        }
    }
}
