//! The control socket: how a command of this machine asks a running server, and is answered.
//!
//! A signal gives no answer, and a PID file can be stale; that somebody answers here *is* the sign that
//! a server runs. One line of JSON asks, lines of JSON answer, and the last of them has `"ok"`. Only
//! root and the server's own user are answered.

mod client;
mod clients;
mod question;
mod server;
mod socket;

pub use client::{ControlClient, ControlError};
pub use clients::ControlPeer;
pub use question::Question;
pub use server::{ControlServer, Reply, answer_peer};
pub use socket::{ControlSocket, SocketPlace};
