//! An HTTP client that shows exactly what came, and never waits longer than its patience.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// It says `Connection: close`.
    pub closes: bool,
}

/// One connection.
pub struct Web {
    reader: BufReader<TcpStream>,
}

impl Web {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            reader: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a GET without waiting for the answer.
    pub fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask(path);
        self.answer().expect("an answer comes")
    }

    /// The next answer; `None` at the end of the stream, however it came.
    pub fn answer(&mut self) -> Option<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1)?.parse().ok()?;
        let (mut size, mut closes) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(length) = line.strip_prefix("content-length:") {
                size = length.trim().parse().ok()?;
            }
            closes |= line == "connection: close";
        }
        let mut body = vec![0; size];
        self.reader.read_exact(&mut body).ok()?;
        Some(Answer {
            status,
            body: String::from_utf8(body).ok()?,
            closes,
        })
    }

    /// The stream, when nothing that came is left in this client's own buffer.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.reader.buffer().is_empty());
        self.reader.into_inner()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }
}
