//! A port that stays a test's own while nobody listens there.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port for servers that end and come back: the system gives it to nobody else meanwhile, and whoever
/// connects while no server listens is refused.
pub struct OwnPort {
    pub address: SocketAddr,
    _socket: Socket,
}

impl OwnPort {
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Bound and never listening, it lets others bind the port that say the same.
        socket.set_reuse_address(true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self {
            address,
            _socket: socket,
        }
    }
}
