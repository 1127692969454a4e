//! The connection as a state machine: bytes in any fragmentation, answers in any order, and a time
//! that the tests invent.

mod any_order;
mod deadlines;
#[cfg(feature = "deflate")]
mod deflate;
mod fragments;
mod handover;
mod http;
mod peer;
mod websocket;
