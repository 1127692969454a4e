//! Flags of a room: who is in there, how fast is published, for how long.

use std::time::Duration;

use clap::Args;

use crate::client::dialect::{Dialect, Transport};
use crate::client::server::Server;
use crate::flags::{connections, rate, seconds};
use crate::load::dialect_flags::{PublishFlags, SubscribeFlags, size};
use crate::load::talkers::TalkerFlags;

/// How fast is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many messages of each publisher are under way at any time.
    Window(usize),
    /// So many a second, of all publishers together, whether or not earlier ones arrived.
    Rate(f64),
}

/// The flags of `bench fanout` that a round needs.
#[derive(Debug, Args)]
pub(crate) struct RoomFlags {
    /// Connections that hear.
    #[arg(long, default_value_t = 1000, value_parser = connections)]
    pub(crate) members: usize,
    /// Publishers, each with a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) publishers: u16,
    /// Messages of a publisher under way: not acknowledged, or not at all members. By HTTP each has
    /// a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) in_flight: u16,
    /// Messages a second of all publishers together, however many are under way; by HTTP over
    /// `--in-flight` connections.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// A message's data, in bytes.
    #[arg(long, default_value_t = 64, value_parser = size)]
    pub(crate) size: usize,
    #[command(flatten)]
    publish: PublishFlags,
    #[command(flatten)]
    subscribe: SubscribeFlags,
    #[command(flatten)]
    pub(crate) talkers: TalkerFlags,
    /// Measured time of each round, in seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Time under load before the measured window, in seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: Duration,
    /// Rounds, each with new connections; the medians are reported.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) rounds: u8,
    /// Pause after joining, after the last message and after leaving, in seconds, so that the server comes to rest.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    pub(crate) settle: Duration,
    /// After this time, in seconds, a message is waited for no more.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) patience: Duration,
}

impl RoomFlags {
    /// How fast is published.
    pub(crate) fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Rate(rate),
            None => Pace::Window(self.in_flight.into()),
        }
    }

    /// Sequences of messages whose order must hold: one a publishing connection.
    pub(crate) fn streams(&self, transport: Transport) -> usize {
        let publishers = usize::from(self.publishers);
        match transport {
            Transport::WebSocket | Transport::Tcp => publishers,
            Transport::Http => publishers * usize::from(self.in_flight),
        }
    }

    /// Checks the flags that say how one talks to the server.
    ///
    /// # Errors
    ///
    /// A template can't work, or can't tell several streams apart.
    pub(crate) fn dialect(&self, server: &Server) -> anyhow::Result<Dialect> {
        let mut dialect = self.publish.dialect(server)?;
        self.subscribe.complete(&mut dialect, self.size)?;
        let streams = self.streams(dialect.publish.transport());
        anyhow::ensure!(
            streams == 1 || dialect.marker.tells_publishers(),
            "--expect-marker needs {{publisher}} to tell {streams} streams apart"
        );
        Ok(dialect)
    }
}
