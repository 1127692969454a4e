//! Layer 7: `tidings serve`, put together from the library's public face alone.

mod origin;
mod serve;
mod stats;

pub use serve::{ServeSettings, serve};
