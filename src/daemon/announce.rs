//! The lines that a daemon prints once it runs: for people, and for scripts that wait for the first
//! line.

use std::net::SocketAddr;

use tidings::server::{ListenAddress, WorkerHandle};

use crate::output;

/// Prints each address that a server listens on, and how to send to it.
pub(super) fn addresses(server: &WorkerHandle, is_open: bool) {
    for listened in server.listening() {
        listening(listened);
        if let Some(address) = listened.ip() {
            sending(&address, is_open);
        }
    }
    listening_tls(server);
}

/// Prints the line that scripts wait for.
pub(super) fn listening(address: &ListenAddress) {
    tracing::info!(%address, "listening");
    match address.ip() {
        Some(address) => output::announce(format_args!("listening on http://{address}")),
        None => output::announce(format_args!("listening on {address}")),
    }
}

/// Prints the addresses on which TLS is spoken.
pub(super) fn listening_tls(server: &WorkerHandle) {
    for address in server.listening_tls() {
        tracing::info!(%address, "listening with TLS");
        match address.ip() {
            Some(address) => output::announce(format_args!("listening on https://{address}")),
            None => output::announce(format_args!("listening with TLS on {address}")),
        }
    }
}

/// Prints where the chat page is, and how to enter it; or how to turn it on.
pub(super) fn page(address: &SocketAddr, has_page: bool, is_open: bool) {
    match (has_page, is_open) {
        (true, true) => {
            output::announce(format_args!("chat: open http://{address}/ in two windows"));
        }
        (true, false) => output::announce(format_args!(
            "chat: http://{address}/ asks for a token; `tidings token` prints a link that leads in"
        )),
        (false, _) => output::announce("chat: the page is off; page = \"on\" turns it on"),
    }
}

/// Prints a command that sends a first message.
pub(super) fn sending(address: &SocketAddr, is_open: bool) {
    let key = if is_open {
        ""
    } else {
        "-H 'Authorization: Bearer YOUR-API-KEY' "
    };
    output::announce(format_args!(
        "send: curl -H 'Content-Type: application/json' {key}http://{address}/v1/messages -d \
         '{{\"to\":{{\"room\":\"lobby\"}},\"from\":\"curl\",\"data\":{{\"text\":\"hello\"}}}}'"
    ));
}
