//! Signals that come while a server starts, and nobody is there yet whom they are for.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::low_level::unregister;
use tidings::base::sync::lock;

/// Keeps signals that are for a server from ending its start: SIGUSR1 and SIGUSR2 pass, since there is
/// nothing yet to renew, and SIGHUP is noted.
#[derive(Debug, Default)]
pub struct EarlySignals {
    has_hung_up: Arc<AtomicBool>,
    /// What notes SIGHUP, until that is looked at.
    noting: Mutex<Option<SigId>>,
}

impl EarlySignals {
    /// Begins to heed signals; SIGHUP only if `has_hangup`, since somebody may want it ignored.
    ///
    /// # Errors
    ///
    /// The system refuses it.
    pub fn heed(has_hangup: bool) -> io::Result<Self> {
        let this = Self::default();
        for signal in [SIGUSR1, SIGUSR2] {
            signal_hook::flag::register(signal, Arc::default())?;
        }
        if has_hangup {
            let flag = Arc::clone(&this.has_hung_up);
            *lock(&this.noting) = Some(signal_hook::flag::register(SIGHUP, flag)?);
        }
        Ok(this)
    }

    /// Whether SIGHUP has come so far; from now on whoever else heeds it does so alone.
    pub fn take_hangup(&self) -> bool {
        if let Some(noting) = lock(&self.noting).take() {
            unregister(noting);
        }
        self.has_hung_up.swap(false, Ordering::AcqRel)
    }
}
