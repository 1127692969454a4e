//! The `tidings` binary: the library's first user.

mod access;
mod bench;
mod cli;
mod config;
mod daemon;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
