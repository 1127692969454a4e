//! Flags that say how one talks to the server: a tidings by itself, others by template.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use memchr::memmem::Finder;

use crate::client::ack::AckPattern;
use crate::client::byte_acks::AckTexts;
use crate::client::dialect::{BATCH, Dialect, PublishTemplate, SINGLE, TidingsMessage, Transport};
use crate::client::marker::{MARKER, Marker, SIZE_MIN};
use crate::client::server::Server;
use crate::client::template::Template;

/// How messages are sent; without a template the server is a tidings.
#[derive(Debug, Args)]
pub(crate) struct PublishFlags {
    /// How to publish: `say` on a WebSocket, or POST /v1/messages on kept connections.
    #[arg(long, value_enum, default_value_t = Transport::WebSocket)]
    by: Transport,
    /// The room.
    #[arg(long, default_value = "bench")]
    room: String,
    /// Says whether messages are to be stored [default: says nothing].
    #[arg(long, value_name = "BOOL")]
    store: Option<bool>,
    /// The same as `--store true`.
    #[arg(long, conflicts_with = "store")]
    stored: bool,
    /// Another server's frame to publish with: {data} is the message (JSON), {seq} its number
    /// ({seq%10}: the rest of a division by 10), {publisher} its stream's, {round} the round's,
    /// {member} the connection's, also in the URL.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["by", "publish_request"])]
    publish_frame: Option<String>,
    /// Another server's request to publish with, `POST /path body`, with the same placeholders.
    #[arg(long, value_name = "TEXT", conflicts_with = "by")]
    publish_request: Option<String>,
    /// Text right before a message's number in the frame that acknowledges it, then {seq}
    /// [default: frames of a template are not acknowledged].
    #[arg(long, value_name = "TEXT", requires = "publish_frame")]
    ack_marker: Option<String>,
}

/// How messages are sent to a server that speaks neither WebSocket nor HTTP.
#[derive(Debug, Args)]
pub(crate) struct ByteFlags {
    /// Another server's bytes to publish with, over TCP alone, with the same placeholders; of the
    /// URL only the address counts.
    #[arg(long, value_name = "TEXT", requires = "ack_bytes",
          conflicts_with_all = ["by", "publish_frame", "publish_request", "batch"])]
    publish_bytes: Option<String>,
    /// What such a connection says first.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "publish_bytes",
        default_value = ""
    )]
    first_bytes: String,
    /// Text that each acknowledgement of such a server has once.
    #[arg(long, value_name = "TEXT", requires = "publish_bytes")]
    ack_bytes: Option<String>,
    /// Text that each refusal of such a server has once [default: it has none].
    #[arg(long, value_name = "TEXT", requires = "publish_bytes")]
    refusal_bytes: Option<String>,
}

impl ByteFlags {
    /// The template, where there is one.
    ///
    /// # Errors
    ///
    /// A text to look for is empty.
    pub(crate) fn template(&self) -> anyhow::Result<Option<PublishTemplate>> {
        let (Some(bytes), Some(taken)) = (&self.publish_bytes, &self.ack_bytes) else {
            return Ok(None);
        };
        let refused = self.refusal_bytes.as_ref();
        anyhow::ensure!(
            !taken.is_empty() && refused.is_none_or(|text| !text.is_empty()),
            "--ack-bytes and --refusal-bytes need a text"
        );
        Ok(Some(PublishTemplate::Bytes {
            first: Template::new(&self.first_bytes),
            bytes: Template::new(bytes),
            acks: AckTexts {
                taken: taken.clone().into(),
                refused: refused.map(|text| text.clone().into()),
            },
        }))
    }
}

/// How members join and recognize messages.
#[derive(Debug, Args)]
pub(crate) struct SubscribeFlags {
    /// Another server's frame to join with, with {member}.
    #[arg(long, value_name = "TEXT")]
    join_frame: Option<String>,
    /// Publishers send that frame too.
    #[arg(long, requires = "join_frame")]
    publishers_join: bool,
    /// Text in the frame that tells a member that it is in [default: nothing is waited for].
    #[arg(long, value_name = "TEXT")]
    joined_marker: Option<String>,
    /// How a delivered message is recognized.
    #[arg(long, value_name = "TEXT", default_value = MARKER)]
    expect_marker: String,
}

impl PublishFlags {
    /// The dialect of the server, without the members' side of it.
    ///
    /// # Errors
    ///
    /// A template can't work.
    pub(crate) fn dialect(&self, server: &Server) -> anyhow::Result<Dialect> {
        let Some(publish) = self.template(server)? else {
            let message = self.message(SINGLE);
            return Ok(Dialect::tidings(server, &message, self.by));
        };
        Ok(Dialect {
            member_path: Template::new(&server.target.path),
            publisher_path: Template::new(&server.target.path),
            publish,
            ..Dialect::raw()
        })
    }

    /// The dialect of a tidings that takes batches by HTTP.
    pub(crate) fn batches(&self, server: &Server) -> Dialect {
        Dialect::tidings(server, &self.message(BATCH), Transport::Http)
    }

    fn template(&self, server: &Server) -> anyhow::Result<Option<PublishTemplate>> {
        if let Some(request) = &self.publish_request {
            return Ok(Some(PublishTemplate::parse(request, server)?));
        }
        let Some(frame) = &self.publish_frame else {
            return Ok(None);
        };
        let acks = match &self.ack_marker {
            Some(text) => AckPattern::parse(text)?,
            None => AckPattern::Nothing,
        };
        Ok(Some(PublishTemplate::Frame {
            frame: Template::new(frame),
            acks,
        }))
    }

    fn message(&self, endpoint: &'static str) -> TidingsMessage {
        // Two runs within the server's memory of ids must not repeat each other's.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |time| time.as_millis());
        TidingsMessage {
            room: self.room.clone(),
            store: self.store.or(self.stored.then_some(true)),
            id: Some(format!("b{now:x}-{:x}", std::process::id())),
            endpoint,
        }
    }
}

impl SubscribeFlags {
    /// Adds the members' side to a dialect, and checks it with messages of `size` bytes.
    ///
    /// # Errors
    ///
    /// Members would not recognize what is published.
    pub(crate) fn complete(&self, dialect: &mut Dialect, size: usize) -> anyhow::Result<()> {
        if let Some(frame) = &self.join_frame {
            anyhow::ensure!(frame.len() <= 4096, "--join-frame is over 4096 bytes");
            dialect.join = Some(Template::new(frame));
            dialect.publishers_join = self.publishers_join;
        }
        if let Some(text) = &self.joined_marker {
            dialect.joined = Some(Finder::new(text).into_owned());
        }
        dialect.marker = Marker::new(&self.expect_marker)?;
        Ok(dialect.check(size)?)
    }
}

/// Reads a message's size, which has room for the marker.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ SIZE_MIN..=0x10_0000) => Ok(size),
        _ => Err(format!("not a number from {SIZE_MIN} to 1048576")),
    }
}
