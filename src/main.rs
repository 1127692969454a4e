//! The `tidings` binary: the library's first user.

#![warn(clippy::unwrap_used, clippy::dbg_macro, clippy::todo)]
// Only `output` writes to standard output and standard error: these macros wait for a reader that is
// stuck, and panic when it has gone.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod auth;
mod cli;
mod client;
mod config;
mod control;
mod daemon;
mod output;
mod page;
mod service;
mod version;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
