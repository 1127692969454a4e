//! Flags of `bench publish`.

use clap::Args;

use super::dialect::Sending;
use super::fanout::size;
use super::{Common, IN_FLIGHT_BYTES_MAX, Load};
use crate::client::target::Scheme;
use crate::load::publish::Settings;
use crate::measure::report::JsonTo;

#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: Load,
    /// Unanswered messages (or batches) a connection; by HTTP more than one is pipelining.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Messages a request, by POST /v1/messages/batch; implies `--by http`.
    #[arg(long, conflicts_with_all = ["by", "publish_frame", "publish_request"],
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: Option<u16>,
    /// A message's data, in bytes.
    #[arg(long, default_value_t = 64, value_parser = size)]
    size: usize,
    #[command(flatten)]
    sending: Sending,
}

impl Publish {
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let target = self.common.target(Scheme::WebSocket)?;
        let batch = self.batch.map(usize::from);
        let bytes = self.in_flight as usize * batch.unwrap_or(1) * self.size;
        anyhow::ensure!(
            bytes <= IN_FLIGHT_BYTES_MAX,
            "--in-flight times --batch times --size is over {IN_FLIGHT_BYTES_MAX} bytes a connection"
        );
        let shape = match self.batch {
            Some(_) => self.sending.batches(&self.common, &target),
            None => self.sending.shape(&self.common, &target, None, self.size)?,
        };
        anyhow::ensure!(
            shape.publish.is_answered(),
            "--publish-frame needs --ack-marker: acknowledgements are what is counted"
        );
        Ok(Settings {
            shape,
            target,
            connections: self.load.connections,
            in_flight: self.in_flight as usize,
            batch,
            size: self.size,
            window: self.load.window(),
            threads: self.load.threads.into(),
            fields: self.common.headers.clone(),
            pid: self.common.pid,
            sources: self.common.sources(),
        })
    }

    pub(crate) fn json(&self) -> JsonTo {
        self.common.json()
    }
}
