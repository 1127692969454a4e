//! What a floor is for: the connections of one listening socket, and what becomes of their bytes.

use std::io;
use std::net::TcpStream;

/// Bytes that are read at once: hundreds of small frames, and within a core's own cache.
pub(crate) const READ_SIZE: usize = 64 << 10;

/// The connections of one thread.
pub(crate) trait Handler {
    /// The key of the next connection.
    fn vacant_key(&self) -> usize;

    /// Takes the connection with that key; its socket must not block.
    fn accept(&mut self, socket: TcpStream);

    /// Reads what came on a connection, and answers; `hung_up` says that the peer closed its side.
    fn ready(&mut self, key: usize, hung_up: bool);

    /// Takes note that all events known at this moment have been handled.
    ///
    /// # Errors
    ///
    /// The floor can't go on.
    fn end_batch(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It waits for its socket.
    Open,
    /// It is over; drop it.
    Ended,
}
