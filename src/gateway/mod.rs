//! Layer 6: two machines. A gateway takes messages by HTTP where they arise, keeps them in an outbox
//! on disk, and has a process of its own bring them to the servers that push them on.
//!
//! ```text
//! POST ▶ Gateway ▶ disk thread ▶ outbox ▶ 202
//!                                   │ pages
//!                    marks ◀ Feeder ┤
//!                               ▲   ▼
//!                          ═════ pipe ═════
//!                               │   ▼
//!                   what is ◀─ Seat: Link ▶ Socket ▶ /link of a server
//!                   settled
//! ```
//!
//! A [`Gateway`] stands behind a [`crate::server::Server`] that has [`push`] as its process
//! [`PUSH_PROCESS`]. What goes wrong with one side is the other's to outlive: the outbox belongs to the
//! gateway alone, the links to the push process alone, and what is settled is the upstream's word.
//!
//! Invariants:
//! - **A message that was answered with 202 is in the outbox until every upstream has settled it**, or,
//!   refused for good, among the dead letters.
//! - **A message's number is its offset in the outbox.** The upstream writes it down together with the
//!   message, so whatever is sent again is known there.
//! - **The push process pulls**: it says behind which number it wants how many, so that neither a dead
//!   process nor a dead link leaves anything on the way that somebody would have to remember.
//! - A link is one state machine with one owner (`link`): there is never a second handshake beside
//!   the first.

mod answer;
mod feeder;
#[expect(
    clippy::module_inception,
    reason = "the noun of this file is the gateway"
)]
mod gateway;
mod numbers;
mod offline;
mod outbox;
mod posted;
mod push;
mod settling;
mod target;

pub use gateway::{Gateway, GatewaySettings, PUSH_PROCESS};
pub use offline::{OfflineOutbox, OfflineOutboxError};
pub use outbox::{DEAD, OUTBOX, store_settings};
pub use push::push;
pub use target::{Target, TargetError};
