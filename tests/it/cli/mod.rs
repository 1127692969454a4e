//! The command line, as somebody at a terminal meets it.

#[cfg(feature = "tls")]
mod bench;
mod client;
mod cluster;
mod config;
mod output;
mod secrets;
mod settings_tables;
mod start;
mod store;
#[cfg(feature = "tls")]
mod tls;
