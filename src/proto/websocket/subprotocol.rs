//! The choice of a subprotocol (RFC 6455 §1.9).
//!
//! A browser that offers some gives the connection up when none is chosen (RFC 6455 §4.1), though it
//! often offers them only to carry a token. So the first one is chosen, whatever it is.

use crate::proto::http::{Head, is_token};

/// Returns the first subprotocol that a handshake offers; `None` where it offers none.
pub(super) fn chosen(head: &Head) -> Option<&str> {
    let mut offers = head.fields_named("sec-websocket-protocol");
    offers.find_map(|value| {
        let mut names = std::str::from_utf8(value).ok()?.split(',');
        names.find_map(|name| {
            let name = name.trim_matches([' ', '\t']);
            is_token(name).then_some(name)
        })
    })
}
