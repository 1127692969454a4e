//! How one clients to a server: where members go, how they join, how a message is sent and recognized.

use clap::ValueEnum;
use memchr::memmem::Finder;

use crate::client::ack::AckPattern;
use crate::client::byte_acks::AckTexts;
use crate::client::marker::{MARKER, Marker, message};
use crate::client::server::Server;
use crate::client::template::{Blanks, Template};
use crate::wire::frame::{MASK, TEXT, client_frame};

/// How messages are published: each as a frame on a connection of its own, as a request on a kept
/// connection, or as bytes on one that speaks neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
// The variants bear no doc comments, since those would become part of the program's help.
pub(crate) enum Transport {
    #[value(name = "websocket")]
    WebSocket,
    Http,
    #[value(skip)]
    Tcp,
}

impl Transport {
    /// Its name in flags and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }
}

/// How a message is sent.
#[derive(Clone, Debug)]
pub(crate) enum PublishTemplate {
    /// As a text frame.
    Frame {
        /// The payload.
        frame: Template,
        /// What answers it.
        acks: AckPattern,
    },
    /// As an HTTP request.
    Request {
        /// Request line and fields, without the length and the empty line.
        head: Template,
        /// The body.
        body: Template,
    },
    /// As bytes of another protocol over TCP.
    Bytes {
        /// What a connection says first.
        first: Template,
        /// The message.
        bytes: Template,
        /// What answers it.
        acks: AckTexts,
    },
}

/// How one clients to a server.
#[derive(Clone, Debug)]
pub(crate) struct Dialect {
    /// Path of a member's handshake.
    pub(crate) member_path: Template,
    /// Path of a publisher's handshake.
    pub(crate) publisher_path: Template,
    /// What a member says first.
    pub(crate) join: Option<Template>,
    /// Whether publishers say that too.
    pub(crate) publishers_join: bool,
    /// Text in the frame that tells a member that it is in; without, nothing is waited for.
    pub(crate) joined: Option<Finder<'static>>,
    /// How a message is sent.
    pub(crate) publish: PublishTemplate,
    /// How a delivered message is recognized.
    pub(crate) marker: Marker,
}

/// Where a tidings takes a message by HTTP.
pub(crate) const SINGLE: &str = "/v1/messages";
/// Where a tidings takes several at once.
pub(crate) const BATCH: &str = "/v1/messages/batch";

/// How a message for tidings is made.
#[derive(Clone, Debug)]
pub(crate) struct TidingsMessage {
    /// The room.
    pub(crate) room: String,
    /// The value of `store`; `None` leaves it out.
    pub(crate) store: Option<bool>,
    /// What `id` begins with; `None` leaves the id out.
    pub(crate) id: Option<String>,
    /// Where HTTP takes it.
    pub(crate) endpoint: &'static str,
}

/// A template that can't work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DialectError {
    /// The message sent doesn't bear the marker that is looked for.
    #[error(
        "the template makes messages without the marker; use {{data}}, or adapt --expect-marker"
    )]
    Unmarked,
    /// The request's template is not of the form `METHOD /path body`.
    #[error("--publish-request must be of the form 'POST /path body'")]
    Request,
}

