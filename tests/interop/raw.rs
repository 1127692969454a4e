//! A client without a protocol, which sends and receives plain bytes.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::PATIENCE;
use crate::support::program::Program;

/// One connection.
pub struct RawConnection(TcpStream);

impl RawConnection {
    pub fn open(server: &Program) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn read(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The bytes up to the end, each as one character.
    pub fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        bytes.into_iter().map(char::from).collect()
    }

    /// A head with its blank line, and nothing behind it.
    pub fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1));
        }
        String::from_utf8(head).unwrap()
    }
}
