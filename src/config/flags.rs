//! Flags for settings; each wins over the environment and the file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;

use super::problem::{Problems, SettingPlace};
use super::read::is_key;
use super::{Loaded, Purpose, SettingFiles, Sources};
use tidings::server::ListenAddress;

/// The file that `tidings init` writes unless told otherwise.
pub const FILE: &str = "tidings.toml";

/// The settings file, and flags that override it.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingsFlags {
    /// File with the settings; `tidings init` writes one
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on, for HTTP and WebSocket, such as localhost:9502 or unix:/run/tidings.sock;
    /// port 0 takes a free one; may be given several times [default:
    /// 127.0.0.1:9502] [env: TIDINGS_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Threads that own the sockets, 1 to 64 [default: 1] [env: TIDINGS_REACTORS]
    #[arg(long, value_name = "N")]
    reactors: Option<String>,
    /// Threads that run the handlers; 0 runs them on the reactors [default: 1] [env:
    /// TIDINGS_WORKERS]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Folder of the data, made at the first start; "none" keeps everything in memory only
    /// [default: ./tidings-data] [env: TIDINGS_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Be a node of the cluster around this Redis, such as `redis://10.0.0.5:6379`; nothing is stored
    /// here then [env: TIDINGS_CLUSTER]
    #[arg(long, value_name = "URL")]
    cluster: Option<String>,
    /// Name of this server, which every node of a cluster needs [env: TIDINGS_NODE]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Answer every frame at /echo with the same frame, up to 16 MiB; for benchmarks and
    /// conformance suites [env: TIDINGS_ECHO]
    #[arg(long)]
    echo: bool,
    /// Serve other machines too, although no keys are asked for [env: TIDINGS_INSECURE]
    #[arg(long)]
    insecure: bool,
    /// Let pages of this origin in, such as `https://example.com`; may be given several times [env:
    /// TIDINGS_ALLOW_ORIGIN]
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Ping a WebSocket after so many milliseconds of silence; 0 never does [default: 25000] [env:
    /// TIDINGS_PING_MS]
    #[arg(long, value_name = "MS")]
    ping_ms: Option<String>,
    /// Time between the word to stop and the stop, in which /readyz says 503 and new work is still
    /// taken, in milliseconds [default: 0] [env: TIDINGS_STOP_DELAY_MS]
    #[arg(long, value_name = "MS")]
    stop_delay_ms: Option<String>,
    /// Time a stop may take before what is left is cut, in milliseconds [default: 30000] [env:
    /// TIDINGS_STOP_MS_MAX]
    #[arg(long, value_name = "MS")]
    stop_ms_max: Option<String>,
    /// File with the number of the process, for scripts [env: TIDINGS_PID_FILE]
    #[arg(long, value_name = "FILE")]
    pid_file: Option<String>,
    /// File for the log instead of standard error; SIGHUP and SIGUSR1 open it anew [env:
    /// TIDINGS_LOG_FILE]
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,
    /// Any other setting of the file, such as http.idle_ms_max=5000; may be given several times.
    /// Secrets are better in a file or the environment
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

    /// Loads the settings from these files, this process's environment and these flags.
    ///
    /// # Errors
    ///
    /// Every error in them, each with its place and the way to mend it.
    pub fn load(&self, purpose: Purpose, files: &SettingFiles) -> Result<Loaded, Problems> {
        let mut loaded = Loaded::from(&Sources {
            files: files.clone(),
            ..self.sources(environment(), purpose)?
        })?;
        if self.config.is_none() && loaded.access.is_open() && Path::new(FILE).exists() {
            loaded.warnings.push(format!(
                "{FILE} is here and isn't read: --config {FILE} starts with its keys"
            ));
        }
        Ok(loaded)
    }

    fn sources(
        &self,
        environment: Vec<(String, String)>,
        purpose: Purpose,
    ) -> Result<Sources, Problems> {
        Ok(Sources {
            file: self.config.clone(),
            environment,
            flags: self.settings()?,
            flag_variables: &[
                ("TIDINGS_DATA", "store.data"),
                ("TIDINGS_CLUSTER", "cluster.redis"),
                ("TIDINGS_ALLOW_ORIGIN", "origins_allowed"),
                ("TIDINGS_PING_MS", "websocket.ping_ms"),
            ],
            listen: None,
            purpose,
            files: SettingFiles::OnDisk,
        })
    }

    /// Lists the settings that flags give: name, value, flag.
    fn settings(&self) -> Result<Vec<(String, String, String)>, Problems> {
        let mut settings = set(&self.set)?;
        let flag = |is_given: bool| is_given.then(|| "true".to_owned());
        let origins = joined(&self.allow_origin);
        for (key, value, flag) in [
            ("listen", joined(&self.listen), "--listen"),
            ("reactors", self.reactors.clone(), "--reactors"),
            ("workers", self.workers.clone(), "--workers"),
            ("store.data", self.data.clone(), "--data"),
            ("cluster.redis", self.cluster.clone(), "--cluster"),
            ("node", self.node.clone(), "--node"),
            ("echo", flag(self.echo), "--echo"),
            ("insecure", flag(self.insecure), "--insecure"),
            ("origins_allowed", origins, "--allow-origin"),
            ("websocket.ping_ms", self.ping_ms.clone(), "--ping-ms"),
            (
                "stop_delay_ms",
                self.stop_delay_ms.clone(),
                "--stop-delay-ms",
            ),
            ("stop_ms_max", self.stop_ms_max.clone(), "--stop-ms-max"),
            ("pid_file", self.pid_file.clone(), "--pid-file"),
            ("log.file", self.log_file.clone(), "--log-file"),
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
    /// Address to take messages on, by HTTP, such as localhost:9501 or unix:/run/gateway.sock; port 0
    /// takes a free one; may be given several times [default: 127.0.0.1:9501] [env: TIDINGS_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Server to bring messages to, such as ws://10.0.0.2:9502/link; may be given several times,
    /// and then each gets every message [env: TIDINGS_UPSTREAM]
    #[arg(long, value_name = "URL")]
    upstream: Vec<String>,
    /// File with the certificates of the authorities that may have signed those of wss:// servers
    /// [default: those that the system trusts] [env: TIDINGS_CA_FILE]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Name that the certificates of wss:// servers are for, where their address is another one [env:
    /// TIDINGS_SERVER_NAME]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Key that the servers ask for; better in the variable or a file, since others on this machine
    /// can see a flag until the program runs [env: TIDINGS_LINK_KEY]
    #[arg(long, value_name = "KEY")]
    link_key: Option<String>,
    /// Folder of the outbox, where messages wait [default: tidings-outbox] [env: TIDINGS_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// What this gateway calls itself to its upstreams [default: gateway] [env: TIDINGS_NAME]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Serve other machines too, although no keys are asked for [env: TIDINGS_INSECURE]
    #[arg(long)]
    insecure: bool,
    /// File with the number of the process, for scripts [env: TIDINGS_PID_FILE]
    #[arg(long, value_name = "FILE")]
    pid_file: Option<String>,
    /// File for the log instead of standard error; SIGHUP and SIGUSR1 open it anew [env:
    /// TIDINGS_LOG_FILE]
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,
    /// Any other setting of the file, such as gateway.drain_ms_max=5000; may be given several times.
    /// Secrets are better in a file or the environment
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl GatewayFlags {
    /// The default address of a gateway: beside the default port of a server, so that both can run on
    /// one machine.
    const LISTEN: ListenAddress =
        ListenAddress::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9501));

    /// The log file that these flags name.
    #[must_use]
    pub fn log_file(&self) -> Option<&Path> {
        self.log_file.as_deref().map(Path::new)
    }

    /// Loads the settings from these files, this process's environment and these flags.
    ///
    /// # Errors
    ///
    /// Every error in them, each with its place and the way to mend it.
    pub fn load(&self, files: &SettingFiles) -> Result<Loaded, Problems> {
        Loaded::from(&Sources {
            files: files.clone(),
            ..self.sources(environment())?
        })
    }

    fn sources(&self, environment: Vec<(String, String)>) -> Result<Sources, Problems> {
        let mut settings = set(&self.set)?;
        let upstreams = joined(&self.upstream);
        let insecure = self.insecure.then(|| "true".to_owned());
        for (key, value, flag) in [
            ("listen", joined(&self.listen), "--listen"),
            ("gateway.upstreams", upstreams, "--upstream"),
            ("gateway.ca_file", self.ca_file.clone(), "--ca-file"),
            (
                "gateway.server_name",
                self.server_name.clone(),
                "--server-name",
            ),
            ("gateway.link_key", self.link_key.clone(), "--link-key"),
            ("gateway.data", self.data.clone(), "--data"),
            ("gateway.name", self.name.clone(), "--name"),
            ("insecure", insecure, "--insecure"),
            ("pid_file", self.pid_file.clone(), "--pid-file"),
            ("log.file", self.log_file.clone(), "--log-file"),
        ] {
            settings.extend(value.map(|value| (key.into(), value, flag.into())));
        }
        Ok(Sources {
            file: self.config.clone(),
            environment,
            flags: settings,
            flag_variables: &[
                ("TIDINGS_UPSTREAM", "gateway.upstreams"),
                ("TIDINGS_CA_FILE", "gateway.ca_file"),
                ("TIDINGS_SERVER_NAME", "gateway.server_name"),
                ("TIDINGS_LINK_KEY", "gateway.link_key"),
                ("TIDINGS_DATA", "gateway.data"),
                ("TIDINGS_NAME", "gateway.name"),
            ],
            listen: Some(Self::LISTEN),
            purpose: Purpose::Gateway,
            files: SettingFiles::OnDisk,
        })
    }
}

/// The values of a flag that may be given several times, as one list.
fn joined(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(","))
}

