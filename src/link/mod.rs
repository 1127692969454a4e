//! The link protocol: how messages get from a gateway to a server, each exactly once and in order.
//!
//! A gateway is the *sender*: its messages have numbers without holes, and it keeps each until the
//! other end has acknowledged it. A server is the *receiver*: it writes a message and its number in
//! one durable write, so it knows every number that comes again.
//!
//! ```text
//!  LinkSender                                                            LinkReceiver
//!      ├── open: producer, the oldest number that is kept ─────────────────▶ │
//!      │ ◀─────────── open_ok: the number that comes next, recent refusals ──┤
//!      ├── pub: a number and its message ──────────────────────────────────▶ │
//!      │ ◀── pub_ack: everything up to it is durable ─── pub_err: refused ───┤
//!      │ ◀────────────────────────────── pub_busy: no room, send it again ───┤
//!      ├── PING ───────────────────────────────────────────────────────────▶ │
//!      │ ◀─────────────────────────────────────────────────────────── PONG ──┤
//! ```
//!
//! [`wire`] reads and writes the frames. [`LinkSender`] and [`LinkReceiver`] are pure state
//! machines: time and frames go in, frames and events come out. Neither opens a socket, reads a
//! clock or takes a lock, so `tests` runs one against the other through every cut of the wire.
//!
//! Invariant: a number is acknowledged once, after all numbers before it: as a message that is
//! durable at the receiver, or as one that the receiver refused for good.

mod receiver;
mod refusals;
mod sender;
mod sequenced;
mod settings;
mod window;
pub mod wire;

pub use receiver::{LinkOpened, LinkReceiver, LinkRefusal, OpenReceiver, Received};
pub use refusals::RecentRefusals;
pub use sender::{LinkIdentity, LinkLoss, LinkSender, SenderEvent};
pub use sequenced::{SendAttempt, Sequenced};
pub use settings::{LinkSettings, LinkState};
pub use window::NumberedPosting;

#[cfg(test)]
mod tests;
