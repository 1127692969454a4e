//! Connections to the server under load, and how one clients to it.

pub(crate) mod ack;
pub(crate) mod acked_publisher;
pub(crate) mod byte_acks;
pub(crate) mod dialect;
pub(crate) mod echo;
pub(crate) mod http;
pub(crate) mod idle;
pub(crate) mod load_client;
pub(crate) mod marker;
#[cfg(not(feature = "tls"))]
mod no_security;
pub(crate) mod opener;
pub(crate) mod opening;
pub(crate) mod pending;
pub(crate) mod publisher;
#[cfg(feature = "tls")]
mod security;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod source_addresses;
pub(crate) mod subscriber;
pub(crate) mod target;
pub(crate) mod template;

#[cfg(not(feature = "tls"))]
pub(crate) use no_security::{NoSecurity as Security, NoSession as Session, NoTrust as Trust};
#[cfg(feature = "tls")]
pub(crate) use security::{Security, Session, Trust};
