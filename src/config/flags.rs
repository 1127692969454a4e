//! The flags of settings; each wins over the environment and the file.

use std::path::PathBuf;

use clap::Args;

use super::problem::{Place, Problems};
use super::read::is_key;
use super::{Loaded, Sources};

/// Where the settings are, and what is different from them.
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
    /// The same with another file, if there is one.
    #[must_use]
    pub fn with_file(mut self, file: Option<PathBuf>) -> Self {
        self.config = file.or(self.config);
        self
    }

    /// Reads and judges the settings: the file, this process's environment, these flags.
    ///
    /// # Errors
    ///
    /// All that is wrong with them, each with its place and its mend.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Loaded::from(&Sources {
            file: self.config.clone(),
            environment,
            flags: self.settings()?,
        })
    }

    /// Setting, value and flag.
    fn settings(&self) -> Result<Vec<(String, String, String)>, Problems> {
        let mut problems = Problems::default();
        let mut settings = Vec::new();
        for given in &self.set {
            match given.split_once('=') {
                Some((key, value)) if is_key(key) => {
                    settings.push((key.into(), value.into(), "--set".into()));
                }
                _ => {
                    let place = Some(Place::Flag("--set".into()));
                    let what = "takes KEY=VALUE, such as http.idle_ms_max=5000";
                    problems.add(place, what);
                }
            }
        }
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
        match problems.count() {
            0 => Ok(settings),
            _ => Err(problems),
        }
    }
}
