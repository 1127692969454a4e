//! The command line: flags to checked settings, and off.

mod dialect;
mod fanout;
mod publish;
mod raw_log;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::client::idle::Leave;
use crate::client::target::{Ownership, Scheme, Target};
use crate::floor::durable_log::OpenLog;
use crate::floor::{raw, raw_log as raw_log_mode};
use crate::load::driver::Window;
use crate::load::{connect, echo, fanout as fanout_mode, http, idle, publish as publish_mode};
use crate::measure::failure::Failures;
use crate::measure::report::{JsonTo, Report};

use fanout::Fanout;
use publish::Publish;
use raw_log::RawLog;

/// Bytes in flight on one connection that the generator prepares for at most.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// The modes of the load generator.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Messages that the server sends back: rate, latency, CPU time a message.
    Echo(Echo),
    /// Connections that come and go as fast as asked: handshakes a second, latency.
    Connect(Connect),
    /// Connections that do nothing: memory a connection, CPU time all the same. {member} in the URL
    /// is each one's number, so that they can log in: ws://…/ws?uid=u{member}&room=r{member}.
    Idle(Idle),
    /// HTTP requests over kept connections: rate, latency, status codes, CPU time a request.
    Http(Http),
    /// A room in which a few publish and all others hear: latency, order, CPU time a delivery.
    Fanout(Box<Fanout>),
    /// Messages that the server takes: rate, latency, CPU time a message.
    Publish(Box<Publish>),
    /// The floor to compare with: a bare epoll server that answers without parsing.
    Raw(Raw),
    /// The floor of what is durable: records appended to a file, one sync for all in flight.
    RawLog(RawLog),
}

impl Bench {
    /// Runs the mode; failed connections make the exit status 1.
    ///
    /// # Errors
    ///
    /// The settings can't be used, or nothing could be measured.
    pub fn run(self, open: OpenLog) -> anyhow::Result<ExitCode> {
        match self.mode {
            Mode::Echo(args) => finish(echo::run(&args.settings()?)?, &args.common.json()),
            Mode::Connect(args) => finish(connect::run(&args.settings()?)?, &args.common.json()),
            Mode::Idle(args) => finish(idle::run(&args.settings()?)?, &args.common.json()),
            Mode::Http(args) => finish(http::run(&args.settings()?)?, &args.common.json()),
            Mode::Fanout(args) => finish(fanout_mode::run(&args.settings()?)?, &args.json()),
            Mode::Publish(args) => finish(publish_mode::run(&args.settings()?)?, &args.json()),
            Mode::Raw(args) => {
                raw::run(&args.settings())?;
                Ok(ExitCode::SUCCESS)
            }
            Mode::RawLog(args) => finish(raw_log_mode::run(&args.settings(), open)?, &args.json()),
        }
    }
}

