//! Flags of `bench fanout`.

use std::time::Duration;

use clap::Args;

use super::dialect::{Hearing, Sending};
use super::{Common, connections, rate, seconds};
use crate::client::marker::SIZE_MIN;
use crate::client::target::Scheme;
use crate::load::driver::Window;
use crate::load::room::{Floor, Pace, Settings};
use crate::measure::report::JsonTo;

#[derive(Debug, Args)]
pub(crate) struct Fanout {
    #[command(flatten)]
    common: Common,
    /// Connections that hear.
    #[arg(long, default_value_t = 1000, value_parser = connections)]
    members: usize,
    /// Publishers, each with a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    publishers: u16,
    /// Messages of a publisher under way: not acknowledged, or not at all members. By HTTP each has
    /// a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Messages a second of all publishers together, however many are under way; by HTTP over
    /// `--in-flight` connections.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// A message's data, in bytes.
    #[arg(long, default_value_t = 64, value_parser = size)]
    size: usize,
    #[command(flatten)]
    sending: Sending,
    #[command(flatten)]
    hearing: Hearing,
    /// Measured time of each round, in seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Time under load before the measured window, in seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Rounds, each with new connections; the medians are reported.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Pause after joining, after the last message and after leaving, in seconds, so that the server comes to rest.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    settle: Duration,
    /// After this time, in seconds, a message is waited for no more.
    #[arg(long, default_value = "5", value_parser = seconds)]
    patience: Duration,
    /// Measures `bench raw --fanout` in turns with the server, and reports both and the ratio.
    #[arg(long)]
    floor: bool,
}

impl Fanout {
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let target = self.common.target(Scheme::WebSocket)?;
        let shape = self
            .sending
            .shape(&self.common, &target, Some(&self.hearing), self.size)?;
        let settings = Settings {
            shape,
            target,
            members: self.members,
            publishers: self.publishers.into(),
            http_connections: self.in_flight.into(),
            pace: match self.rate {
                Some(rate) => Pace::Rate(rate),
                None => Pace::Window(self.in_flight.into()),
            },
            size: self.size,
            window: Window {
                warm_up: self.warm_up,
                measured: self.seconds,
            },
            rounds: self.rounds.into(),
            settle: self.settle,
            patience: self.patience,
            fields: self.common.headers.clone(),
            pid: self.common.pid,
            sources: self.common.sources(),
            floor: match self.floor {
                true => Floor::InTurns,
                false => Floor::Without,
            },
        };
        anyhow::ensure!(
            settings.streams() == 1 || settings.shape.marker.tells_publishers(),
            "--expect-marker needs {{publisher}} to tell {} streams apart",
            settings.streams()
        );
        Ok(settings)
    }

    pub(crate) fn json(&self) -> JsonTo {
        self.common.json()
    }
}

/// A message's size, with room for the marker.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ SIZE_MIN..=0x10_0000) => Ok(size),
        _ => Err(format!("not a number from {SIZE_MIN} to 1048576")),
    }
}
