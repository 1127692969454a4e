//! What a floor is for: the connections of one listening socket, and what becomes of their bytes.

use std::io;
use std::net::TcpStream;

/// See the module.
pub(crate) trait Hall {
    /// The key of the next connection.
    fn vacant_key(&self) -> usize;

    /// Takes the connection with that key.
    fn enter(&mut self, socket: TcpStream);

    /// Reads what came on a connection, and answers.
    fn ready(&mut self, key: usize, hung_up: bool);

    /// All news that were known at this moment have been read.
    ///
    /// # Errors
    ///
    /// It can't go on.
    fn batch_read(&mut self) -> io::Result<()> {
        Ok(())
    }
}
