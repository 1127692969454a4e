//! The reasons why an outbox takes nothing.

use crate::store::StoreError;

/// The reason why a posting isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum OutboxRefusal {
    /// The outbox holds as much as it may.
    Full,
    /// The disk is as good as full.
    DiskFull,
    /// Nothing can be written until the file is verified.
    Failed,
}

impl From<&StoreError> for OutboxRefusal {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::Full,
            StoreError::DiskFull { .. } => Self::DiskFull,
            _ => Self::Failed,
        }
    }
}
