//! The suites over TLS: with `TIDINGS_TEST_TLS=1` a server of TLS stands before each server, and
//! whoever would speak to the server speaks to that one.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::authority::{Authority, Identity};
use super::terminator::Terminator;

/// What stands for TLS in this process, for as long as it runs.
struct Everywhere {
    authority: Authority,
    identity: Identity,
    /// By the address of the server behind.
    terminators: Mutex<HashMap<SocketAddr, Terminator>>,
    /// Who hands on TLS as it comes.
    carriers: Mutex<HashSet<SocketAddr>>,
}

static EVERYWHERE: LazyLock<Option<Everywhere>> = LazyLock::new(|| {
    let is_on = std::env::var("TIDINGS_TEST_TLS").is_ok_and(|value| value == "1");
    is_on.then(|| {
        let authority = Authority::new();
        Everywhere {
            identity: authority.certify(&["127.0.0.1"]),
            authority,
            terminators: Mutex::default(),
            carriers: Mutex::default(),
        }
    })
});

/// Whether the suites go over TLS.
pub fn is_on() -> bool {
    EVERYWHERE.is_some()
}

/// The file with the authority that signs for all servers.
pub fn ca_file() -> Option<&'static str> {
    EVERYWHERE.as_ref().map(|all| all.authority.file_name())
}

/// Where to speak to a server: at its own address, or at that of TLS before it.
pub fn before(server: SocketAddr) -> SocketAddr {
    let Some(all) = EVERYWHERE.as_ref() else {
        return server;
    };
    let carriers = all.carriers.lock().unwrap_or_else(PoisonError::into_inner);
    if carriers.contains(&server) {
        return server;
    }
    let mut terminators = (all.terminators.lock()).unwrap_or_else(PoisonError::into_inner);
    let terminator = terminators
        .entry(server)
        .or_insert_with(|| Terminator::start(&all.identity, server));
    terminator.address
}

/// Notes that what comes to this address is handed on to TLS.
pub fn carries(address: SocketAddr) {
    if let Some(all) = EVERYWHERE.as_ref() {
        let mut carriers = all.carriers.lock().unwrap_or_else(PoisonError::into_inner);
        carriers.insert(address);
    }
}

/// The address of a WebSocket at a server.
pub fn websocket_url(server: SocketAddr, path: &str) -> String {
    let scheme = if is_on() { "wss" } else { "ws" };
    format!("{scheme}://{}{path}", before(server))
}
