//! A WebSocket client that never waits longer than its patience.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tidings::server::Handle;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tungstenite::{Error, WebSocket};

use super::PATIENCE;

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    /// The server's Close, with its code; 1005 when there was none.
    Close(u16),
    /// The stream ended without a Close.
    Cut,
}

pub struct Client {
    socket: WebSocket<TcpStream>,
}

impl Client {
    pub fn join(server: &Handle) -> Self {
        Self::join_at(server.addresses()[0], "/")
    }

    pub fn join_at(address: SocketAddr, path: &str) -> Self {
        Self::upgrade(TcpStream::connect(address).unwrap(), address, path)
    }

    /// A client whose kernel takes next to nothing for it: with more than some kilobytes it has to
    /// read, or the server waits.
    pub fn join_narrow(server: &Handle) -> Self {
        let address = server.addresses()[0];
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::upgrade(socket.into(), address, "/")
    }

    pub fn upgrade(stream: TcpStream, address: SocketAddr, path: &str) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{address}{path}");
        let config = WebSocketConfig::default().max_frame_size(None);
        let (socket, _) =
            tungstenite::client::client_with_config(url, stream, Some(config)).unwrap();
        Self { socket }
    }

    /// A client on a stream whose handshake is done already.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket: WebSocket::from_raw_socket(stream, Role::Client, None),
        }
    }

    pub fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).unwrap();
    }

    /// The next message or end. Pings, which may come at any time, are answered and passed over.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        loop {
            match self.hear_any() {
                Heard::Ping => {}
                heard => return heard,
            }
        }
    }

    /// The next message, ping or end. Pings are answered, but not before the next call.
    #[track_caller]
    pub fn hear_any(&mut self) -> Heard {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Heard::Text(text.to_string()),
                Ok(Message::Binary(bytes)) => return Heard::Binary(bytes.to_vec()),
                Ok(Message::Ping(_)) => return Heard::Ping,
                Ok(Message::Close(frame)) => {
                    // The answer to it goes out with the next call only.
                    let _ = self.socket.flush();
                    return Heard::Close(code_of(frame));
                }
                Ok(Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came in {PATIENCE:?}");
                }
                Err(_) => return Heard::Cut,
            }
        }
    }

    /// The next text; anything else fails the test.
    #[track_caller]
    pub fn hear_text(&mut self) -> String {
        match self.hear() {
            Heard::Text(text) => text,
            other => panic!("a text was to come, not {other:?}"),
        }
    }

    /// Everything up to the end, and how it ended.
    #[track_caller]
    pub fn hear_all(&mut self) -> (Vec<Heard>, Heard) {
        let mut all = Vec::new();
        loop {
            match self.hear() {
                end @ (Heard::Close(_) | Heard::Cut) => return (all, end),
                heard => all.push(heard),
            }
        }
    }

    /// Says and hears one message, so that everything before it has reached the server's handler.
    #[track_caller]
    pub fn echo(&mut self, text: &str) {
        self.say(text);
        assert_eq!(self.hear_text(), text);
    }

    /// Starts the close handshake, and reads to its end.
    #[track_caller]
    pub fn close(mut self, code: u16, reason: &str) -> Heard {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.close(Some(frame)).unwrap();
        self.hear_all().1
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        let socket = Socket::from(self.into_stream());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// After the Close: reads to the stream's end.
    pub fn end(&mut self) {
        let mut rest = Vec::new();
        let _ = self.socket.get_mut().read_to_end(&mut rest);
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    pub fn local_address(&self) -> SocketAddr {
        self.socket.get_ref().local_addr().unwrap()
    }

    pub fn shut(&mut self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    fn into_stream(self) -> TcpStream {
        self.socket.get_ref().try_clone().unwrap()
    }
}

fn code_of(frame: Option<CloseFrame>) -> u16 {
    frame.map_or(1005, |frame| frame.code.into())
}

/// A masked binary frame, for writing many at once.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        middle @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0xFF);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    // A mask of zeroes is a mask.
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

impl Client {
    /// Writes as much of `bytes` as the way to the server takes now, and says how much.
    pub fn pour(&mut self, bytes: &[u8]) -> usize {
        let stream = self.stream();
        stream.set_nonblocking(true).unwrap();
        let mut written = 0;
        while written < bytes.len() {
            match stream.write(&bytes[written..]) {
                Ok(size) => written += size,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        stream.set_nonblocking(false).unwrap();
        written
    }
}
