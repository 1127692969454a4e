//! `tidings outbox`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tidings::gateway::{OfflineOutbox, OutboxView};

use crate::output::{Printer, print, tell};

/// Inspect the outbox of a gateway
///
/// What it shows is what is there at this moment, also while the gateway runs. Only for `retry` the
/// gateway has to be stopped.
#[derive(Debug, Args)]
pub(super) struct OutboxArgs {
    #[command(subcommand)]
    what: OutboxCommand,
}

#[derive(Debug, Subcommand)]
enum OutboxCommand {
    /// Print the messages that wait, one a line
    List(ListArgs),
    /// Print the messages that an upstream refused for good, one a line, each with the reason
    Dead(ListArgs),
    /// Put refused messages at the end of the outbox again
    ///
    /// With several upstreams, those that had taken a message may get it a second time.
    Retry {
        #[command(flatten)]
        folder: FolderFlags,
    },
}

#[derive(Debug, Args)]
struct FolderFlags {
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
struct ListArgs {
    #[command(flatten)]
    folder: FolderFlags,
    /// At most this many, the oldest first
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
}

impl OutboxArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (part, dead) = match self.what {
            OutboxCommand::List(part) => (part, false),
            OutboxCommand::Dead(part) => (part, true),
            OutboxCommand::Retry { folder } => return retry(&folder),
        };
        let view = look_into(&part.folder)?;
        let mut lines = CutLines::new(part.limit);
        // One more shows that there are more.
        let limit = part.limit.saturating_add(1);
        let shown = match dead {
            true => view.dead(limit, &mut |line| lines.show(line)),
            false => view.waiting(limit, &mut |line| lines.show(line)),
        };
        let more = lines.more;
        (lines.out).finish(shown.context("can't show the outbox"))?;
        if more {
            tell("there are more; --limit says how many are shown".into());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The lines of a list up to a bound, and whether it goes on behind them.
struct CutLines {
    out: Printer,
    left: usize,
    more: bool,
}

impl CutLines {
    fn new(limit: usize) -> Self {
        Self {
            out: Printer::new(),
            left: limit,
            more: false,
        }
    }

    fn show(&mut self, line: &str) -> io::Result<()> {
        if self.left == 0 {
            self.more = true;
            return Ok(());
        }
        self.left -= 1;
        self.out.line(line)
    }
}

fn retry(folder: &FolderFlags) -> anyhow::Result<ExitCode> {
    let data = existing(folder)?;
    let opened = OfflineOutbox::open(data);
    let mut outbox = opened.with_context(|| format!("can't open {}", data.display()))?;
    let count = outbox.retry().context("nothing was changed")?;
    print(format!("{count} messages wait again"))?;
    Ok(ExitCode::SUCCESS)
}

fn look_into(folder: &FolderFlags) -> anyhow::Result<OutboxView> {
    let data = existing(folder)?;
    OutboxView::open(data).with_context(|| format!("can't read {}", data.display()))
}

fn existing(folder: &FolderFlags) -> anyhow::Result<&Path> {
    if !folder.data.is_dir() {
        bail!("there is no outbox in {}", folder.data.display());
    }
    Ok(&folder.data)
}
