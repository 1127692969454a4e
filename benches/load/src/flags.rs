//! Flags that several modes have in common, and how their values are read.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::client::Trust;
use crate::client::server::Server;
use crate::client::target::{Ownership, Scheme, Target};
use crate::measure::report::JsonTo;

/// Bytes in flight on one connection that the generator prepares, at most: a thousand connections
/// with as much each would fill any machine.
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// Flags of every mode that loads a server.
#[derive(Debug, Args)]
pub(crate) struct ServerFlags {
    /// The server's URL: ws://host:port/path (http://… for the mode http), or by TLS wss://… and https://….
    #[arg(long)]
    url: String,
    /// Process id of the server: CPU time and memory of it and all its descendants are measured.
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
    /// Local addresses 127.0.0.2 and up to connect from [default: as many as ports need].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=250))]
    source_addresses: Option<u8>,
    /// Further header field of each request or handshake, `Name: value`; may be repeated.
    #[arg(long = "header", value_name = "FIELD", value_parser = field)]
    headers: Vec<String>,
    /// File with the certificates, PEM, of the authorities that may have signed the server's own
    /// [default: those that the system trusts].
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Takes the server's certificate as it is, whoever signed it and for whatever name.
    #[arg(long, conflicts_with = "ca_file")]
    insecure_certificate: bool,
    /// States that a target that isn't on this machine is yours to load.
    #[arg(long)]
    target_is_mine: bool,
}

impl ServerFlags {
    /// The server that they describe.
    ///
    /// # Errors
    ///
    /// The URL can't be used, or points at somebody else's machine.
    pub(crate) fn server(&self, scheme: Scheme) -> anyhow::Result<Server> {
        let ownership = if self.target_is_mine {
            Ownership::Mine
        } else {
            Ownership::Unstated
        };
        let trust = match &self.ca_file {
            _ if self.insecure_certificate => Trust::Anybody,
            Some(path) => Trust::File(path),
            None => Trust::System,
        };
        Ok(Server {
            target: Target::parse(&self.url, scheme, ownership, trust)?,
            fields: self.headers.clone(),
            pid: self.pid,
            source_addresses: self.source_addresses.map(usize::from),
        })
    }
}

/// Where the result goes beside the table.
#[derive(Debug, Args)]
pub(crate) struct JsonFlag {
    /// Appends the result as a line of JSON to FILE; `-` puts it on standard output, the table on
    /// standard error.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

impl JsonFlag {
    /// The place that the flag names.
    pub(crate) fn to(&self) -> JsonTo {
        match &self.json {
            None => JsonTo::Nowhere,
            Some(path) if path.as_os_str() == "-" => JsonTo::Stdout,
            Some(path) => JsonTo::File(path.clone()),
        }
    }
}

/// Flags of the modes that keep connections busy for a time.
#[derive(Debug, Args)]
pub(crate) struct LoadFlags {
    /// Connections at the same time.
    #[arg(long, default_value_t = 64, value_parser = connections)]
    pub(crate) connections: usize,
    /// Measured time, in seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Time under load before the measured window, in seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: Duration,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) threads: u8,
}

/// Reads a time in seconds, from none to an hour.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds from 0 to 3600".into()),
    }
}

/// Reads a number of connections, from one to a million.
pub(crate) fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("not a number from 1 to 1000000".into()),
    }
}

/// Reads a number of connections or messages a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=1e6).contains(&rate) => Ok(rate),
        _ => Err("not a number from 0.1 to 1000000".into()),
    }
}

/// Reads a header field that can't smuggle in a second one.
fn field(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| !byte.is_ascii_control());
    match text.split_once(':') {
        Some((name, _)) if plain && !name.is_empty() && !name.contains(' ') => Ok(text.into()),
        _ => Err("not of the form `Name: value`".into()),
    }
}
