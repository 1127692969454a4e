//! Why a server can't start.

use std::io;
use std::net::SocketAddr;

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No address to listen on was given.
    #[error("nothing to listen on: give an address, such as 127.0.0.1:9502")]
    NoAddress,
    /// That is no address, or its name isn't known.
    #[error("{address:?} is no address to listen on")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The system doesn't let us listen there.
    #[error("can't listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A number is out of its bounds.
    #[error("{name} is {value}, but has to be between {min} and {max}")]
    OutOfBounds {
        /// What the number is called.
        name: &'static str,
        /// What was given.
        value: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// This process was started as one that the server doesn't have.
    #[error("there is no process {0:?} in this server")]
    UnknownProcess(String),
    /// The system refused something else.
    #[error("can't {what}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl ServerError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
