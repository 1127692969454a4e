//! `tidings outbox`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tidings::gateway::{OfflineOutbox, OfflineOutboxError};

/// Look into a gateway's outbox
///
/// The gateway has to be stopped: its outbox belongs to it alone while it runs. What a running one
/// has is told by its /v1/stats.
#[derive(Debug, Args)]
pub(super) struct OutboxCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what waits, a message a line
    List(Part),
    /// Show what an upstream refused for good, a message a line, with the reason
    Dead(Part),
    /// Put what was refused for good at the end of the outbox again
    ///
    /// With several upstreams those who had taken a message may get it a second time.
    Retry {
        #[command(flatten)]
        folder: Folder,
    },
}

#[derive(Debug, Args)]
struct Folder {
    /// Folder of the outbox
    #[arg(
        long,
        value_name = "DIR",
        default_value = "tidings-outbox",
        env = "TIDINGS_GATEWAY_DATA"
    )]
    data: PathBuf,
}

#[derive(Debug, Args)]
struct Part {
    #[command(flatten)]
    folder: Folder,
    /// So many at most, the oldest first
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
}

impl OutboxCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut out = io::stdout().lock();
        let shown = match self.what {
            What::List(part) => {
                let shelf = open(&part.folder)?;
                shelf.waiting(part.limit, &mut |line| writeln!(out, "{line}"))
            }
            What::Dead(part) => {
                let shelf = open(&part.folder)?;
                shelf.dead(part.limit, &mut |line| writeln!(out, "{line}"))
            }
            What::Retry { folder } => {
                let count = open(&folder)?.retry().context("nothing was changed")?;
                writeln!(out, "{count} messages wait again")?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        match shown {
            // `head` has read enough.
            Err(OfflineOutboxError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            shown => shown.context("can't show it")?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn open(folder: &Folder) -> anyhow::Result<OfflineOutbox> {
    if !folder.data.is_dir() {
        bail!("there is no outbox in {}", folder.data.display());
    }
    OfflineOutbox::open(&folder.data)
        .with_context(|| format!("can't open {}", folder.data.display()))
}
