//! The command line, as somebody at a terminal meets it.

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
