//! A server for live updates and chat: HTTP and WebSocket on one port, in the words of Swoole.
//!
//! Reactor threads own the sockets, workers run your callbacks, processes take the work that lasts.
//! A server begins with [`server::Server::builder`]:
//!
//! ```
//! use tidings::server::{Server, ServerError};
//!
//! # fn main() -> Result<(), ServerError> {
//! let server = Server::builder()
//!     .listen("127.0.0.1:0")
//!     .on_message(|server, frame| {
//!         // Ok means that the connection is there, not that the message has arrived.
//!         let _ = server.push(frame.fd, frame);
//!     })
//!     .on_request(|server, request, responder| {
//!         server.broadcast(request.path());
//!         responder.end("sent to everybody\n");
//!     })
//!     .start()?; // `run()` instead runs until SIGTERM or SIGINT
//! println!("listening on {}", server.handle().addresses()[0]);
//! assert!(server.stop().is_some_and(|outcome| outcome.is_clean()));
//! # Ok(())
//! # }
//! ```
//!
//! What is documented here is what a program may rely on: the module [`server`], shown by the
//! examples of the repository. The other modules are public for the `tidings` binary and the
//! tests of this repository; they are hidden, and change without notice. How the inside fits
//! together stands in [`architecture`].
//!
//! # Features
//!
//! | feature | what it adds | default |
//! |---|---|---|
//! | none | the server of this page: 56 crates, this one included | |
//! | `store` | the journal on disk | with `chat` |
//! | `chat` | users, rooms, channels, presence, and what clients speak; no public face yet | yes |
//! | `cluster` | tables of who is where in Redis | yes |
//! | `mysql` | the same tables in MySQL or MariaDB | yes |
//! | `deflate` | permessage-deflate: messages go compressed to and from WebSockets that offer it | yes |
//! | `tls` | `wss://` and `https://`, for those who are reached by it | yes |
//! | `cli` | the `tidings` binary: daemon, gateway, command line, load generator | yes |
//!
//! A program that uses the library alone says `default-features = false`. Linux 5.4 or newer.

// Here and not in Cargo.toml, since the tests, the benches and the examples may do otherwise.
#![warn(unreachable_pub, unnameable_types)]
#![warn(clippy::unwrap_used, clippy::dbg_macro, clippy::todo)]
#![warn(clippy::print_stdout, clippy::print_stderr)]
// A library doesn't print: what it has to say goes through `tracing`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

#[cfg(feature = "chat")]
#[doc(hidden)]
pub mod api;
pub mod architecture;
#[doc(hidden)]
pub mod base;
#[cfg(feature = "chat")]
#[doc(hidden)]
pub mod chat;
#[cfg(feature = "chat")]
#[doc(hidden)]
pub mod cluster;
#[cfg(feature = "chat")]
#[doc(hidden)]
pub mod endpoint;
#[cfg(feature = "chat")]
#[doc(hidden)]
pub mod gateway;
#[doc(hidden)]
pub mod handover;
#[cfg(feature = "chat")]
#[doc(hidden)]
pub mod link;
#[doc(hidden)]
pub mod net;
#[doc(hidden)]
pub mod proto;
pub mod server;
#[cfg(feature = "store")]
#[doc(hidden)]
pub mod store;
#[cfg(feature = "chat")]
#[doc(hidden)]
pub mod tls;

/// The code in the README is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
