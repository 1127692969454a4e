//! The real server beside programs that others wrote: Autobahn, curl, Node's `ws`, Python's
//! `websockets`, `websocat`, nginx, HAProxy, Schemathesis, Prometheus' parser.
//!
//! A binary of its own, since it needs these programs: `tests/tools/install` installs them.
#![cfg(feature = "cli")]

mod clients;
mod conformance;
mod connection;
#[cfg(feature = "tls")]
mod front;
mod http_description;
mod native_clients;
mod raw;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
mod tools;
