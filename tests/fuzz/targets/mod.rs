//! What holds for any bytes: one function a target, which panics where it doesn't.
//!
//! The ordinary test (`main.rs`) and the fuzzer (`fuzz_targets/`) call the same functions. A new
//! target needs a line in [`TARGETS`], a file in `fuzz_targets/`, and a folder in `corpus/`.

mod body;
#[cfg(feature = "deflate")]
mod deflate;
mod handover;
mod handshake;
mod head;
mod journal;
mod link;
mod websocket;

pub use body::body;
#[cfg(feature = "deflate")]
pub use deflate::deflate;
pub use handover::handover;
pub use handshake::handshake;
pub use head::head;
pub use journal::journal;
pub use link::link;
pub use websocket::websocket;

/// A target: its name, which is that of its corpus too, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
#[allow(dead_code, reason = "a fuzzer calls one by its name")]
pub const TARGETS: &[Target] = &[
    ("head", head),
    ("body", body),
    ("handshake", handshake),
    ("websocket", websocket),
    ("link", link),
    ("journal", journal),
    ("handover", handover),
    #[cfg(feature = "deflate")]
    ("deflate", deflate),
];

/// The most places at which a long input is cut; a short one is cut everywhere.
const CUTS_MAX: usize = 64;

/// Where an input is cut in two: everywhere, or at places spread over the whole of a long one.
fn cuts(size: usize) -> impl Iterator<Item = usize> {
    let step = size / CUTS_MAX + 1;
    (0..=size).step_by(step)
}
