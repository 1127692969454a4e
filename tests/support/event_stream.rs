//! A reader of a stream of events.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::{PATIENCE, parsed};

/// An event as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub kind: String,
    pub id: Option<String>,
    pub data: String,
}

pub struct EventStream {
    stream: BufReader<TcpStream>,
    /// The lines of the answer's head.
    pub head: Vec<String>,
    /// Comments that came.
    pub heartbeats: usize,
}

impl EventStream {
    /// Opens a stream with these pairs in its query, and the name of the last event, if there was one.
    pub fn open(address: SocketAddr, query: &str, last: Option<&str>) -> Self {
        let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        Self::open_with(address, query, &last)
    }

    /// Opens a stream with more lines in its head.
    pub fn open_with(address: SocketAddr, query: &str, lines: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET /v1/events?{query} HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        Self {
            stream,
            head,
            heartbeats: 0,
        }
    }

    /// The next event; `None` at the end of the stream.
    #[track_caller]
    pub fn event(&mut self) -> Option<Event> {
        let mut event = Event {
            kind: "message".into(),
            ..Event::default()
        };
        let mut data = Vec::new();
        loop {
            let mut line = String::new();
            let size = self.stream.read_line(&mut line);
            if size.unwrap_or_else(|error| panic!("nothing came in {PATIENCE:?}: {error}")) == 0 {
                return None;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("data", value)) => data.push(value.to_owned()),
                Some(("event", value)) => event.kind = value.to_owned(),
                Some(("id", value)) => event.id = Some(value.to_owned()),
                _ if line == ":\n" => self.heartbeats += 1,
                _ if line == "\n" && !data.is_empty() => {
                    event.data = data.join("\n");
                    return Some(event);
                }
                _ => assert_eq!(line, "\n", "no field that is known"),
            }
        }
    }

    /// The next frame of the chat that is no presence, and its name.
    #[track_caller]
    pub fn frame(&mut self) -> (Value, Option<String>) {
        loop {
            let event = self.event().expect("the stream goes on");
            assert_eq!(event.kind, "message", "{event:?}");
            let frame = parsed(&event.data);
            if !matches!(frame["type"].as_str(), Some("joined" | "left" | "presence")) {
                return (frame, event.id);
            }
        }
    }

    /// Passes over greeting and login; gives the login's answer.
    #[track_caller]
    pub fn logged_in(&mut self) -> Value {
        assert_eq!(self.frame().0["type"], "hello");
        let ok = self.frame().0;
        assert_eq!(ok["type"], "ok", "{ok}");
        ok
    }

    /// Passes over frames up to the event that ends the stream; gives what it says.
    #[track_caller]
    pub fn close(&mut self) -> String {
        loop {
            let event = self.event().expect("it says why it ends");
            if event.kind == "close" {
                assert_eq!(self.event(), None, "nothing comes behind it");
                return event.data;
            }
        }
    }
}
