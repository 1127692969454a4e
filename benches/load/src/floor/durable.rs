//! The floor of a message that is answered once it is on disk: HTTP requests are appended to a file
//! as they are, all that came in one batch of events with one sync, and then answered. Without a
//! file it is the floor of any HTTP request.
//!
//! The first request of a connection tells the size of all that follow, so that they are counted by
//! bytes.
//! What a server costs more than this is its own: it has neither understood a message, nor could it
//! find one again.

use std::io::{self, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::path::Path;

use slab::Slab;

use crate::floor::handler::{Handler, Liveness, READ_SIZE};
use crate::floor::log_file::LogFile;
use crate::wire::read::{ReadBuffer, ReadEnd};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// The longest first request, in bytes, above what the generator sends; a longer one ends its
/// connection.
const FIRST_SIZE_MAX: usize = 2 << 20;

/// All connections of one thread.
#[derive(Debug)]
pub(crate) struct DurableHandler {
    connections: Slab<DurableConnection>,
    buffer: ReadBuffer,
    /// What was read and is not on disk yet.
    batch: Vec<u8>,
    /// Who waits for it, and how many answers each is owed.
    owed: Vec<(usize, usize)>,
    /// `None` for requests that are answered as they come.
    log: Option<LogFile>,
}

#[derive(Debug)]
struct DurableConnection {
    socket: TcpStream,
    requests: RequestCounter,
}

/// Counts the requests of a connection, which are all as long as the first one.
#[derive(Debug, Default)]
struct RequestCounter {
    /// An unfinished first request.
    first: Vec<u8>,
    /// Bytes of each request; 0 until the first one is whole.
    size: usize,
    /// Bytes of a request that has begun.
    carried: usize,
}

impl DurableHandler {
    /// Begins with nobody, and with a file in `directory`, where there is one.
    ///
    /// # Errors
    ///
    /// No file can be made there.
    pub(crate) fn new(directory: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            connections: Slab::new(),
            buffer: ReadBuffer::new(READ_SIZE),
            batch: Vec::new(),
            owed: Vec::new(),
            log: directory.map(LogFile::new).transpose()?,
        })
    }
}

impl Handler for DurableHandler {
    fn vacant_key(&self) -> usize {
        self.connections.vacant_key()
    }

    fn accept(&mut self, socket: TcpStream) {
        self.connections.insert(DurableConnection {
            socket,
            requests: RequestCounter::default(),
        });
    }

    fn ready(&mut self, key: usize, hung_up: bool) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        self.buffer.hung_up = hung_up;
        match connection.receive(&mut self.buffer, &mut self.batch) {
            Ok((count, liveness)) => {
                self.owed.push((key, count));
                if liveness == Liveness::Ended {
                    self.connections.remove(key);
                }
            }
            Err(_) => drop(self.connections.remove(key)),
        }
    }

    /// Makes durable what was read, and answers it.
    fn end_batch(&mut self) -> io::Result<()> {
        if let Some(log) = self.log.as_mut().filter(|_| !self.batch.is_empty()) {
            log.append(&self.batch)?;
        }
        self.batch.clear();
        for (key, count) in self.owed.drain(..) {
            let connection = self.connections.get_mut(key).filter(|_| count > 0);
            if connection.is_some_and(|connection| connection.answer(count).is_err()) {
                self.connections.remove(key);
            }
        }
        Ok(())
    }
}

impl DurableConnection {
    /// Reads what came into `batch`; gives how many requests are whole now.
    fn receive(
        &mut self,
        buffer: &mut ReadBuffer,
        batch: &mut Vec<u8>,
    ) -> io::Result<(usize, Liveness)> {
        let mut requests = 0;
        let end = buffer.read_all(&self.socket, |bytes| {
            batch.extend_from_slice(bytes);
            requests += self.requests.count(bytes)?;
            Ok::<_, io::Error>(ControlFlow::Continue(()))
        })?;
        Ok(match end {
            ReadEnd::Closed => (requests, Liveness::Ended),
            ReadEnd::Drained | ReadEnd::Stopped => (requests, Liveness::Open),
        })
    }

    /// A connection that doesn't read its few bytes is cut.
    fn answer(&mut self, count: usize) -> io::Result<()> {
        match count {
            1 => self.socket.write_all(ANSWER),
            _ => self.socket.write_all(&ANSWER.repeat(count)),
        }
    }
}

impl RequestCounter {
    /// Gives how many requests these bytes complete.
    fn count(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.carried += bytes.len();
        if self.size == 0 {
            self.learn(bytes)?;
        }
        let Some(whole) = self.carried.checked_div(self.size) else {
            return Ok(0);
        };
        self.carried %= self.size;
        Ok(whole)
    }

    fn learn(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.first.extend_from_slice(bytes);
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&self.first).map_err(io::Error::other)? {
            httparse::Status::Complete(head_size) => {
                let mut lengths = (request.headers.iter())
                    .filter(|field| field.name.eq_ignore_ascii_case("content-length"))
                    .filter_map(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
                self.size = head_size + lengths.next().unwrap_or(0);
                self.first = Vec::new();
                Ok(())
            }
            httparse::Status::Partial if self.first.len() > FIRST_SIZE_MAX => {
                Err(io::Error::other("the first request is too long"))
            }
            httparse::Status::Partial => Ok(()),
        }
    }
}
