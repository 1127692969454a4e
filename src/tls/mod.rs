//! TLS of connections that this program makes: the gateway's links, and those of the command line.
//!
//! rustls does all of TLS, with aws-lc-rs as the one provider of cryptography; here is what fits it to
//! the sockets and to the words of the settings. A [`TlsDialer`] is made of a [`TlsTrust`], and begins one
//! [`TlsStream`] a socket; [`ClientStream`] is a stream that may or may not be encrypted. Without the
//! feature `tls` no crate of TLS is compiled, and a dialer says so instead of being made.
//!
//! Invariants:
//! - Nothing is sent before the certificate of the other side is verified, and its name with it.
//! - No key and no secret is ever written anywhere: `SSLKEYLOGFILE` isn't looked at.
//! - What rustls holds of bytes to be sent is bounded: a stream takes nothing while some wait.

mod client_stream;
#[cfg(feature = "tls")]
mod dialer;
mod error;
#[cfg(feature = "tls")]
mod failure;
#[cfg(not(feature = "tls"))]
mod no_dialer;
#[cfg(feature = "tls")]
mod stream;
mod trust;

pub use client_stream::ClientStream;
#[cfg(feature = "tls")]
pub use dialer::TlsDialer;
pub use error::TlsError;
#[cfg(not(feature = "tls"))]
pub use no_dialer::{NoTlsDialer as TlsDialer, NoTlsStream as TlsStream};
#[cfg(feature = "tls")]
pub use stream::TlsStream;
pub use trust::TlsTrust;

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests;
