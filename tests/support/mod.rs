//! What the test binaries share, each helper once: servers, clients, waiting, random numbers.
//!
//! Each binary includes the whole with `#[path]`, and uses a part of it.
#![allow(dead_code, reason = "each binary uses a part of it")]

pub mod alone;
#[cfg(feature = "cli")]
pub mod api;
#[cfg(feature = "cli")]
pub mod chat_client;
#[cfg(feature = "deflate")]
pub mod deflating_client;
#[cfg(feature = "cli")]
pub mod event_stream;
pub mod frame;
pub mod http;
pub mod installed;
#[cfg(feature = "cli")]
pub mod keys;
#[cfg(feature = "cli")]
pub mod ledger;
#[cfg(feature = "chat")]
pub mod nothing_else;
pub mod numbers;
#[cfg(feature = "cli")]
pub mod place;
pub mod port;
pub mod program;
pub mod proxy;
pub mod random;
#[cfg(feature = "cluster")]
pub mod redis_server;
#[cfg(feature = "cli")]
pub mod sender;
#[cfg(feature = "cluster")]
pub mod sentinel;
pub mod server;
pub mod signal;
pub mod stopwatch;
pub mod tls;
#[cfg(feature = "cli")]
pub mod unix;
pub mod wait;
pub mod websocket;

use serde_json::Value;

pub use wait::PATIENCE;

/// A number that a variable of the environment gives, where it is set.
pub fn number_in_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name} is {text:?}: {error}")))
}

/// The JSON that a text is.
#[track_caller]
pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
