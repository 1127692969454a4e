//! Flags that say how one talks to the server: a tidings by itself, others by template.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};

use super::Common;
use crate::client::dialect::{Acks, BATCH, By, Publish, SINGLE, Say, Shape};
use crate::client::marker::{MARKER, Marker};
use crate::client::target::Target;
use crate::client::template::Template;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    Websocket,
    Http,
}

/// How messages are sent; without a template the server is a tidings.
#[derive(Debug, Args)]
pub(crate) struct Sending {
    /// How to publish: `say` on a WebSocket, or POST /v1/messages on kept connections.
    #[arg(long, value_enum, default_value_t = Way::Websocket)]
    by: Way,
    /// The room.
    #[arg(long, default_value = "bench")]
    room: String,
    /// Says whether messages are to be stored [default: says nothing].
    #[arg(long, value_name = "BOOL")]
    store: Option<bool>,
    /// The same as `--store true`.
    #[arg(long, conflicts_with = "store")]
    stored: bool,
    /// Another server's frame to publish with: {data} is the message (JSON), {seq} its number,
    /// {publisher} its stream's, {round} the round's, {member} the connection's, also in the URL.
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

/// How members join and recognize messages.
#[derive(Debug, Args)]
pub(crate) struct Hearing {
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

impl Sending {
    /// The shape of the server; with members, their side is checked with messages of `size` bytes.
    pub(crate) fn shape(
        &self,
        common: &Common,
        target: &Target,
        hearing: Option<&Hearing>,
        size: usize,
    ) -> anyhow::Result<Shape> {
        let by = match self.by {
            Way::Websocket => By::WebSocket,
            Way::Http => By::Http,
        };
        let mut shape = match self.template(common, target)? {
            None => Shape::tidings(target, &common.headers, &self.say(SINGLE), by),
            Some(publish) => Shape {
                member_path: Template::new(&target.path),
                publisher_path: Template::new(&target.path),
                publish,
                ..Shape::raw()
            },
        };
        let Some(hearing) = hearing else {
            return Ok(shape);
        };
        if let Some(frame) = &hearing.join_frame {
            anyhow::ensure!(frame.len() <= 4096, "--join-frame is over 4096 bytes");
            shape.join = Some(Template::new(frame));
            shape.publishers_join = hearing.publishers_join;
        }
        if let Some(text) = &hearing.joined_marker {
            shape.joined = Some(memchr::memmem::Finder::new(text).into_owned());
        }
        shape.marker = Marker::new(&hearing.expect_marker)?;
        shape.check(size)?;
        Ok(shape)
    }

    /// The shape of a tidings that takes batches by HTTP.
    pub(crate) fn batches(&self, common: &Common, target: &Target) -> Shape {
        Shape::tidings(target, &common.headers, &self.say(BATCH), By::Http)
    }

    fn template(&self, common: &Common, target: &Target) -> anyhow::Result<Option<Publish>> {
        if let Some(request) = &self.publish_request {
            return Ok(Some(Publish::parse(request, target, &common.headers)?));
        }
        let Some(frame) = &self.publish_frame else {
            return Ok(None);
        };
        let acks = match &self.ack_marker {
            Some(text) => Acks::parse(text)?,
            None => Acks::Nothing,
        };
        Ok(Some(Publish::Frame {
            frame: Template::new(frame),
            acks,
        }))
    }

    fn say(&self, endpoint: &'static str) -> Say {
        // Two runs within the server's memory of ids must not repeat each other's.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |time| time.as_millis());
        Say {
            room: self.room.clone(),
            store: self.store.or(self.stored.then_some(true)),
            id: Some(format!("b{now:x}-{:x}", std::process::id())),
            endpoint,
        }
    }
}
