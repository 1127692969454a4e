//! The helper thread of a journal: syncs and removals that nobody who stores a message waits for.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::files::StoreFile;

type Work = Box<dyn FnOnce() + Send>;

/// Runs work in order, one piece after the other: on a thread of its own where the file system is
/// the system's, and at once where a test has to know what happens when.
///
/// The queue holds what one rollover needs: a sync, the names of the files that it removes, and the
/// identity. The thread ends, with all work done, when this value is dropped.
#[derive(Debug)]
pub(super) struct Aside {
    is_threaded: bool,
    thread: Option<(Sender<Work>, JoinHandle<()>)>,
}

impl Aside {
    /// Makes a helper whose thread begins with its first work.
    pub(super) fn new(is_threaded: bool) -> Self {
        Self {
            is_threaded,
            thread: None,
        }
    }

    /// Runs `work` behind what was given before.
    pub(super) fn run(&mut self, work: impl FnOnce() + Send + 'static) {
        if !self.is_threaded {
            return work();
        }
        if self.thread.is_none() {
            self.thread = start();
        }
        match &self.thread {
            Some((queue, _)) => {
                if let Err(unsent) = queue.send(Box::new(work)) {
                    (unsent.0)();
                }
            }
            // Without a thread the work takes its time here.
            None => work(),
        }
    }

    /// Waits until all work that was given is done.
    pub(super) fn wait(&mut self) {
        if self.thread.is_some() {
            let (tell, told) = bounded(1);
            self.run(move || _ = tell.send(()));
            _ = told.recv();
        }
    }

    /// Makes what was written to a file durable; the outcome comes through the channel.
    pub(super) fn sync(&mut self, file: Arc<dyn StoreFile>) -> Receiver<io::Result<()>> {
        let (tell, told) = bounded(1);
        self.run(move || _ = tell.send(file.sync_data()));
        told
    }
}

fn start() -> Option<(Sender<Work>, JoinHandle<()>)> {
    let (queue, waiting) = unbounded::<Work>();
    let run = move || waiting.into_iter().for_each(|work| work());
    let thread = Builder::new().name("disk-aside".into()).spawn(run).ok()?;
    Some((queue, thread))
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some((queue, thread)) = self.thread.take() {
            drop(queue);
            // A panic of the work has said so already.
            _ = thread.join();
        }
    }
}
