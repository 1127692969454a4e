//! Two machines: a gateway takes messages by HTTP where they arise, keeps them in an outbox on disk,
//! and has a process of its own bring them to the servers that push them on.
//!
//! ```text
//! POST ▶ Gateway ▶ MessageEncoder ▶ disk thread: OutboxJob ▶ Outbox ▶ 202
//!                                                              │ pages
//!                                     AckTracker ◀── Relay ◀───┘
//!                                                    ▲   ▼
//!                                              ══════ pipe ══════
//!                                                    │   ▼
//!            open_ok, pub_ack, pub_err ▶ Upstream: LinkSender ▶ Socket ▶ /link of a server
//! ```
//!
//! A [`Gateway`] stands behind a [`crate::server::Server`] that has `push` as its process
//! [`PUSH_PROCESS`]. Either side outlives the faults of the other: the outbox belongs to the gateway
//! alone, the links to the push process alone, and only an upstream says what it has acknowledged.
//!
//! Invariants:
//! - **A message that was answered with 202 is in the outbox until every upstream has acknowledged
//!   it**, or is among the dead letters, if an upstream refused it for good.
//! - **A message's number is its offset in the outbox.** The upstream writes the number down together
//!   with the message, so a message that is sent again is known there.
//! - **The push process pulls**: it says behind which number it wants how many messages, so that
//!   neither a dead process nor a dead link leaves anything under way that somebody would have to
//!   remember.
//! - A link is one state machine with one owner ([`crate::link::LinkSender`]): there is never a
//!   second handshake beside the first.

mod ack_tracker;
mod answer;
mod dead_letter;
mod front;
mod handover;
mod message;
mod numbers;
mod offline;
mod outbox;
mod push;
mod relay;
mod rest;
mod target;

pub use crate::api::LimitSettings;
pub use front::{Gateway, GatewaySettings};
pub use handover::GATEWAY_FORMAT;
pub use offline::{OfflineOutbox, OfflineOutboxError, OutboxView};
pub use outbox::{DEAD, OUTBOX, store_settings};
pub use push::{PUSH_PROCESS, push, push_with};
pub use target::{Target, TargetError};
