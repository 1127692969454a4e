//! Layer 7: `tidings serve`, put together from the library's public face alone.

mod origin;
mod paths;
mod serve;

pub use serve::{ServeSettings, serve};
