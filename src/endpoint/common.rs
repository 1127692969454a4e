//! What a gateway takes in the same way as a server: the bodies that are posted, and the keys.

pub(crate) use super::access::bearer;
pub(crate) use super::command::To;
pub(crate) use super::http::body::{Posting, batch, posting};
pub(crate) use super::http::json_body;
pub(crate) use super::json::Json;