fn finish((report, failures): (Report, Failures), json: &JsonTo) -> anyhow::Result<ExitCode> {
    report.print(json)?;
    Ok(if failures.count() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Flags of every mode that loads a server.
#[derive(Debug, Args)]
struct Common {
    /// The server's URL: ws://host:port/path (http://… for the mode http).
    #[arg(long)]
    url: String,
    /// Process id of the server: CPU time and memory of it and all its descendants are measured.
    #[arg(long)]
    pid: Option<u32>,
    /// Appends the result as a line of JSON to FILE; `-` puts it on standard output, the table on
    /// standard error.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Local addresses 127.0.0.2 and up to connect from [default: as many as ports need].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=250))]
    source_addresses: Option<u8>,
    /// Further header field of each request or handshake, `Name: value`; may be repeated.
    #[arg(long = "header", value_name = "FIELD", value_parser = field)]
    headers: Vec<String>,
    /// States that a target that isn't on this machine is yours to load.
    #[arg(long)]
    target_is_mine: bool,
}

impl Common {
    fn target(&self, scheme: Scheme) -> anyhow::Result<Target> {
        let ownership = if self.target_is_mine {
            Ownership::Mine
        } else {
            Ownership::Unstated
        };
        Ok(Target::parse(&self.url, scheme, ownership)?)
    }

    fn json(&self) -> JsonTo {
        json_to(self.json.as_deref())
    }

    fn sources(&self) -> Option<usize> {
        self.source_addresses.map(usize::from)
    }
}

/// Flags of the modes that keep connections busy for a time.
#[derive(Debug, Args)]
struct Load {
    /// Connections at the same time.
    #[arg(long, default_value_t = 64, value_parser = connections)]
    connections: usize,
    /// Measured time, in seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Time under load before the measured window, in seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
}

impl Load {
    fn window(&self) -> Window {
        Window {
            warm_up: self.warm_up,
            measured: self.seconds,
        }
    }
}

#[derive(Debug, Args)]
struct Echo {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: Load,
    /// Unanswered messages a connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Payload of a message, in bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=16 << 20))]
    size: u32,
    /// Sends text frames (the default).
    #[arg(long, conflicts_with = "binary")]
    text: bool,
    /// Sends binary frames.
    #[arg(long)]
    binary: bool,
    /// What the server answers each message with, when that isn't the message itself.
    #[arg(long, value_name = "TEXT")]
    answer: Option<String>,
    /// Rounds, each with new connections; the medians are reported.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Measures `bench raw` in turns with the server, and reports both and the ratio.
    #[arg(long)]
    floor: bool,
    /// Threads of that floor; as many as the server has reactors makes a fair comparison.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    floor_threads: u8,
}

impl Echo {
    fn settings(&self) -> anyhow::Result<echo::Settings> {
        let (in_flight, size) = (self.in_flight as usize, self.size as usize);
        anyhow::ensure!(
            in_flight * size <= IN_FLIGHT_BYTES_MAX,
            "--in-flight times --size is over {IN_FLIGHT_BYTES_MAX} bytes a connection"
        );
        Ok(echo::Settings {
            target: self.common.target(Scheme::WebSocket)?,
            connections: self.load.connections,
            in_flight,
            size,
            kind: if self.binary {
                echo::Kind::Binary
            } else {
                echo::Kind::Text
            },
            answer: self.answer.clone(),
            fields: self.common.headers.clone(),
            window: self.load.window(),
            rounds: self.rounds.into(),
            threads: self.load.threads.into(),
            pid: self.common.pid,
            sources: self.common.sources(),
            floor: match self.floor {
                true => echo::Floor::Threads(self.floor_threads.into()),
                false => echo::Floor::Without,
            },
        })
    }
}

#[derive(Debug, Args)]
struct Connect {
    #[command(flatten)]
    common: Common,
    /// Connections in all, each round.
    #[arg(long, default_value_t = 10_000, value_parser = connections)]
    count: usize,
    /// Connections that are coming or going at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// New connections a second at most [default: as fast as it goes].
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Begins no new connection after this time, in seconds, each round.
    #[arg(long, default_value = "60", value_parser = seconds)]
    seconds: Duration,
    /// How often to do all of it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Leaves by a reset, without a Close frame.
    #[arg(long)]
    abrupt: bool,
}

impl Connect {
    fn settings(&self) -> anyhow::Result<connect::Settings> {
        Ok(connect::Settings {
            target: self.common.target(Scheme::WebSocket)?,
            count: self.count,
            in_flight: self.in_flight as usize,
            rate: self.rate,
            time_max: self.seconds,
            rounds: self.rounds.into(),
            leave: leave(self.abrupt),
            fields: self.common.headers.clone(),
            pid: self.common.pid,
            sources: self.common.sources(),
        })
    }
}

#[derive(Debug, Args)]
struct Idle {
    #[command(flatten)]
    common: Common,
    /// Connections at the same time.
    #[arg(long, default_value_t = 10_000, value_parser = connections)]
    connections: usize,
    /// How long they stay, in seconds, each round.
    #[arg(long, default_value = "30", value_parser = seconds)]
    seconds: Duration,
    /// Pause before the stay and after leaving, in seconds, so that the server comes to rest.
    #[arg(long, default_value = "1", value_parser = seconds)]
    settle: Duration,
    /// How often they come and go; memory is shown after each round.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// They leave by a reset, without a Close frame.
    #[arg(long)]
    abrupt: bool,
}

impl Idle {
    fn settings(&self) -> anyhow::Result<idle::Settings> {
        Ok(idle::Settings {
            target: self.common.target(Scheme::WebSocket)?,
            connections: self.connections,
            stay: self.seconds,
            settle: self.settle,
            rounds: self.rounds.into(),
            leave: leave(self.abrupt),
            fields: self.common.headers.clone(),
            pid: self.common.pid,
            sources: self.common.sources(),
        })
    }
}

#[derive(Debug, Args)]
struct Http {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: Load,
    /// Unanswered requests a connection; more than one is pipelining.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Method of the requests.
    #[arg(long, default_value = "GET", value_parser = method)]
    method: String,
    /// Body of each request.
    #[arg(long)]
    body: Option<String>,
}

impl Http {
    fn settings(&self) -> anyhow::Result<http::Settings> {
        Ok(http::Settings {
            target: self.common.target(Scheme::Http)?,
            connections: self.load.connections,
            in_flight: self.in_flight as usize,
            method: self.method.clone(),
            fields: self.common.headers.clone(),
            body: self.body.clone(),
            window: self.load.window(),
            threads: self.load.threads.into(),
            pid: self.common.pid,
            sources: self.common.sources(),
        })
    }
}

#[derive(Debug, Args)]
struct Raw {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads, each with its own epoll.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// Writes what one connection sends to all others, instead of back.
    #[arg(long, conflicts_with = "threads")]
    fanout: bool,
    /// Answers HTTP requests instead, once they are in a file in this directory, synced.
    #[arg(long, value_name = "DIR", conflicts_with = "fanout")]
    data: Option<PathBuf>,
    /// Stops after this time, in seconds [default: at SIGTERM, or when a piped input ends].
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
}

impl Raw {
    fn settings(&self) -> raw::Settings {
        raw::Settings {
            listen: self.listen,
            threads: self.threads.into(),
            manner: match &self.data {
                Some(directory) => raw::Manner::Durable(directory.clone()),
                None if self.fanout => raw::Manner::Fanout,
                None => raw::Manner::Echo,
            },
            stop_after: self.seconds,
        }
    }
}

fn json_to(path: Option<&Path>) -> JsonTo {
    match path {
        None => JsonTo::Nowhere,
        Some(path) if path.as_os_str() == "-" => JsonTo::Stdout,
        Some(path) => JsonTo::File(path.into()),
    }
}

fn leave(abrupt: bool) -> Leave {
    if abrupt { Leave::Abrupt } else { Leave::Clean }
}

/// A time in seconds, from none to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds from 0 to 3600".into()),
    }
}

/// A number of connections, from one to a million.
fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("not a number from 1 to 1000000".into()),
    }
}

/// A number of connections a second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=1e6).contains(&rate) => Ok(rate),
        _ => Err("not a number from 0.1 to 1000000".into()),
    }
}

/// A method's name (RFC 9110 §9.1): capital letters.
fn method(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        true => Ok(text.into()),
        false => Err("not a method in capital letters".into()),
    }
}

/// A header field that can't smuggle in a second one.
fn field(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| !byte.is_ascii_control());
    match text.split_once(':') {
        Some((name, _)) if plain && !name.is_empty() && !name.contains(' ') => Ok(text.into()),
        _ => Err("not of the form `Name: value`".into()),
    }
}