impl Dialect {
    /// A tidings: everybody logs in by query, members join the message's room.
    pub(crate) fn tidings(server: &Server, message: &TidingsMessage, by: Transport) -> Self {
        let target = &server.target;
        let joint = if target.path.contains('?') { '&' } else { '?' };
        let (path, room) = (&target.path, encoded(&message.room));
        let member_path = format!("{path}{joint}uid=u{{member}}&room={room}");
        let publisher_path = format!("{path}{joint}uid=p{{publisher}}");
        let body = message.body();
        let publish = match by {
            Transport::WebSocket => PublishTemplate::Frame {
                frame: Template::new(&format!(r#"{{"type":"say","seq":{{seq}},{}"#, &body[1..])),
                acks: AckPattern::Tidings,
            },
            // Nothing else is published to a tidings: bytes come with a template of their own.
            Transport::Http | Transport::Tcp => {
                PublishTemplate::request("POST", message.endpoint, server, &body)
            }
        };
        Self {
            member_path: Template::new(&member_path),
            publisher_path: Template::new(&publisher_path),
            join: None,
            publishers_join: false,
            joined: Some(Finder::new(r#""type":"ok""#)),
            publish,
            marker: Marker::new(MARKER).expect("the constant has all parts"),
        }
    }

    /// A server to which a frame is a message for all others, without joining and acknowledging.
    pub(crate) fn raw() -> Self {
        Self {
            member_path: Template::new("/"),
            publisher_path: Template::new("/"),
            join: None,
            publishers_join: false,
            joined: None,
            publish: PublishTemplate::Frame {
                frame: Template::new("{data}"),
                acks: AckPattern::Nothing,
            },
            marker: Marker::new(MARKER).expect("the constant has all parts"),
        }
    }

    /// Makes sure that what is sent is recognized.
    ///
    /// # Errors
    ///
    /// [`DialectError::Unmarked`].
    pub(crate) fn check(&self, size: usize) -> Result<(), DialectError> {
        let publisher = if self.marker.tells_publishers() { 3 } else { 0 };
        let (mut payload, mut data) = (Vec::new(), Vec::new());
        message(publisher, 17, size, &mut data);
        let blanks = Blanks {
            member: 5,
            publisher,
            seq: 17,
            round: 0,
            data: &data,
        };
        self.publish.content().fill(&blanks, &mut payload);
        // A server may put the message into a JSON string: then quotes come with backslashes.
        let escaped = String::from_utf8_lossy(&payload).replace('"', "\\\"");
        let found = [&payload, escaped.as_bytes()].map(|text| self.marker.find(text));
        match found.contains(&Some((publisher, 17))) {
            true => Ok(()),
            false => Err(DialectError::Unmarked),
        }
    }
}

impl TidingsMessage {
    /// The message as HTTP takes it; a template.
    fn body(&self) -> String {
        let room = serde_json::Value::from(self.room.as_str());
        let mut body = format!(r#"{{"to":{{"room":{room}}}"#);
        if let Some(store) = self.store {
            body += &format!(r#","store":{store}"#);
        }
        if let Some(id) = &self.id {
            body += &format!(r#","id":"{id}-{{round}}-{{publisher}}-{{seq}}""#);
        }
        body + r#","data":{data}}"#
    }
}

impl PublishTemplate {
    /// A request to the target's server, whatever the target's own path is.
    fn request(method: &str, path: &str, server: &Server, body: &str) -> Self {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n",
            server.target.host
        );
        if !body.is_empty() {
            head += "Content-Type: application/json\r\n";
        }
        for field in &server.fields {
            head += &format!("{field}\r\n");
        }
        Self::Request {
            head: Template::new(&head),
            body: Template::new(body),
        }
    }

    /// Reads a request's template: `METHOD /path body`.
    ///
    /// # Errors
    ///
    /// [`DialectError::Request`].
    pub(crate) fn parse(text: &str, server: &Server) -> Result<Self, DialectError> {
        let mut parts = text.splitn(3, ' ');
        let (Some(method), Some(path)) = (parts.next(), parts.next()) else {
            return Err(DialectError::Request);
        };
        let capitals = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        match capitals && plain {
            true => {
                let body = parts.next().unwrap_or_default();
                Ok(Self::request(method, path, server, body))
            }
            false => Err(DialectError::Request),
        }
    }

    /// How it goes over the wire.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Frame { .. } => Transport::WebSocket,
            Self::Request { .. } => Transport::Http,
            Self::Bytes { .. } => Transport::Tcp,
        }
    }

    /// Frames that acknowledge; only WebSocket has them.
    pub(crate) fn acks(&self) -> &AckPattern {
        match self {
            Self::Frame { acks, .. } => acks,
            Self::Request { .. } | Self::Bytes { .. } => &AckPattern::Nothing,
        }
    }

    /// Whether every message is answered.
    pub(crate) fn is_answered(&self) -> bool {
        !matches!(
            self,
            Self::Frame {
                acks: AckPattern::Nothing,
                ..
            }
        )
    }

    /// Appends one message, as it goes over the wire; `scratch` is overwritten.
    pub(crate) fn write(&self, blanks: &Blanks<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        scratch.clear();
        self.content().fill(blanks, scratch);
        self.wrap(scratch, blanks, out);
    }

    /// Appends a payload or body that is made already.
    pub(crate) fn wrap(&self, content: &[u8], blanks: &Blanks<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Frame { .. } => out.extend(client_frame(TEXT, content, MASK)),
            Self::Request { head, .. } => {
                head.fill(blanks, out);
                out.extend_from_slice(
                    format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes(),
                );
                out.extend_from_slice(content);
            }
            Self::Bytes { .. } => out.extend_from_slice(content),
        }
    }

    /// The payload or body.
    pub(crate) fn content(&self) -> &Template {
        match self {
            Self::Frame { frame, .. } => frame,
            Self::Request { body, .. } => body,
            Self::Bytes { bytes, .. } => bytes,
        }
    }
}

/// A value as it may stand in a query (RFC 3986 §2.1).
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Trust;
    use crate::client::target::{Ownership, Scheme, Target};

    fn server(url: &str, fields: &[&str]) -> Server {
        Server {
            target: Target::parse(url, Scheme::WebSocket, Ownership::Unstated, Trust::System)
                .unwrap(),
            fields: fields.iter().map(|&field| field.into()).collect(),
            pid: None,
            source_addresses: None,
        }
    }

    fn message() -> TidingsMessage {
        TidingsMessage {
            room: "a b".into(),
            store: Some(false),
            id: Some("x".into()),
            endpoint: SINGLE,
        }
    }

    const BLANKS: Blanks<'_> = Blanks {
        member: 7,
        publisher: 1,
        seq: 2,
        round: 3,
        data: b"{}",
    };

    #[test]
    fn a_tidings_is_logged_into_by_query_and_told_by_say() {
        let dialect = Dialect::tidings(
            &server("ws://127.0.0.1:9/ws", &[]),
            &message(),
            Transport::WebSocket,
        );
        assert_eq!(dialect.member_path.filled(&BLANKS), "/ws?uid=u7&room=a%20b");
        assert_eq!(dialect.publisher_path.filled(&BLANKS), "/ws?uid=p1");
        assert_eq!(
            dialect.publish.content().filled(&BLANKS),
            r#"{"type":"say","seq":2,"to":{"room":"a b"},"store":false,"id":"x-3-1-2","data":{}}"#
        );
        dialect.check(64).unwrap();
    }

    #[test]
    fn a_request_is_whole() {
        let server = server("ws://127.0.0.1:9/ws?token=t", &["X: y"]);
        let dialect = Dialect::tidings(&server, &message(), Transport::Http);
        assert!(
            dialect
                .member_path
                .filled(&BLANKS)
                .starts_with("/ws?token=t&uid=u7&")
        );
        let (mut scratch, mut out) = (Vec::new(), Vec::new());
        dialect.publish.write(&BLANKS, &mut scratch, &mut out);
        let body = r#"{"to":{"room":"a b"},"store":false,"id":"x-3-1-2","data":{}}"#;
        let head = "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:9\r\nContent-Type: application/json\r\nX: y\r\n";
        let expected = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn templates_that_cannot_work_are_refused() {
        let server = server("ws://127.0.0.1:9/", &[]);
        for text in ["", "POST", "post /", "POST x", "POST http://x/ {data}"] {
            assert!(PublishTemplate::parse(text, &server).is_err(), "{text}");
        }
        let mut dialect = Dialect::raw();
        dialect.check(48).unwrap();
        for (frame, marker, works) in [
            ("hello", MARKER, false),
            ("n={seq}", "n={seq}", true),
            ("{data}", r#"\"t\":{publisher},\"n\":{seq}"#, true),
        ] {
            dialect.marker = Marker::new(marker).unwrap();
            dialect.publish = PublishTemplate::Frame {
                frame: Template::new(frame),
                acks: AckPattern::Nothing,
            };
            assert_eq!(dialect.check(64).is_ok(), works, "{frame}");
        }
    }
}
