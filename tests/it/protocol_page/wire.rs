//! A WebSocket that sends nothing by itself: no pong and no answer to a Close, unless it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::support::PATIENCE;
use crate::support::frame::frame;

/// A frame of the server, or the end.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong,
    /// A Close with its code and its reason.
    Close(u16, String),
    /// The end of the stream.
    End,
}

pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Opens a WebSocket; the error is the answer's first line.
    pub fn open(address: SocketAddr, path: &str, fields: &str) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{path}: {error}");
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut stream = BufReader::new(stream);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        );
        let sent = stream.get_mut().write_all(request.as_bytes());
        sent.map_err(failed)?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).map_err(failed)? == 0 {
                return Err(format!("{path}: the end, after {head:?}"));
            }
        }
        let (first, _) = head.split_once("\r\n").unwrap_or((&head, ""));
        match first.starts_with("HTTP/1.1 101 ") {
            true => Ok(Self { stream }),
            false => Err(format!("{path}: {first}")),
        }
    }

    pub fn say(&mut self, text: &str) -> Result<(), String> {
        self.frame(0x81, text.as_bytes())
    }

    /// Sends one masked frame; `first` is its first byte.
    pub fn frame(&mut self, first: u8, payload: &[u8]) -> Result<(), String> {
        self.bytes(&frame(first, payload))
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = self.stream.get_mut().write_all(bytes);
        sent.map_err(|error| format!("can't send: {error}"))
    }

    pub fn hear(&mut self) -> Result<Heard, String> {
        let mut head = [0; 2];
        match self.stream.read(&mut head[..1]) {
            Ok(0) => return Ok(Heard::End),
            Ok(_) => {}
            Err(error) => return Err(format!("nothing came: {error}")),
        }
        self.fill(&mut head[1..])?;
        let size = match head[1] {
            126 => {
                let mut size = [0; 2];
                self.fill(&mut size)?;
                u64::from(u16::from_be_bytes(size))
            }
            127 => {
                let mut size = [0; 8];
                self.fill(&mut size)?;
                u64::from_be_bytes(size)
            }
            size => u64::from(size),
        };
        let mut payload = vec![0; usize::try_from(size).expect("a server's frame fits")];
        self.fill(&mut payload)?;
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|_| "text that is no UTF-8".to_owned())
        };
        Ok(match head[0] {
            0x81 => Heard::Text(text(&payload)?),
            0x82 => Heard::Binary(payload),
            0x89 => Heard::Ping,
            0x8a => Heard::Pong,
            0x88 if payload.len() >= 2 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                Heard::Close(code, text(&payload[2..])?)
            }
            first => return Err(format!("a frame that begins with {first:#x}")),
        })
    }

    /// Gives the next frame that is no ping. Pings may come at any time, and are answered.
    pub fn hear_but_pings(&mut self) -> Result<Heard, String> {
        loop {
            match self.hear()? {
                Heard::Ping => self.frame(0x8a, b"")?,
                heard => return Ok(heard),
            }
        }
    }

    /// Ends the stream in order.
    pub fn shut(&mut self) {
        // The stream may have ended already.
        let _ = self.stream.get_mut().shutdown(Shutdown::Write);
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        let read = self.stream.read_exact(bytes);
        read.map_err(|error| format!("half a frame: {error}"))
    }
}
