//! A small chat server on threads: as a tidings and with words of its own; honest, or not quite.

use std::collections::HashSet;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

use super::head;

/// What happens to every fifth message, at the first member only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing.
    Honest,
    /// It is lost.
    Losing,
    /// It comes twice.
    Doubling,
    /// It comes behind the sixth.
    Swapping,
    /// It is refused before anybody hears it.
    Refusing,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<TcpStream>,
    ids: HashSet<String>,
    count: u64,
    held: Option<Vec<u8>>,
}

struct Hall {
    manner: Manner,
    state: Mutex<State>,
}

/// Starts one; gives its address.
pub fn chat(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hall = Arc::new(Hall {
        manner,
        state: Mutex::default(),
    });
    thread::spawn(move || {
        for socket in listener.incoming() {
            let hall = Arc::clone(&hall);
            thread::spawn(move || serve(socket.unwrap(), &hall));
        }
    });
    address
}

fn serve(socket: TcpStream, hall: &Hall) {
    socket.set_nodelay(true).unwrap();
    let mut first = [0; 4];
    if socket.peek(&mut first).is_ok() && first == *b"POST" {
        return serve_http(socket, hall);
    }
    let writer = socket.try_clone().unwrap();
    let mut path = String::new();
    #[expect(
        clippy::result_large_err,
        reason = "the callback's type is tungstenite's"
    )]
    let opened = tungstenite::accept_hdr(socket, |request: &Request, response: Response| {
        path = request.uri().to_string();
        Ok(response)
    });
    let Ok(mut socket) = opened else {
        return;
    };
    if path.starts_with("/ws?uid=") {
        let hello = [r#"{"type":"hello","fd":1}"#, r#"{"type":"ok","seq":null}"#];
        for frame in hello {
            socket.send(Message::text(frame)).unwrap();
        }
        if path.ends_with("&room=bench") {
            hall.enter(&writer);
        }
    }
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message
            && hear(text.as_str(), &mut socket, &writer, hall).is_none()
        {
            return;
        }
    }
}

fn hear(
    text: &str,
    socket: &mut WebSocket<TcpStream>,
    writer: &TcpStream,
    hall: &Hall,
) -> Option<()> {
    if let Some(name) = text.strip_prefix("JOIN ") {
        name.parse::<u64>().unwrap();
        hall.enter(writer);
        return socket.send(Message::text("WELCOME")).ok();
    }
    if let Some((seq, data)) = text
        .strip_prefix("SAY ")
        .and_then(|rest| rest.split_once(' '))
    {
        hall.spread(&format!("bench: {data}"));
        return socket.send(Message::text(format!("SAID {seq}."))).ok();
    }
    let say: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        (&say["type"], &say["to"]["room"]),
        (&"say".into(), &"bench".into())
    );
    let answer = match hall.say(text, &say) {
        Said::Taken { duplicate } => {
            format!(
                r#"{{"type":"ok","seq":{},"duplicate":{duplicate}}}"#,
                say["seq"]
            )
        }
        Said::Refused => {
            format!(
                r#"{{"type":"err","seq":{},"code":"rate_limited"}}"#,
                say["seq"]
            )
        }
    };
    socket.send(Message::text(answer)).ok()
}

fn serve_http(mut socket: TcpStream, hall: &Hall) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    while let Some(head) = head(&mut reader) {
        assert!(
            head.contains("\r\nContent-Type: application/json\r\n"),
            "{head}"
        );
        let size = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; size.unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        let result = |said| match said {
            Said::Taken { duplicate } => format!(r#"{{"offset":1,"duplicate":{duplicate}}}"#),
            Said::Refused => r#"{"error":{"code":"rate_limited"}}"#.into(),
        };
        let batch = head.starts_with("POST /v1/messages/batch ");
        let (status, answer) = if batch {
            let messages = json["messages"].as_array().unwrap().iter();
            let results: Vec<String> = messages.map(|say| result(hall.say("", say))).collect();
            (200, format!(r#"{{"results":[{}]}}"#, results.join(",")))
        } else {
            match hall.say(&body, &json) {
                Said::Refused => (429, result(Said::Refused)),
                said => (200, format!(r#"{{"results":[{}]}}"#, result(said))),
            }
        };
        let size = answer.len();
        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: {size}\r\n\r\n{answer}");
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

enum Said {
    Taken { duplicate: bool },
    Refused,
}

impl Hall {
    fn enter(&self, writer: &TcpStream) {
        let writer = writer.try_clone().unwrap();
        self.state.lock().unwrap().members.push(writer);
    }

    /// Takes a message; spreads its data, which is the end of `text`.
    fn say(&self, text: &str, json: &serde_json::Value) -> Said {
        let id = json["id"].as_str().unwrap().into();
        let mut state = self.state.lock().unwrap();
        if !state.ids.insert(id) {
            return Said::Taken { duplicate: true };
        }
        if self.manner == Manner::Refusing && state.ids.len().is_multiple_of(5) {
            return Said::Refused;
        }
        drop(state);
        if let Some((_, data)) = text.split_once(r#""data":"#) {
            self.spread(&format!(r#"{{"type":"msg","offset":7,"data":{data}"#));
        }
        Said::Taken { duplicate: false }
    }

    fn spread(&self, text: &str) {
        let frame = frame(text.as_bytes());
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        let (count, mut held) = (state.count, state.held.take());
        let mut others = state.members.iter_mut();
        if let Some(first) = others.next() {
            let special = count.is_multiple_of(5);
            let bytes = match self.manner {
                Manner::Losing if special => Vec::new(),
                Manner::Doubling if special => frame.repeat(2),
                Manner::Swapping if special => {
                    held = Some(frame.clone());
                    Vec::new()
                }
                _ => [frame.clone(), held.take().unwrap_or_default()].concat(),
            };
            _ = first.write_all(&bytes); // it may have left
        }
        for member in others {
            _ = member.write_all(&frame);
        }
        state.held = held;
    }
}

/// A text frame as a server sends it (RFC 6455 §5.2).
fn frame(payload: &[u8]) -> Vec<u8> {
    let head = match payload.len() {
        size @ 0..126 => vec![0x81, size as u8],
        size => vec![0x81, 126, (size >> 8) as u8, size as u8],
    };
    [&head[..], payload].concat()
}