pub(super) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Lists the settings that `--set` gives: name, value, flag.
pub(super) fn set(given: &[String]) -> Result<Vec<(String, String, String)>, Problems> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::config::Settings;

    #[derive(Parser)]
    struct ServerCommand {
        #[command(flatten)]
        flags: SettingsFlags,
    }

    #[derive(Parser)]
    struct GatewayCommand {
        #[command(flatten)]
        flags: GatewayFlags,
    }

    /// A file with the certificate of an authority.
    const AUTHORITY: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/tls/authority.pem"
    );

    /// A value for each flag, another one than its default.
    const SAMPLES: [(&str, Option<&str>); 19] = [
        ("stop-delay-ms", Some("7")),
        ("listen", Some("127.0.0.1:7,unix:t.sock")),
        ("reactors", Some("2")),
        ("workers", Some("3")),
        ("data", Some("d")),
        ("cluster", Some("redis://r")),
        ("node", Some("n")),
        ("echo", None),
        ("insecure", None),
        ("allow-origin", Some("http://a")),
        ("ping-ms", Some("7")),
        ("stop-ms-max", Some("8")),
        ("upstream", Some("ws://a:1/link")),
        ("link-key", Some("0123456789abcdef0123456789abcdef")),
        ("name", Some("n")),
        ("ca-file", Some(AUTHORITY)),
        ("server-name", Some("push.example")),
        ("pid-file", Some("p")),
        ("log-file", Some("l")),
    ];

    /// The settings that a flag gives, those that the variable in its help gives, and those without either.
    fn both_ways(
        help: &clap::Command,
        (flag, value): (&str, Option<&str>),
        load: impl Fn(&[String], Vec<(String, String)>) -> Settings,
    ) -> Option<[Settings; 3]> {
        let argument = help
            .get_arguments()
            .find(|one| one.get_long() == Some(flag))?;
        let text = argument.get_help().expect(flag).to_string();
        let (_, variable) = text.split_once("[env: ").expect(flag);
        let variable = variable.trim_end_matches(']').to_owned();
        let own = format!("TIDINGS_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(variable, own);
        let mut by_flag = vec!["x".to_owned(), format!("--{flag}")];
        by_flag.extend(value.map(str::to_owned));
        let by_variable = vec![(variable, value.unwrap_or("true").to_owned())];
        let none = ["x".to_owned()];
        Some([
            load(&by_flag, Vec::new()),
            load(&none, by_variable),
            load(&none, Vec::new()),
        ])
    }

    #[test]
    fn the_variable_in_the_help_of_a_flag_does_what_the_flag_does() {
        let server = |arguments: &[String], mut environment: Vec<(String, String)>| {
            if !environment.iter().any(|(name, _)| name == "TIDINGS_NODE") {
                // A cluster takes a name.
                environment.push(("TIDINGS_NODE".into(), "m".into()));
            }
            let flags = ServerCommand::parse_from(arguments).flags;
            let sources = flags.sources(environment, Purpose::Reading).expect("flags");
            Loaded::from(&sources).expect("settings").settings
        };
        let gateway = |arguments: &[String], environment| {
            let flags = GatewayCommand::parse_from(arguments).flags;
            let sources = flags.sources(environment).expect("flags");
            Loaded::from(&sources).expect("settings").settings
        };
        let (of_server, of_gateway) = (ServerCommand::command(), GatewayCommand::command());
        let mut tried = BTreeSet::new();
        for sample in SAMPLES {
            for (place, both) in [
                both_ways(&of_server, sample, server),
                both_ways(&of_gateway, sample, gateway),
            ]
            .into_iter()
            .enumerate()
            {
                let Some([by_flag, by_variable, without]) = both else {
                    continue;
                };
                assert_eq!(by_flag, by_variable, "{sample:?}");
                assert_ne!(by_flag, without, "{sample:?}");
                tried.insert((place, sample.0.to_owned()));
            }
        }
        let commands = [of_server, of_gateway].into_iter().enumerate();
        let all = commands.flat_map(|(place, command)| {
            let longs = command.get_arguments().filter_map(|one| one.get_long());
            let longs = longs.filter(|long| !["config", "set"].contains(long));
            longs
                .map(|long| (place, long.to_owned()))
                .collect::<Vec<_>>()
        });
        assert_eq!(all.collect::<BTreeSet<_>>(), tried);
    }
}
