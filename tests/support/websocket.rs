//! A WebSocket client that never waits longer than [`PATIENCE`].

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tidings::server::Handle;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tungstenite::{ClientRequestBuilder, Error, HandshakeError, WebSocket};

use super::PATIENCE;

/// What a client hears.
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

pub struct WebSocketClient {
    pub socket: WebSocket<TcpStream>,
}

impl WebSocketClient {
    /// A client of the root of a server in this process.
    pub fn join(server: &Handle) -> Self {
        Self::connect(server.addresses()[0], "/")
    }

    pub fn connect(address: SocketAddr, path: &str) -> Self {
        Self::connect_with(address, path, &[])
    }

    /// A client with more fields in its request.
    pub fn connect_with(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        Self::upgrade(stream, path, fields).unwrap()
    }

    /// A client where perhaps no server listens, or dies before the handshake is done.
    pub fn try_connect(address: SocketAddr, path: &str) -> Result<Self, Error> {
        Self::upgrade(TcpStream::connect(address)?, path, &[])
    }

    /// A client whose kernel takes next to nothing for it: with more than some kilobytes it has to
    /// read, or the server waits.
    pub fn connect_narrow(address: SocketAddr, path: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::upgrade(socket.into(), path, &[]).unwrap()
    }

    /// A client on a connected stream.
    pub fn upgrade(stream: TcpStream, path: &str, fields: &[(&str, &str)]) -> Result<Self, Error> {
        let address = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        set_timeouts(&stream, PATIENCE);
        let uri = format!("ws://{address}{path}").parse().unwrap();
        let mut request = ClientRequestBuilder::new(uri);
        for (name, value) in fields {
            request = request.with_header(*name, *value);
        }
        let config = WebSocketConfig::default().max_frame_size(None);
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(HandshakeError::Failure(error)) => Err(error),
            Err(HandshakeError::Interrupted(_)) => Err(Error::Io(ErrorKind::TimedOut.into())),
        }
    }

    /// A client on a stream whose handshake is done already.
    pub fn on(stream: TcpStream) -> Self {
        set_timeouts(&stream, PATIENCE);
        Self {
            socket: WebSocket::from_raw_socket(stream, Role::Client, None),
        }
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.try_say(text).unwrap();
    }

    pub fn try_say(&mut self, text: impl Into<String>) -> Result<(), Error> {
        self.socket.send(Message::text(text.into()))
    }

    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).unwrap();
    }

    /// The next message or end. Pings, which may come at any time, are answered and passed over.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        let began = Instant::now();
        loop {
            match self.hear_any() {
                // They may come for ever.
                Heard::Ping => assert!(began.elapsed() < PATIENCE, "nothing came but pings"),
                heard => return heard,
            }
        }
    }

    /// The next message, ping or end. Pings are answered, but not before the next call.
    #[track_caller]
    pub fn hear_any(&mut self) -> Heard {
        let heard = self.read();
        heard.unwrap_or_else(|| panic!("nothing came in {PATIENCE:?}"))
    }

    /// The next message, ping or end, if one comes within `time`.
    pub fn hear_within(&mut self, time: Duration) -> Option<Heard> {
        set_timeouts(self.stream(), time);
        let heard = self.read();
        set_timeouts(self.stream(), PATIENCE);
        heard
    }

    fn read(&mut self) -> Option<Heard> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(Heard::Text(text.to_string())),
                Ok(Message::Binary(bytes)) => return Some(Heard::Binary(bytes.to_vec())),
                Ok(Message::Ping(_)) => return Some(Heard::Ping),
                Ok(Message::Close(frame)) => {
                    // The answer to it goes out with the next call only.
                    let _ = self.socket.flush();
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    return Some(Heard::Close(code));
                }
                Ok(Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Heard::Cut),
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

    /// The next text; an error is the code of an end in order: a Close with a code, then the end of
    /// the stream. Binary messages are passed over, anything else fails the test.
    #[track_caller]
    pub fn hear_text_or_close(&mut self) -> Result<String, u16> {
        loop {
            match self.hear() {
                Heard::Text(text) => return Ok(text),
                Heard::Close(code) => {
                    assert_ne!(code, 1005, "a Close has its code");
                    let end = self.socket.read().unwrap_err();
                    let is_in_order = matches!(end, Error::ConnectionClosed);
                    assert!(is_in_order, "{code}, then {end}");
                    return Err(code);
                }
                Heard::Cut => panic!("the stream ended without a Close"),
                Heard::Binary(_) | Heard::Ping => {}
            }
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
        self.send_close(code, reason);
        self.hear_all().1
    }

    /// Closes it normally, and waits for the server's part in that; what was on its way may come
    /// before.
    #[track_caller]
    pub fn leave(mut self) {
        self.send_close(1000, "");
        loop {
            if let Err(code) = self.hear_text_or_close() {
                return assert_eq!(code, 1000);
            }
        }
    }

    fn send_close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.close(Some(frame)).unwrap();
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        let socket = Socket::from(self.socket.get_ref().try_clone().unwrap());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// After the Close: reads to the stream's end.
    pub fn end(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream().read_to_end(&mut rest);
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

    /// Writes as much of `bytes` as the way to the server takes now, and says how much.
    pub fn pour(&mut self, bytes: &[u8]) -> usize {
        let stream = self.stream();
        stream.set_nonblocking(true).unwrap();
        let mut written = 0;
        while written < bytes.len() {
            match stream.write(&bytes[written..]) {
                Ok(size) => written += size,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        stream.set_nonblocking(false).unwrap();
        written
    }
}

fn set_timeouts(stream: &TcpStream, time: Duration) {
    stream.set_read_timeout(Some(time)).unwrap();
    stream.set_write_timeout(Some(time)).unwrap();
}
