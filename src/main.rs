//! The `tidings` binary: the library's first user.

#![warn(clippy::unwrap_used, clippy::dbg_macro, clippy::todo)]

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
