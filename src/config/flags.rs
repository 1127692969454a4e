//! Flags for settings; each wins over the environment and the file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::problem::{Problems, SettingPlace};
use super::read::is_key;
use super::{Loaded, Sources};

/// The settings file, and flags that override it.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingsFlags {
    /// File with the settings; `tidings init` writes one
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on, for HTTP and WebSocket; port 0 takes a free one [default:
    /// 127.0.0.1:9502]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Threads that own the sockets, 1 to 64 [default: 1]
    #[arg(long, value_name = "N")]
    reactors: Option<String>,
    /// Threads that run the handlers; 0 runs them on the reactors [default: 1]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Folder of the data, made at the first start; "none" keeps everything in memory only
    /// [default: ./tidings-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Answer every frame at /echo with the same frame, up to 16 MiB; for benchmarks and
    /// conformance suites
    #[arg(long)]
    echo: bool,
    /// Serve other machines too, although no keys are asked for
    #[arg(long)]
    insecure: bool,
    /// Let pages of this origin in, such as `https://example.com`; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Ping a WebSocket after so many milliseconds of silence; 0 never does [default: 25000]
    #[arg(long, value_name = "MS")]
    ping_ms: Option<String>,
    /// Time a stop may take before what is left is cut, in milliseconds [default: 30000]
    #[arg(long, value_name = "MS")]
    stop_ms_max: Option<String>,
    /// Any other setting of the file, such as http.idle_ms_max=5000; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsFlags {
    /// Returns the same flags with another file, if one is given.
    #[must_use]
    pub fn with_file(mut self, file: Option<PathBuf>) -> Self {
        self.config = file.or(self.config);
        self
    }

    /// Loads the settings from the file, this process's environment and these flags.
    ///
    /// # Errors
    ///
    /// Every error in them, each with its place and the way to mend it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        Loaded::from(&Sources {
            file: self.config.clone(),
            environment: environment(),
            flags: self.settings()?,
            listen: None,
        })
    }

    /// Lists the settings that flags give: name, value, flag.
    fn settings(&self) -> Result<Vec<(String, String, String)>, Problems> {
        let mut settings = set(&self.set)?;
        let flag = |is_given: bool| is_given.then(|| "true".to_owned());
        let origins = (!self.allow_origin.is_empty()).then(|| self.allow_origin.join(","));
        for (key, value, flag) in [
            ("listen", self.listen.clone(), "--listen"),
            ("reactors", self.reactors.clone(), "--reactors"),
            ("workers", self.workers.clone(), "--workers"),
            ("store.data", self.data.clone(), "--data"),
            ("echo", flag(self.echo), "--echo"),
            ("insecure", flag(self.insecure), "--insecure"),
            ("origins_allowed", origins, "--allow-origin"),
            ("websocket.ping_ms", self.ping_ms.clone(), "--ping-ms"),
            ("stop_ms_max", self.stop_ms_max.clone(), "--stop-ms-max"),
        ] {
            settings.extend(value.map(|value| (key.into(), value, flag.into())));
        }
        Ok(settings)
    }
}

/// Flags for the settings of a gateway.
#[derive(Debug, Clone, Default, Args)]
pub struct GatewayFlags {
    /// File with the settings; `tidings init` writes one
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// Address to take messages on, by HTTP; port 0 takes a free one [default: 127.0.0.1:9501]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Server to bring messages to, such as ws://10.0.0.2:9502/link; may be given several times,
    /// and then each gets every message
    #[arg(long, value_name = "URL")]
    upstream: Vec<String>,
    /// Key that the servers ask for; others on this machine can see flags, but not
    /// TIDINGS_GATEWAY_LINK_KEY or the file
    #[arg(long, value_name = "KEY")]
    link_key: Option<String>,
    /// Folder of the outbox, where messages wait [default: tidings-outbox]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// What this gateway calls itself to its upstreams [default: gateway]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Serve other machines too, although no keys are asked for
    #[arg(long)]
    insecure: bool,
    /// Any other setting of the file, such as gateway.drain_ms_max=5000; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl GatewayFlags {
    /// The default address of a gateway: beside the default port of a server, so that both can run on
    /// one machine.
    const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9501);

    /// Loads the settings from the file, this process's environment and these flags.
    ///
    /// # Errors
    ///
    /// Every error in them, each with its place and the way to mend it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let mut settings = set(&self.set)?;
        let upstreams = (!self.upstream.is_empty()).then(|| self.upstream.join(","));
        let insecure = self.insecure.then(|| "true".to_owned());
        for (key, value, flag) in [
            ("listen", self.listen.clone(), "--listen"),
            ("gateway.upstreams", upstreams, "--upstream"),
            ("gateway.link_key", self.link_key.clone(), "--link-key"),
            ("gateway.data", self.data.clone(), "--data"),
            ("gateway.name", self.name.clone(), "--name"),
            ("insecure", insecure, "--insecure"),
        ] {
            settings.extend(value.map(|value| (key.into(), value, flag.into())));
        }
        Loaded::from(&Sources {
            file: self.config.clone(),
            environment: environment(),
            flags: settings,
            listen: Some(Self::LISTEN),
        })
    }
}

fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Lists the settings that `--set` gives: name, value, flag.
fn set(given: &[String]) -> Result<Vec<(String, String, String)>, Problems> {
    let mut problems = Problems::default();
    let mut settings = Vec::new();
    for given in given {
        match given.split_once('=') {
            Some((key, value)) if is_key(key) => {
                settings.push((key.into(), value.into(), "--set".into()));
            }
            _ => {
                let place = Some(SettingPlace::Flag("--set".into()));
                problems.add(place, "takes KEY=VALUE, such as http.idle_ms_max=5000");
            }
        }
    }
    match problems.count() {
        0 => Ok(settings),
        _ => Err(problems),
    }
}
