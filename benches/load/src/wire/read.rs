//! The read loop of every connection, of clients and floors alike.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::ops::ControlFlow;

/// Why a read loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// The socket has nothing more at present; its epoll tells when that changes.
    Drained,
    /// The peer ended the stream.
    Closed,
    /// The receiver wanted no more.
    Stopped,
}

/// What is read from until it has nothing more.
pub(crate) trait Readable: Read {
    /// Whether a read that fills less than it might has taken all.
    fn is_emptied_by_a_short_read(&self) -> bool {
        true
    }
}

impl Readable for &TcpStream {}

/// Where a thread reads into; all its connections share one.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    /// Whether the peer of the connection that is read next has closed its side.
    pub(crate) hung_up: bool,
}

impl ReadBuffer {
    /// Makes one for reads of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size],
            hung_up: false,
        }
    }

    /// Reads all that a socket has, and gives each piece to `receive`.
    ///
    /// A read that does not fill the buffer has emptied the socket, so no further call is made to
    /// learn that. Only when the peer hung up is there something behind it: the end of the stream.
    ///
    /// # Errors
    ///
    /// The socket is broken, or `receive` failed.
    pub(crate) fn read_all<E: From<io::Error>>(
        &mut self,
        mut socket: impl Readable,
        mut receive: impl FnMut(&[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<ReadEnd, E> {
        loop {
            let count = match socket.read(&mut self.bytes) {
                Ok(0) => return Ok(ReadEnd::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(ReadEnd::Drained);
                }
                Err(error) => return Err(error.into()),
            };
            if receive(&self.bytes[..count])?.is_break() {
                return Ok(ReadEnd::Stopped);
            }
            if count < self.bytes.len() && !self.hung_up && socket.is_emptied_by_a_short_read() {
                return Ok(ReadEnd::Drained);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    /// Both ends of a connection; the second never blocks.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        socket.set_nonblocking(true).unwrap();
        (peer, socket)
    }

    fn pieces(socket: &TcpStream, hung_up: bool, stop_at: &[u8]) -> (Vec<u8>, ReadEnd) {
        // What was written to a local socket can be read at once.
        let (mut buffer, mut all) = (ReadBuffer::new(4), Vec::new());
        buffer.hung_up = hung_up;
        let end = buffer.read_all::<io::Error>(socket, |piece| {
            all.extend_from_slice(piece);
            Ok(match piece == stop_at {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        });
        (all, end.unwrap())
    }

    #[test]
    fn all_is_read_and_the_end_only_when_the_peer_hung_up() {
        let (mut peer, socket) = pair();
        assert_eq!(pieces(&socket, false, b""), (b"".into(), ReadEnd::Drained));
        peer.write_all(b"abcdefghi").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let all = b"abcdefghi".to_vec();
        assert_eq!(pieces(&socket, false, b""), (all, ReadEnd::Drained));
        assert_eq!(pieces(&socket, true, b""), (b"".into(), ReadEnd::Closed));
    }

    #[test]
    fn a_receiver_that_has_enough_leaves_the_rest_in_the_socket() {
        let (mut peer, socket) = pair();
        peer.write_all(b"abcdefghi").unwrap();
        let first = b"abcd".to_vec();
        assert_eq!(pieces(&socket, false, b"abcd"), (first, ReadEnd::Stopped));
        let rest = b"efghi".to_vec();
        assert_eq!(pieces(&socket, false, b""), (rest, ReadEnd::Drained));
    }
}
