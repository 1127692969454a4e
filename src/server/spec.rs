//! The specification of a server, which the builder collects and the lifecycle starts.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use super::freeze::Freezes;
use super::handler_set::HandlersFactory;
use super::handlers::Handlers;
use super::process::{Process, ProcessLaunch};
use super::settings::ServerSettings;
use super::upgrade::{Entered, ThawedProgram, UpgradableProgram};
use crate::base::Pressure;
use crate::base::serial_blocks::SerialBlocks;
use crate::net::reactor::{EventName, Gate};
use crate::net::{ListenAddress, TlsCertificates};
use crate::proto::connection::Verdict;

/// The mode of Unix sockets where nothing else is said: owner and group.
pub(super) const UNIX_MODE: u32 = 0o660;

/// The function that runs in a process of the server; the process ends when it returns.
pub(super) type ProcessEntry = Box<dyn FnOnce(Process) -> io::Result<()> + Send>;

/// A server before its start.
pub(super) struct ServerSpec {
    pub(super) addresses: Vec<ListenAddress>,
    /// The addresses on which TLS is spoken, and what it goes by.
    pub(super) tls_addresses: Vec<ListenAddress>,
    pub(super) certificates: Option<Arc<TlsCertificates>>,
    /// Whether an image that was entered keeps what the one before listened on.
    pub(super) keeps_listeners: bool,
    /// Who may connect to Unix sockets, as the mode of a file says it.
    pub(super) unix_mode: u32,
    /// Sockets that listen already.
    pub(super) sockets: Vec<TcpListener>,
    pub(super) reactors: usize,
    pub(super) workers: usize,
    pub(super) settings: ServerSettings,
    pub(super) gate: Arc<Gate>,
    pub(super) event_name: Arc<EventName>,
    pub(super) handlers: Handlers,
    /// Makes the callbacks that a renewal of the workers makes anew.
    pub(super) factory: Option<HandlersFactory>,
    pub(super) processes: Vec<(String, ProcessEntry)>,
    pub(super) process_launch: ProcessLaunch,
    /// Pressures of the user's own queues; while one is high, no reactor reads.
    pub(super) pressures: Vec<Arc<Pressure>>,
    pub(super) serials_from: u64,
    pub(super) serial_blocks: Option<Arc<SerialBlocks>>,
    /// What an image of the program before this one has handed over.
    pub(super) entered: Option<Arc<Entered>>,
    /// What was handed over of the program itself.
    pub(super) thawed: Option<ThawedProgram>,
    /// How the program can be upgraded.
    pub(super) upgradable: UpgradableProgram,
    /// The parts of the program that rest in a freeze, in the order in which they do.
    pub(super) parts: Vec<Arc<dyn Freezes>>,
}

impl ServerSpec {
    /// The reason for which the program can't be upgraded.
    pub(super) fn refuses_upgrades(&self) -> Option<&'static str> {
        if self.upgradable.version.is_none() {
            return Some(
                "Builder::upgradable wasn't called, so that it would forget what its callbacks know",
            );
        }
        if !self.sockets.is_empty() {
            return Some("it has a socket of Builder::listener, which can't be carried");
        }
        None
    }
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            tls_addresses: Vec::new(),
            certificates: None,
            keeps_listeners: false,
            unix_mode: UNIX_MODE,
            sockets: Vec::new(),
            reactors: 1,
            workers: 1,
            settings: ServerSettings::default(),
            gate: Arc::new(|_, _| Verdict::Pass),
            event_name: Arc::new(|_| None),
            handlers: Handlers::default(),
            factory: None,
            processes: Vec::new(),
            process_launch: ProcessLaunch::default(),
            pressures: Vec::new(),
            serials_from: 0,
            serial_blocks: None,
            entered: None,
            thawed: None,
            upgradable: UpgradableProgram::default(),
            parts: Vec::new(),
        }
    }
}
