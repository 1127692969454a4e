//! An HTTP client with one kept connection, which shows the exact bytes of each answer.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::{PATIENCE, parsed};

/// The field that says that a body is JSON.
pub const JSON: &str = "Content-Type: application/json\r\n";

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The lines of its head below the first, in lower case.
    pub fields: String,
    pub body: String,
    /// Whether the server says that it closes the connection.
    pub closes: bool,
}

/// One connection.
pub struct HttpClient {
    stream: BufReader<TcpStream>,
}

impl HttpClient {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// The same where perhaps no server listens.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// A client on a stream that is connected.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Whether something has come that wasn't read yet.
    pub fn has_answer(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !self.stream.buffer().is_empty() || peeked.is_ok()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a GET without waiting for the answer.
    pub fn send_get(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        self.send(request).unwrap();
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send_get(path);
        self.answer().expect("an answer comes")
    }

    /// Sends a request and waits for the answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        self.send(request(method, path, body))?;
        self.answer()
    }

    /// The same with more fields, each with its end of line.
    pub fn ask_with(
        &mut self,
        method: &str,
        path: &str,
        fields: &str,
        body: &str,
    ) -> io::Result<Answer> {
        self.send(request_with(method, path, fields, body))?;
        self.answer()
    }

    /// The same with a body that the request says is JSON.
    pub fn ask_with_json(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        self.send(json_request(method, path, body))?;
        self.answer()
    }

    /// The status and the JSON of the answer to JSON; `Null` stands for no body.
    #[track_caller]
    pub fn json(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = match body {
            Value::Null => self.ask(method, path, ""),
            body => self.ask_with_json(method, path, &body.to_string()),
        };
        let answer = answer.unwrap();
        (answer.status, parsed(&answer.body))
    }

    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        let size = answer.field("content-length");
        let mut body = vec![0; size.map_or(0, |size| size.parse().unwrap())];
        self.stream.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).unwrap();
        Ok(answer)
    }

    /// The next answer without its body, as HEAD gets it.
    pub fn head(&mut self) -> io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                let error = format!("the end, after {head:?}");
                return Err(io::Error::new(ErrorKind::UnexpectedEof, error));
            }
        }
        let (line, fields) = head.split_once("\r\n").unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let fields = fields.to_lowercase();
        Ok(Answer {
            status,
            closes: fields.contains("connection: close"),
            fields,
            body: String::new(),
        })
    }

    /// Whether the server ended the connection in order, without another byte.
    pub fn is_at_end(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }

    /// Whether the connection has ended without another byte, in order or with a reset.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(size) => size == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// The stream, when nothing that came is left in this client's own buffer.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.stream.buffer().is_empty());
        self.stream.into_inner()
    }
}

impl Answer {
    /// The value of a field, whose name is given in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.fields.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A request of a kept connection.
pub fn request(method: &str, path: &str, body: &str) -> String {
    request_with(method, path, "", body)
}

/// A request whose body is JSON.
pub fn json_request(method: &str, path: &str, body: &str) -> String {
    request_with(method, path, JSON, body)
}

/// A request with more fields, each with its end of line.
pub fn request_with(method: &str, path: &str, fields: &str, body: &str) -> String {
    let size = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n{fields}\r\n{body}"
    )
}
