//! The command line: a mode of the generator, its flags, and how it ends.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::flags::JsonFlag;
use crate::floor::durable_log::OpenLog;
use crate::floor::raw::Raw;
use crate::floor::raw_log::RawLog;
use crate::load::connect::Connect;
use crate::load::echo::Echo;
use crate::load::fanout::Fanout;
use crate::load::http::Http;
use crate::load::idle::Idle;
use crate::load::publish::Publish;
use crate::measure::failure::Failures;
use crate::measure::report::Report;

/// The modes of the load generator.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    Echo(Echo),
    Connect(Connect),
    Idle(Idle),
    Http(Http),
    Fanout(Box<Fanout>),
    Publish(Box<Publish>),
    Raw(Raw),
    RawLog(RawLog),
}

impl Bench {
    /// Runs the mode; failed connections make the exit status 1. `open` gives the program's own log
    /// to the mode that compares one with its floor.
    ///
    /// # Errors
    ///
    /// The flags can't be used, or nothing could be measured.
    pub fn run(self, open: OpenLog) -> anyhow::Result<ExitCode> {
        match self.mode {
            Mode::Echo(mode) => finish(mode.run()?, &mode.server.json),
            Mode::Connect(mode) => finish(mode.run()?, &mode.server.json),
            Mode::Idle(mode) => finish(mode.run()?, &mode.server.json),
            Mode::Http(mode) => finish(mode.run()?, &mode.server.json),
            Mode::Fanout(mode) => finish(mode.run()?, &mode.server.json),
            Mode::Publish(mode) => finish(mode.run()?, &mode.server.json),
            Mode::Raw(mode) => {
                mode.run()?;
                Ok(ExitCode::SUCCESS)
            }
            Mode::RawLog(mode) => finish(mode.run(open)?, &mode.json),
        }
    }
}

fn finish((report, failures): (Report, Failures), json: &JsonFlag) -> anyhow::Result<ExitCode> {
    report.print(&json.to())?;
    Ok(if failures.count() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
