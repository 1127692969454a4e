//! What the command line needs of a client: where a server is, a request by HTTP, a WebSocket of the
//! native protocol, and what becomes of a refusal or a Close.
//!
//! Nothing here knows the settings or prints; it only speaks plain HTTP and WebSocket.

mod address;
mod error;
mod frame;
mod http;
mod websocket;

pub use address::ServerAddress;
pub use error::ClientError;
pub use frame::{Frame, Unreadable};
pub use http::{get, post};
pub use websocket::Client;

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;
use std::{fmt, io};

/// Longest wait for a connection or an answer: a server that is alive needs milliseconds, and a
/// person at a terminal gives up soon.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Connects to a server, whose answers are waited for [`ANSWER_MAX`] each.
fn connect(server: &ServerAddress) -> Result<TcpStream, ClientError> {
    let unreachable = |source| ClientError::Unreachable {
        address: server.authority().to_owned(),
        source,
    };
    let addresses = server.authority().to_socket_addrs().map_err(unreachable)?;
    let mut failed = io::Error::other(NoAddress);
    for address in addresses {
        match TcpStream::connect_timeout(&address, ANSWER_MAX) {
            Ok(stream) => {
                let bounded = stream
                    .set_read_timeout(Some(ANSWER_MAX))
                    .and_then(|()| stream.set_write_timeout(Some(ANSWER_MAX)));
                return bounded.map(|()| stream).map_err(unreachable);
            }
            Err(error) => failed = error,
        }
    }
    Err(unreachable(failed))
}

/// A name that leads to no address.
#[derive(Debug)]
struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no address")
    }
}

impl std::error::Error for NoAddress {}
