//! The gate through which calls of foreign threads come: closed while all stands still.
//!
//! Threads that rest in a freeze pass it by. A call waits outside of the closed gate rather than being
//! accepted and lost.

use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::base::rest::{take_no_part, take_part, takes_part};
use crate::base::sync::{lock, read, write};

/// A gate for calls.
#[derive(Debug, Default)]
pub(in crate::server) struct CallGate {
    is_closed: RwLock<bool>,
    outside: Mutex<()>,
    opened: Condvar,
}

/// A call of a foreign thread that is under way.
pub(in crate::server) struct CallPass<'a> {
    _inside: RwLockReadGuard<'a, bool>,
    /// The mark that [`Drop`] takes off is this thread's.
    _stays: PhantomData<*const ()>,
}

impl CallGate {
    /// Lets a call in; waits while the gate is closed. `None` for a thread that needs no pass, also
    /// since it has one.
    pub(in crate::server) fn enter(&self) -> Option<CallPass<'_>> {
        if takes_part() {
            return None;
        }
        loop {
            let inside = read(&self.is_closed);
            if !*inside {
                // A call inside of this one shall not wait behind whoever waits for this one.
                take_part();
                return Some(CallPass {
                    _inside: inside,
                    _stays: PhantomData,
                });
            }
            drop(inside);
            self.wait();
        }
    }

    /// Closes the gate, once the calls that are under way have returned.
    pub(in crate::server) fn close(&self) {
        *write(&self.is_closed) = true;
    }

    /// Opens the gate.
    pub(in crate::server) fn open(&self) {
        *write(&self.is_closed) = false;
        // Whoever has seen the gate closed waits already.
        drop(lock(&self.outside));
        self.opened.notify_all();
    }

    fn wait(&self) {
        let mut outside = lock(&self.outside);
        while *read(&self.is_closed) {
            let waited = self.opened.wait(outside);
            // Nobody panics under this lock.
            outside = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for CallPass<'_> {
    fn drop(&mut self) {
        take_no_part();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_closed_gate_holds_foreign_threads_and_nobody_else() {
        let gate = Arc::new(CallGate::default());
        gate.close();
        let (tell, told) = channel();
        let threads = [false, true].map(|is_own| {
            let (gate, tell) = (Arc::clone(&gate), tell.clone());
            thread::spawn(move || {
                if is_own {
                    take_part();
                }
                let pass = gate.enter();
                assert_eq!(pass.is_none(), is_own);
                assert!(gate.enter().is_none(), "it is inside");
                drop(pass);
                assert_eq!(takes_part(), is_own);
                tell.send(is_own).unwrap();
            })
        });
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true));
        assert!(told.try_recv().is_err());
        gate.open();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(false));
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_gate_is_closed_once_the_calls_under_way_have_returned() {
        let gate = Arc::new(CallGate::default());
        let (tell, told) = channel();
        let (leave, left) = channel();
        let caller = {
            let (gate, tell) = (Arc::clone(&gate), tell.clone());
            thread::spawn(move || {
                let pass = gate.enter();
                tell.send("inside").unwrap();
                left.recv().unwrap();
                tell.send("leaves").unwrap();
                drop(pass);
            })
        };
        assert_eq!(told.recv_timeout(PATIENCE), Ok("inside"));
        let theirs = Arc::clone(&gate);
        let closer = thread::spawn(move || {
            theirs.close();
            tell.send("closed").unwrap();
        });
        leave.send(()).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok("leaves"));
        assert_eq!(told.recv_timeout(PATIENCE), Ok("closed"));
        caller.join().unwrap();
        closer.join().unwrap();
    }
}
