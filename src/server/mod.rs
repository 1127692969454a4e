//! Layer 3: the library's face.

pub mod process;
