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
pub(crate) mod opener;
pub(crate) mod opening;
pub(crate) mod pending;
pub(crate) mod publisher;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod source_addresses;
pub(crate) mod subscriber;
pub(crate) mod target;
pub(crate) mod template;
