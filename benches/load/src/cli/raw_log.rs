//! Flags of `tidings bench raw-log`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{json_to, seconds};
use crate::floor::raw_log::Settings;
use crate::measure::report::JsonTo;

#[derive(Debug, Args)]
pub(super) struct RawLog {
    /// Directory on the disk in question; what is made in it is removed again.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Records that wait for one sync.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Bytes of a record.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    size: u32,
    /// Measured time, in seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Has the server's own journal do it beside, in turns.
    #[arg(long)]
    journal: bool,
    /// Appends the result as a line of JSON to FILE; `-` puts it on standard output, the table on
    /// standard error.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

impl RawLog {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            data: self.data.clone(),
            in_flight: self.in_flight as usize,
            size: self.size as usize,
            seconds: self.seconds,
            journal: self.journal,
        }
    }

    pub(super) fn json(&self) -> JsonTo {
        json_to(self.json.as_deref())
    }
}
