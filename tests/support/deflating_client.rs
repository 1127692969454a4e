//! A WebSocket client that has agreed on compression, and sees which messages come compressed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tidings::proto::websocket::{Deflater, Inflater};

use super::frame::frame;
use super::{PATIENCE, parsed};

/// Larger than any message of a test.
const SIZE_MAX: usize = 64 << 20;

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub text: String,
    pub is_compressed: bool,
    /// Bytes of its payload on the wire.
    pub size: usize,
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeflatingHeard {
    Message(Message),
    Close(u16),
    /// The stream ended without a Close, at this byte of a frame.
    Cut(usize),
}

pub struct DeflatingClient {
    stream: BufReader<TcpStream>,
    /// The extensions that the server answered.
    pub extensions: Option<String>,
}

impl DeflatingClient {
    pub fn connect(address: SocketAddr, path: &str) -> Self {
        Self::on(TcpStream::connect(address).unwrap(), path)
    }

    /// A client whose kernel takes next to nothing for it.
    pub fn connect_narrow(address: SocketAddr, path: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::on(socket.into(), path)
    }

    fn on(mut stream: TcpStream, path: &str) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = stream.peer_addr().unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let (mut extensions, mut line) = (None, String::new());
        loop {
            line.clear();
            stream.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("Sec-WebSocket-Extensions", value)) => extensions = Some(value.to_owned()),
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        Self { stream, extensions }
    }

    /// Sends a text, compressed if that makes it smaller.
    pub fn say(&mut self, text: &str) {
        let frame = match Deflater::new().message(text.as_bytes()) {
            Some(payload) => frame(0xc1, &payload),
            None => frame(0x81, text.as_bytes()),
        };
        self.stream.get_mut().write_all(&frame).unwrap();
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The next message or end; pings are passed over.
    #[track_caller]
    pub fn hear(&mut self) -> DeflatingHeard {
        loop {
            let mut head = [0; 2];
            if let Err(at) = self.fill(&mut head) {
                return DeflatingHeard::Cut(at);
            }
            let extended = match head[1] {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let mut size = [0; 8];
            if let Err(at) = self.fill(&mut size[8 - extended..]) {
                return DeflatingHeard::Cut(2 + at);
            }
            let size = match extended {
                0 => usize::from(head[1]),
                _ => u64::from_be_bytes(size) as usize,
            };
            let mut payload = vec![0; size];
            if let Err(at) = self.fill(&mut payload) {
                return DeflatingHeard::Cut(2 + extended + at);
            }
            match head[0] {
                0x81 => return DeflatingHeard::Message(message(payload, false)),
                0xc1 => return DeflatingHeard::Message(message(payload, true)),
                0x88 => {
                    let code = [payload[0], payload[1]];
                    return DeflatingHeard::Close(u16::from_be_bytes(code));
                }
                0x89 => {}
                other => panic!("a frame begins with {other:02x}"),
            }
        }
    }

    /// The next message; an end fails the test.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        match self.hear() {
            DeflatingHeard::Message(message) => message,
            end => panic!("a message was to come, not {end:?}"),
        }
    }

    /// The next message of the chat that is no presence.
    #[track_caller]
    pub fn notice(&mut self) -> (Value, Message) {
        loop {
            let message = self.message();
            let value = parsed(&message.text);
            if !matches!(value["type"].as_str(), Some("joined" | "left" | "presence")) {
                return (value, message);
            }
        }
    }

    /// Fills `bytes`; an error is the place at which the stream ended.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.stream.read(&mut bytes[at..]) {
                Ok(0) => return Err(at),
                Ok(size) => at += size,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came in {PATIENCE:?}")
                }
                Err(_) => return Err(at),
            }
        }
        Ok(())
    }
}

fn message(payload: Vec<u8>, is_compressed: bool) -> Message {
    let size = payload.len();
    let bytes = match is_compressed {
        false => payload,
        true => Inflater::new()
            .inflate(&payload, SIZE_MAX)
            .expect("it is DEFLATE")
            .to_vec(),
    };
    Message {
        text: String::from_utf8(bytes).expect("a text"),
        is_compressed,
        size,
    }
}
