//! The floor of a message that is answered once it is on disk: HTTP requests are appended to a file
//! as they are, all that came in one batch of news with one sync, and then answered.
//!
//! The first request of a connection teaches its size; from there on so many bytes are a request.
//! What a server costs more than this is its own: it has neither understood a message, nor could it
//! find one again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use slab::Slab;

use crate::floor::echo::{Fate, READ_SIZE};
use crate::floor::handler::Hall;
use crate::floor::log_file::Log;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// The longest first request, in bytes; whoever sends more is cut.
const FIRST_SIZE_MAX: usize = 2 << 20;

/// All connections of one thread.
#[derive(Debug)]
pub(crate) struct Notary {
    clients: Slab<Client>,
    bytes: Vec<u8>,
    /// What was read and is not on disk yet.
    batch: Vec<u8>,
    /// Who waits for it, and how many answers each is owed.
    owed: Vec<(usize, usize)>,
    log: Log,
}

#[derive(Debug)]
struct Client {
    socket: TcpStream,
    /// An unfinished first request.
    first: Vec<u8>,
    /// Bytes of each request; 0 until the first one is whole.
    request_size: usize,
    /// Bytes of a request that has begun.
    carried: usize,
}

impl Notary {
    /// Begins with nobody, and with a file in `directory`.
    ///
    /// # Errors
    ///
    /// No file can be made there.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            clients: Slab::new(),
            bytes: vec![0; READ_SIZE],
            batch: Vec::new(),
            owed: Vec::new(),
            log: Log::new(directory)?,
        })
    }
}

impl Hall for Notary {
    fn vacant_key(&self) -> usize {
        self.clients.vacant_key()
    }

    fn enter(&mut self, socket: TcpStream) {
        self.clients.insert(Client {
            socket,
            first: Vec::new(),
            request_size: 0,
            carried: 0,
        });
    }

    fn ready(&mut self, key: usize, hung_up: bool) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.hear(&mut self.bytes, hung_up, &mut self.batch) {
            Ok((count, fate)) => {
                self.owed.push((key, count));
                if fate == Fate::Ends {
                    self.clients.remove(key);
                }
            }
            Err(_) => drop(self.clients.remove(key)),
        }
    }

    /// Makes durable what was read, and answers it.
    fn batch_read(&mut self) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.log.append(&self.batch)?;
            self.batch.clear();
        }
        for (key, count) in self.owed.drain(..) {
            let client = self.clients.get_mut(key).filter(|_| count > 0);
            if client.is_some_and(|client| client.answer(count).is_err()) {
                self.clients.remove(key);
            }
        }
        Ok(())
    }
}

impl Client {
    /// Reads what is there; says how many requests are whole now.
    fn hear(
        &mut self,
        bytes: &mut [u8],
        hung_up: bool,
        batch: &mut Vec<u8>,
    ) -> io::Result<(usize, Fate)> {
        let mut requests = 0;
        loop {
            let count = match self.socket.read(bytes) {
                Ok(0) => return Ok((requests, Fate::Ends)),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            batch.extend_from_slice(&bytes[..count]);
            self.carried += count;
            if self.request_size == 0 {
                self.learn(&bytes[..count])?;
            }
            if let Some(whole) = self.carried.checked_div(self.request_size) {
                requests += whole;
                self.carried %= self.request_size;
            }
            if count < bytes.len() && !hung_up {
                break;
            }
        }
        Ok((requests, Fate::Stays))
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
                self.request_size = head_size + lengths.next().unwrap_or(0);
                self.first = Vec::new();
                Ok(())
            }
            httparse::Status::Partial if self.first.len() > FIRST_SIZE_MAX => {
                Err(io::Error::other("the first request is too long"))
            }
            httparse::Status::Partial => Ok(()),
        }
    }

    /// A client that doesn't read its few bytes is cut.
    fn answer(&mut self, count: usize) -> io::Result<()> {
        match count {
            1 => self.socket.write_all(ANSWER),
            _ => self.socket.write_all(&ANSWER.repeat(count)),
        }
    }
}
