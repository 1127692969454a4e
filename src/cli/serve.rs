//! `tidings serve`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::daemon::{ServeSettings, serve};
use tidings::server::ServerSettings;

/// Run the server
///
/// SIGTERM and SIGINT stop it gracefully: what is under way is answered, every WebSocket gets Close
/// 1001, and the exit code is 0. A second signal stops it at once.
#[derive(Debug, Args)]
pub(super) struct ServeFlags {
    /// Address to listen on, for HTTP and WebSocket; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9502", env = "TIDINGS_LISTEN")]
    listen: SocketAddr,
    /// Threads that own the sockets, 1 to 64
    #[arg(long, default_value_t = 1, env = "TIDINGS_REACTORS")]
    reactors: usize,
    /// Threads that run the handlers; 0 runs them on the reactors
    #[arg(long, default_value_t = 1, env = "TIDINGS_WORKERS")]
    workers: usize,
    /// Answer every frame at /echo with the same frame, up to 16 MiB; for benchmarks and
    /// conformance suites
    #[arg(long, env = "TIDINGS_ECHO")]
    echo: bool,
    /// Serve other machines too, although no keys are asked for
    #[arg(long, env = "TIDINGS_INSECURE")]
    insecure: bool,
    /// Let pages of this origin in, such as https://example.com; may be given several times
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "TIDINGS_ALLOW_ORIGIN",
        value_delimiter = ','
    )]
    allow_origin: Vec<String>,
    /// Ping a WebSocket after so many milliseconds of silence; 0 never does
    #[arg(long, default_value_t = 25_000, env = "TIDINGS_PING_MS")]
    ping_ms: u64,
    /// Time a stop may take before what is left is cut, in milliseconds
    #[arg(long, default_value_t = 30_000, env = "TIDINGS_STOP_MS_MAX")]
    stop_ms_max: u64,
}

impl ServeFlags {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        raise_descriptor_limit();
        let mut server = ServerSettings {
            stop_ms_max: self.stop_ms_max,
            ..ServerSettings::default()
        };
        server.reactor.connection.ping_ms = self.ping_ms;
        let outcome = serve(ServeSettings {
            listen: self.listen,
            reactors: self.reactors,
            workers: self.workers,
            echo: self.echo,
            insecure: self.insecure,
            origins_allowed: self.allow_origin,
            server,
        })?;
        Ok(if outcome.is_clean() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Every connection takes a descriptor: take as many as the system allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of descriptors stays at {:?}", limit.current);
        }
    }
}
