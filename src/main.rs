//! The `tidings` binary: the library's first user.

mod auth;
mod cli;
mod client;
mod config;
mod daemon;
mod page;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
