//! Layer 5: what clients speak: the native protocol on a WebSocket, and the HTTP API.
//!
//! A [`Endpoint`] stands between a [`crate::server::Server`] and a [`crate::chat::Chat`]. Frames and bodies come in
//! as text; `command` and `http::body` make commands of them, `native` and `http` have the chat do
//! them, `frames` and `json` write what is answered. The `data` of a message passes as it came.

mod acks;
mod command;
#[expect(clippy::module_inception, reason = "the noun of this file is the door")]
mod endpoint;
mod frames;
mod history;
mod http;
mod limits;
pub(crate) mod link;
mod login;
mod native;
mod part;
mod rate;
mod replay;
mod serials;
mod server_sink;
mod services;
mod work;

pub use command::COMMANDS_A_FRAME_MAX;
pub use endpoint::{Endpoint, EndpointSettings, LINK_PATH};
pub use limits::LimitSettings;
pub use link::{Done, LinkNumbers, LinkRefusal, Links, Stretch, Turn, Upstream};
pub use rate::{Bucket, Rate};
pub use replay::ReplaySettings;
