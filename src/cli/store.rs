//! `tidings store`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidings::store::{dump, repair, verify};

use crate::output::{Printer, print};

/// Inspect and mend a data directory that no server has open
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Read all files and report damage; the exit code is 1 then, and nothing is changed
    Verify {
        /// Directory with the files
        directory: PathBuf,
    },
    /// Print every record as a line of JSON, also those behind damage
    Dump {
        /// Directory with the files
        directory: PathBuf,
    },
    /// Cut a damaged file, so that the store opens again without what was there
    ///
    /// What is cut off stays beside the file, with `.cut` at the end of its name. It ends before the
    /// batch in which the position lies. Make a copy of the directory first. After a cut in the
    /// newest file offsets are given again: all channels begin a new epoch then, so that clients
    /// which come back are told (recovered: false) and ask for the history anew. The channels are
    /// named; their messages before the cut stay.
    Repair {
        /// The damaged file
        file: PathBuf,
        /// Position from which on the file isn't to be trusted
        #[arg(long, value_name = "BYTE")]
        cut_at: u64,
    },
}

impl StoreArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            StoreCommand::Verify { directory } => {
                let report = verify(&directory)?;
                let files = report.files.len();
                if let Some(damage) = &report.damage {
                    anyhow::bail!("{damage}");
                }
                print(format!(
                    "all is right: {} messages in {} channels, in {files} {}",
                    report.messages,
                    report.channels,
                    if files == 1 { "file" } else { "files" }
                ))?;
                if report.torn_bytes > 0 {
                    print(format!(
                        "the last batch was not written to its end: a start cuts off {} bytes, \
                         which were never acknowledged",
                        report.torn_bytes
                    ))?;
                }
            }
            StoreCommand::Dump { directory } => {
                let mut out = Printer::new();
                let dumped = dump(&directory, &mut |line| out.line(line));
                out.finish(dumped)?;
            }
            StoreCommand::Repair { file, cut_at } => {
                let repaired = repair(&file, cut_at)?;
                print(format!(
                    "cut at byte {}; {} bytes are in {}, {} records of them can be read",
                    repaired.cut_at,
                    repaired.bytes,
                    repaired.kept.display(),
                    repaired.records
                ))?;
                for (channel, count) in &repaired.lost {
                    print(format!("{channel:?} has lost its {count} oldest messages"))?;
                }
                for channel in &repaired.new_epochs {
                    print(format!("{channel:?} begins a new epoch"))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
