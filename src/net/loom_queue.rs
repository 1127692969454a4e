//! A queue made of loom's mutex, in place of crossbeam's, whose steps loom can't interleave.

use std::collections::VecDeque;

use loom::sync::{Arc, Mutex, MutexGuard};

pub struct SendError<T>(pub T);

pub struct Sender<T>(Arc<Mutex<VecDeque<T>>>);

pub struct Receiver<T>(Arc<Mutex<VecDeque<T>>>);

pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Mutex::new(VecDeque::new()));
    (Sender(queue.clone()), Receiver(queue))
}

fn lock<T>(queue: &Mutex<VecDeque<T>>) -> MutexGuard<'_, VecDeque<T>> {
    queue
        .lock()
        .expect("nobody panics while pushing or popping")
}

impl<T> Sender<T> {
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        lock(&self.0).push_back(value);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Receiver<T> {
    pub fn try_recv(&self) -> Result<T, ()> {
        lock(&self.0).pop_front().ok_or(())
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}
