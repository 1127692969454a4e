//! Sockets that a service manager has opened for this program: `LISTEN_FDS` of sd_listen_fds(3).

use std::net::TcpListener;

use anyhow::{Context, bail};
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

/// The variable with the number of the process that the sockets are for.
const PID_VAR: &str = "LISTEN_PID";
const COUNT_VAR: &str = "LISTEN_FDS";

/// Whether sockets were given to this very process.
#[must_use]
pub fn are_sockets_given() -> bool {
    let pid = std::env::var(PID_VAR).ok();
    pid.and_then(|pid| pid.parse().ok()) == Some(std::process::id())
        && std::env::var_os(COUNT_VAR).is_some()
}

/// Takes the sockets that were given to this process; none if they were given to another one, or to
/// nobody. To be called while there is one thread, since it takes the variables away.
///
/// # Errors
///
/// The sockets can't be listened on; the text says what to change in the unit.
pub fn given_sockets() -> anyhow::Result<Vec<TcpListener>> {
    if !are_sockets_given() {
        return Ok(Vec::new());
    }
    let count = std::env::var(COUNT_VAR).unwrap_or_default();
    if count.parse::<u16>().is_err() {
        bail!("{COUNT_VAR} is {count:?}, but has to be the number of sockets");
    }
    let mut given = ListenFd::from_env();
    let count = given.len();
    (0..count)
        .map(|number| judged(&mut given, number).with_context(|| which(number, count)))
        .collect()
}

fn judged(given: &mut ListenFd, number: usize) -> anyhow::Result<TcpListener> {
    let advice = "the .socket unit needs ListenStream= with a port, such as \
                  ListenStream=127.0.0.1:9502; no path, no ListenDatagram=";
    let socket = match given.take_tcp_listener(number) {
        Ok(Some(socket)) => socket,
        Ok(None) => bail!("it isn't there"),
        Err(_) => bail!("it is no TCP socket: {advice}"),
    };
    if !socket_acceptconn(&socket).context("can't ask it what it is")? {
        bail!("it doesn't listen: take Accept=yes out of the .socket unit");
    }
    Ok(socket)
}

fn which(number: usize, count: usize) -> String {
    format!("socket {} of {count} that LISTEN_FDS tells of", number + 1)
}
