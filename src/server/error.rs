//! The errors of a server's start.

use std::io;

use super::handler_set::BoxError;
use crate::net::ListenAddress;

/// The reason why a server can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No address to listen on was given.
    #[error("nothing to listen on: give an address, such as 127.0.0.1:9502")]
    NoAddress,
    /// The text is no address, or its host name isn't known.
    #[error("{address:?} is no address to listen on")]
    Address {
        /// The text that was given.
        address: String,
        /// The error of the look-up.
        source: io::Error,
    },
    /// The system doesn't let the server listen on the address.
    #[error("can't listen on {address}")]
    Listen {
        /// The address, whose port may be 0.
        address: ListenAddress,
        /// The system's error.
        source: io::Error,
    },
    /// A number is out of its bounds.
    #[error("{name} is {value}, but has to be between {min} and {max}")]
    OutOfBounds {
        /// The name of the number.
        name: &'static str,
        /// The number that was given.
        value: usize,
        /// The lower bound of the number.
        min: usize,
        /// The upper bound of the number.
        max: usize,
    },
    /// This process was started under a name that the server has no process for.
    #[error("there is no process {0:?} in this server")]
    UnknownProcess(String),
    /// The server was ready too late: the image of the program before this one goes on.
    #[doc(hidden)]
    #[error("the server was ready too late")]
    TooLate,
    /// The program was executed in place of an image that ran before, and can go neither on nor back.
    #[error("the upgrade failed: {0}")]
    Upgrade(String),
    /// The function of [`Builder::handlers`](super::Builder::handlers) failed.
    #[error("the callbacks can't be made")]
    Handlers(#[source] BoxError),
    /// The system refused something else that the start needs.
    #[error("can't {what}")]
    System {
        /// The step that failed, as a verb phrase.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl ServerError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
