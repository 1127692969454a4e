//! The service manager that is told how the program is: the protocol of sd_notify(3).
//!
//! A crate would do, but the one there is (sd-notify 0.5) doesn't know abstract sockets, which containers
//! use. A manager that doesn't read holds up nobody for longer than [`SEND_MAX`].

use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Longest wait for a manager whose queue is full.
const SEND_MAX: Duration = Duration::from_secs(1);

/// A service manager that wants to be told.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    socket: Arc<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The manager that the environment names. One that can't be reached is logged, and no reason not to
    /// start.
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        let name = std::env::var("NOTIFY_SOCKET").ok()?;
        match connected(&name) {
            Ok(socket) => Some(Self {
                socket: Arc::new(socket),
                watchdog: watchdog(),
            }),
            Err(error) => {
                tracing::warn!(name, %error, "can't tell the service manager of NOTIFY_SOCKET");
                None
            }
        }
    }

    /// Tells that the program serves.
    pub fn ready(&self, status: &str) {
        self.tell(&["READY=1", &status_line(status)]);
    }

    /// Tells that the settings are read anew; [`ServiceManager::ready`] has to follow.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&["RELOADING=1", &format!("MONOTONIC_USEC={usec}")]);
    }

    /// Tells that nothing will be heard of the program for `time`, which is longer than usual, if signs of
    /// life are waited for.
    pub fn stretch(&self, time: Duration) {
        if self.watchdog.is_some_and(|usual| usual < time) {
            self.tell(&[&format!("WATCHDOG_USEC={}", time.as_micros())]);
        }
    }

    /// Tells that signs of life come as usual again.
    pub fn relax(&self) {
        if let Some(usual) = self.watchdog {
            self.tell(&[
                "WATCHDOG=1",
                &format!("WATCHDOG_USEC={}", usual.as_micros()),
            ]);
        }
    }

    /// Tells that a stop has begun.
    pub fn stopping(&self) {
        self.tell(&["STOPPING=1", &status_line("stopping")]);
    }

    /// Tells that the program is alive.
    pub fn alive(&self) {
        self.tell(&["WATCHDOG=1"]);
    }

    /// The pause between two signs of life, if the manager waits for any: half of the time after which
    /// it takes the program for dead.
    #[must_use]
    pub fn watchdog_every(&self) -> Option<Duration> {
        let half = self.watchdog? / 2;
        Some(half.max(Duration::from_millis(1)))
    }

    fn tell(&self, lines: &[&str]) {
        let message = lines.iter().fold(String::new(), |mut message, line| {
            writeln!(message, "{line}").expect("a String takes every character");
            message
        });
        if let Err(error) = self.socket.send(message.as_bytes()) {
            tracing::warn!(%error, "can't tell the service manager: {}", lines.join(" "));
        }
    }
}

/// Makes the line of a status, in which there can be one line only.
fn status_line(status: &str) -> String {
    format!("STATUS={}", status.replace(char::is_control, " "))
}

fn connected(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
        None => {
            return Err(io::Error::other(
                "it takes an absolute path, or @ and a name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_MAX))?;
    Ok(socket)
}

/// The time without a sign of life after which the manager takes this process for dead.
fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let pid = std::env::var_os("WATCHDOG_PID").map(|_| number("WATCHDOG_PID"));
    let is_ours = pid.is_none_or(|pid| pid == Some(std::process::id().into()));
    let time = number("WATCHDOG_USEC").filter(|time| *time > 0);
    time.filter(|_| is_ours).map(Duration::from_micros)
}
