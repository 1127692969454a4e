//! WebSocket frames.

mod properties;
