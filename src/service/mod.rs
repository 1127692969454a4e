//! The program as a service of the system: started in the background or by a service manager, named by
//! a PID file, and at the terminal that it may have.

use std::io;
use std::net::TcpListener;

mod activation;
mod background;
mod early_signals;
mod manager;
mod pid_file;
mod terminal;

pub use activation::{are_sockets_given, given_sockets};
pub use background::{StartReport, detached, start_in_background};
pub use early_signals::EarlySignals;
pub use manager::ServiceManager;
pub use pid_file::PidFile;
pub use terminal::has_terminal;

/// What a server was started with, beside its settings.
#[derive(Debug, Default)]
pub struct ServiceStart {
    /// The way to whoever waits for the start.
    pub report: StartReport,
    /// Sockets that listen already, in place of the address of the settings.
    pub sockets: Vec<TcpListener>,
    /// The signals that have come so far.
    pub signals: EarlySignals,
}

impl ServiceStart {
    /// Lists the addresses of the sockets.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn addresses(&self) -> io::Result<Vec<String>> {
        let addresses = self.sockets.iter().map(TcpListener::local_addr);
        addresses.map(|address| Ok(address?.to_string())).collect()
    }
}
