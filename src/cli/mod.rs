//! The command line: parses flags, loads settings, runs a command.
//!
//! Each file but `account`, `arguments`, `asking`, `log`, `start` and `thaw` is one command.

mod account;
mod arguments;
mod asking;
mod bench;
mod check;
mod cluster;
mod gateway;
mod init;
mod listen;
mod log;
mod outbox;
mod rehearse;
mod reload;
mod send;
mod serve;
mod start;
mod status;
mod stop;
mod store;
mod thaw;
mod token;
mod upgrade;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tidings::server::upgrade::entered;

use crate::daemon::REHEARSE;
use crate::output::{FlushAtEnd, ReaderGone, tell, tell_without_waiting};
use crate::version::version;

/// A chat and push server: HTTP and WebSocket on one port.
///
/// Try it: run `tidings serve`, open the address that it prints in two browser windows, and chat;
/// the line for curl that it prints posts a message to both. What is said is kept in
/// ./tidings-data, and there after a restart.
#[derive(Debug, Parser)]
#[command(version = version(), max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    log: log::LogFlags,
    #[command(subcommand)]
    command: CliCommand,
}

/// The exit code of a command that asks a server where none runs.
const NOT_RUNNING: u8 = 3;

#[derive(Debug, Subcommand)]
enum CliCommand {
    Serve(serve::ServeArgs),
    Gateway(gateway::GatewayArgs),
    Status(status::StatusArgs),
    Reload(reload::ReloadArgs),
    Upgrade(upgrade::UpgradeArgs),
    #[command(hide = true, name = REHEARSE)]
    Rehearse(rehearse::RehearseArgs),
    Stop(stop::StopArgs),
    Outbox(outbox::OutboxArgs),
    Send(send::SendArgs),
    Listen(listen::ListenArgs),
    Init(init::InitArgs),
    Check(check::CheckArgs),
    Token(token::TokenArgs),
    Store(store::StoreArgs),
    Cluster(cluster::ClusterArgs),
    /// Put load on a WebSocket or HTTP server and measure it
    Bench(tidings_bench::Bench),
}

/// Runs what the command line says; its exit code is the program's.
#[must_use]
pub fn run() -> ExitCode {
    let _flush = FlushAtEnd;
    match entered() {
        Ok(None) => command(),
        Ok(Some(entered)) => told(thaw::thaw(entered), tell_without_waiting),
        Err(error) => told(
            Err(error).context("what was handed over can't be read"),
            tell_without_waiting,
        ),
    }
}

/// Runs the command of the arguments.
fn command() -> ExitCode {
    let arguments = arguments::arguments();
    let cli = Cli::parse_from(&arguments);
    let tell = match &cli.command {
        CliCommand::Serve(_) | CliCommand::Gateway(_) => tell_without_waiting,
        _ => {
            // Nothing ever changes its level.
            drop(cli.log.start());
            tell
        }
    };
    let result = match cli.command {
        CliCommand::Serve(command) => command.run(&cli.log, &arguments),
        CliCommand::Gateway(command) => command.run(&cli.log, &arguments),
        CliCommand::Status(command) => command.run(),
        CliCommand::Reload(command) => command.run(),
        CliCommand::Upgrade(command) => command.run(),
        CliCommand::Rehearse(command) => command.run(),
        CliCommand::Stop(command) => command.run(),
        CliCommand::Outbox(command) => command.run(),
        CliCommand::Send(flags) => flags.run(),
        CliCommand::Listen(flags) => flags.run(),
        CliCommand::Init(init) => init.run(),
        CliCommand::Check(check) => check.run(),
        CliCommand::Token(flags) => flags.run(),
        CliCommand::Store(store) => store.run(),
        CliCommand::Cluster(cluster) => cluster.run(),
        CliCommand::Bench(bench) => bench::run(bench),
    };
    told(result, tell)
}

/// Tells what went wrong, and gives the exit code.
fn told(result: anyhow::Result<ExitCode>, tell: impl Fn(String)) -> ExitCode {
    match result {
        Ok(code) => code,
        // `head` has read enough: nothing went wrong.
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            tell(format!("tidings: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The user to be where no flag says so: the account at the terminal.
fn who_am_i() -> String {
    std::env::var("USER")
        .ok()
        .filter(|user| !user.is_empty())
        .unwrap_or_else(|| "somebody".into())
}
