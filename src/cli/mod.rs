//! The command line: flags, checked settings, run.

mod bench;
mod check;
mod gateway;
mod init;
mod listen;
mod log;
mod outbox;
mod send;
mod serve;
mod store;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A chat and push server: HTTP and WebSocket on one port.
///
/// Try it: run `tidings serve`, open the address that it prints in two browser windows, and chat;
/// the line for curl that it prints posts a message to both. What is said is kept in
/// ./tidings-data, and there after a restart.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    log: log::LogFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeFlags),
    Gateway(gateway::GatewayCommand),
    Outbox(outbox::OutboxCommand),
    Send(send::SendFlags),
    Listen(listen::ListenFlags),
    Init(init::Init),
    Check(check::Check),
    Token(token::TokenFlags),
    Store(store::Store),
    /// Put load on a WebSocket or HTTP server and measure it
    Bench(tidings_bench::Bench),
}

/// Runs what the command line says; its exit code is the program's.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    cli.log.start();
    let result = match cli.command {
        Command::Serve(flags) => flags.run(),
        Command::Gateway(command) => command.run(),
        Command::Outbox(command) => command.run(),
        Command::Send(flags) => flags.run(),
        Command::Listen(flags) => flags.run(),
        Command::Init(init) => init.run(),
        Command::Check(check) => Ok(check.run()),
        Command::Token(flags) => flags.run(),
        Command::Store(store) => store.run(),
        Command::Bench(bench) => bench::run(bench),
    };
    result.unwrap_or_else(|error| {
        eprintln!("tidings: {error:#}");
        ExitCode::FAILURE
    })
}

/// Who a person at a terminal is, where nothing else is said.
fn who_am_i() -> String {
    std::env::var("USER")
        .ok()
        .filter(|user| !user.is_empty())
        .unwrap_or_else(|| "somebody".into())
}
