//! The `tidings` binary: the library's first user.

mod bench;
mod cli;
mod client;
mod daemon;
mod page;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
