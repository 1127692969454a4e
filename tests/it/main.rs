//! Integration tests, a folder for each promise; one binary, since each would link the library anew.
//!
//! They run as threads of one process, side by side: a test here has servers and clients of its own,
//! on ports that the system chooses, and neither measures nor changes the process. What has to
//! be alone in its process starts this binary once more (`support::alone`). What has to be alone on the
//! machine, or needs more than Cargo to run, is a binary of its own and says why.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "cli")]
mod chat;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod cluster;
mod connection;
#[cfg(all(feature = "cli", debug_assertions))]
mod deaths;
#[cfg(feature = "cli")]
mod durable;
#[cfg(feature = "cli")]
mod examples;
#[cfg(feature = "cli")]
mod gateway;
mod handover;
mod http;
#[cfg(feature = "chat")]
mod links;
#[cfg(feature = "cli")]
mod native;
#[cfg(feature = "cli")]
mod node;
#[cfg(feature = "cli")]
mod protocol_page;
mod server;
#[cfg(feature = "cli")]
mod service;
#[cfg(feature = "cli")]
mod signals;
#[cfg(feature = "cli")]
mod stop;
#[cfg(all(feature = "cli", feature = "tls"))]
mod tls;
#[cfg(all(feature = "cli", debug_assertions))]
mod upgrade;
mod websocket;
