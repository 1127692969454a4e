//! An engine under test, and the server that writes to it.

use std::process::{Child, Command};

use rustix::process::{Pid, Signal};

use super::mariadb::MariaDb;
use super::redis_server::RedisServer;
use super::support::installed::is_there;
use super::support::program::Program;
use super::support::signal::send;
use super::table::Table;

/// The name of the server in its store.
pub const NODE: &str = "eu-1";

/// The password that each engine asks for.
pub const PASSWORD: &str = "a password that nobody shows";

/// An engine on a Unix socket, with its data in a folder of its own.
pub trait Engine {
    /// The process, while there is one.
    fn child(&mut self) -> &mut Option<Child>;

    /// Starts it on the data that it had, and waits until it answers.
    fn start(&mut self);

    /// The settings of a server that writes there.
    fn settings(&self) -> Vec<String>;

    /// What stands there, as the contract reads it.
    fn table(&mut self) -> Table;

    /// Rows of generations that don't stand under any name.
    fn leftovers(&mut self) -> usize;

    /// Forgets everything at once.
    fn empty(&mut self);

    /// Has the server's last sign of life be six seconds older, by the engine's own clock.
    fn age(&mut self);

    /// What the examples in Rust and PHP are told.
    fn arguments(&self) -> Vec<String>;

    /// Ends it as a crash does.
    fn kill(&mut self) {
        let mut child = self.child().take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it from doing anything, or lets it go on.
    fn signal(&mut self, signal: Signal) {
        let child = self.child().as_ref().expect("it runs");
        send(Pid::from_child(child), signal);
    }
}

/// Runs a test with each engine that is there.
pub fn with_each(test: impl Fn(&mut dyn Engine)) {
    if is_there("redis-server") {
        test(&mut RedisServer::new());
    }
    if is_there("mariadbd") {
        test(&mut MariaDb::new());
    }
}

/// A server that writes to an engine, with further settings.
pub fn serve(engine: &dyn Engine, more: &[&str]) -> Program {
    Program::start(&mut command(engine, more))
}

/// The command that starts such a server.
pub fn command(engine: &dyn Engine, more: &[&str]) -> Command {
    let mut command = tidings("serve", engine, more);
    command.args(["--listen", "127.0.0.1:0", "--set", "store.data=none"]);
    command
}

/// A command of `tidings` with the settings of such a server.
pub fn tidings(subcommand: &str, engine: &dyn Engine, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.arg(subcommand).args(["--set", "node=eu-1"]);
    let settings = engine.settings();
    let more = more.iter().map(|one| (*one).to_owned());
    for setting in settings.into_iter().chain(more) {
        command.args(["--set", &setting]);
    }
    command
}
