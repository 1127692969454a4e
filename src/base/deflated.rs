//! The compressed form of a message's data.

use std::sync::Arc;

/// Blocks of DEFLATE that inflate to a message's data and end at the end of a byte, so that they may
/// stand in any frame between other blocks; shared, and as small as a pointer where there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeflatedData(Arc<Box<[u8]>>);

impl DeflatedData {
    /// Makes the compressed form of some data of these blocks.
    #[must_use]
    pub fn new(blocks: Vec<u8>) -> Self {
        Self(Arc::new(blocks.into()))
    }

    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> &[u8] {
        &self.0
    }
}
