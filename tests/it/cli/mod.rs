//! The command line, as somebody at a terminal meets it.

mod client;
mod config;
mod output;
mod store;
