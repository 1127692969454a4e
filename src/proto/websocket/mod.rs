//! The server side of WebSocket framing (RFC 6455 §5), sans-IO.
//!
//! [`MessageDecoder`] turns the bytes of a client into [`Item`]s: messages, pings, pongs and a close.
//! [`encode_message`] and [`ControlFrame`] make the frames of the server. Only `handshake` knows
//! HTTP; nothing in here knows of connections or time.
//!
//! A client's bytes go through `header` (reads and judges what a frame announces), `mask` (takes
//! the mask off) and `decoder` (joins fragments, checks UTF-8). Where `extension` has agreed on
//! permessage-deflate, `deflate` takes compressed messages apart and makes them.
//!
//! Invariant: the decoder's items depend on the bytes alone, never on how reads cut them.

pub mod control;
pub mod decoder;
pub mod deflate;
pub mod error;
pub mod extension;
pub mod frame;
pub mod handshake;
mod header;
pub mod mask;
mod subprotocol;
#[cfg(test)]
mod tests;

pub use control::{ControlFrame, close_code_may_be_sent};
pub use decoder::{Item, MessageDecoder};
pub use deflate::{Deflater, Inflater};
pub use error::FrameError;
pub use extension::DeflateAnswer;
pub use frame::{
    HEADER_SIZE_MAX, MessageKind, encode_deflated, encode_message, frame_boundary_at_or_after,
    header_size, texts,
};
pub use mask::unmask;
