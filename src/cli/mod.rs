//! The command line.

mod bench;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chat and push server: HTTP and WebSocket on one port.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Puts load on a WebSocket or HTTP server and measures it.
    Bench(bench::Bench),
}

impl Cli {
    /// Runs what was asked for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Bench(bench) => bench.run(),
        }
    }
}
