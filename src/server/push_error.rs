//! Why a push or a disconnect was refused.

use crate::base::Fd;

/// The reason why a push or a disconnect was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// There is no open WebSocket of this name.
    #[error("no established connection {0}")]
    NotEstablished(Fd),
    /// The close code must not be sent; 1000–1003, 1007–1014 and 3000–4999 may (RFC 6455 §7.4).
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
}
