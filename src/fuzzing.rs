//! What the fuzz targets need beside the public interface: both ends of a link's frames. No promise
//! to anybody else.

/// The frames of a link as a server reads and writes them.
pub mod server {
    pub use crate::endpoint::link::frame::{
        LinkFrame, Violation, err, open_ok, pub_ack, pub_busy, pub_err, read,
    };
}

/// The frames of a link as a gateway reads and writes them.
pub mod gateway {
    pub use crate::gateway::frames::{Said, open, publish, read};
}
