//! `tidings cluster`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidings::cluster::check::{EngineCheck, check};
use tidings::cluster::{ClusterSettings, EngineSettings, StoreEngine, node};

use super::account::AccountFlags;
use super::check::{STORE, counted, reach};
use crate::client::{get, post};
use crate::config::{Purpose, SettingFiles, SettingsFlags};
use crate::output::{print, tell};

/// Time that a token of our own lasts: one request, and clocks that differ a little.
const TOKEN_TTL: Duration = Duration::from_secs(60);

/// Difference between the clocks from which on it is worth a word, in milliseconds: what a person sees in
/// the times of messages.
const CLOCK_MS_MAX: u64 = 500;

/// Look after several servers as one
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Say whether the Redis of a cluster is reached, is set as promised, and how fast it is
    ///
    /// A node joins under keys of its own (behind PREFIX:check), does once whatever nodes do, and takes all
    /// of it out again. What has to be changed is named; the exit code is 1 then.
    ///
    /// Examples:
    ///   tidings cluster check --cluster redis://10.0.0.5:6379
    ///   tidings cluster check --config tidings.toml
    #[command(verbatim_doc_comment)]
    Check {
        #[command(flatten)]
        settings: Box<SettingsFlags>,
    },
    /// List the nodes, as one of them sees them
    ///
    /// Examples:
    ///   tidings cluster nodes --url http://127.0.0.1:9502
    ///   tidings cluster nodes --config tidings.toml --json
    #[command(verbatim_doc_comment)]
    Nodes {
        #[command(flatten)]
        account: AccountFlags,
        /// Print what the server answers, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Send the clients of a node to the others, before it is stopped
    ///
    /// Its clients are told to come back, and closed one after the other; `readyz` is 503, so that whoever
    /// balances sends nobody there. The node stays in the cluster until it is stopped. Any node can be asked.
    ///
    /// Examples:
    ///   tidings cluster drain eu-1 --url http://127.0.0.1:9502
    ///   tidings cluster drain eu-1 --within-ms 60000 --config tidings.toml
    #[command(verbatim_doc_comment)]
    Drain {
        /// Name of the node
        name: String,
        /// Milliseconds over which the closes are spread
        #[arg(long, value_name = "MS", default_value_t = 10_000)]
        within_ms: u64,
        #[command(flatten)]
        account: AccountFlags,
    },
    /// Have all channels begin a new epoch: after a backup of Redis was restored
    ///
    /// Clients that come back are told that their place isn't known any more ("recovered":false), and read
    /// the history anew; the messages stay. The nodes follow within seconds, and needn't be stopped.
    ///
    /// Examples:
    ///   tidings cluster renew --cluster redis://10.0.0.5:6379
    #[command(verbatim_doc_comment)]
    Renew {
        #[command(flatten)]
        settings: Box<SettingsFlags>,
    },
}

impl ClusterArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            ClusterCommand::Check { settings } => check_engine(&settings),
            ClusterCommand::Nodes { account, json } => list_nodes(&account, json),
            ClusterCommand::Drain {
                name,
                within_ms,
                account,
            } => drain(&account, &name, within_ms),
            ClusterCommand::Renew { settings } => renew(&settings),
        }
    }
}

/// Reads the settings of a node, whose name isn't needed here, and of the tables that it writes besides.
fn cluster_of(flags: &SettingsFlags) -> anyhow::Result<(ClusterSettings, Option<EngineSettings>)> {
    let loaded = flags.load(Purpose::Cluster, &SettingFiles::OnDisk)?;
    for warning in &loaded.warnings {
        tell(format!("warning: {warning}"));
    }
    let cluster = loaded.cluster;
    let cluster = cluster
        .context("the settings name no cluster: say --cluster redis://HOST, or --config FILE")?;
    let tables = loaded.bindings;
    Ok((
        cluster,
        tables.filter(|tables| tables.engine == StoreEngine::MySql),
    ))
}

fn check_engine(flags: &SettingsFlags) -> anyhow::Result<ExitCode> {
    let (settings, tables) = cluster_of(flags)?;
    let place = settings.engine.address.place.to_string();
    let found = check(&settings).with_context(|| format!("the cluster at {place}"))?;
    for line in told(&found, &settings) {
        print(line)?;
    }
    let mut wrong = wrong(&found);
    if let Some(tables) = tables {
        let place = tables.address.place.to_string();
        match reach(tables) {
            Ok(()) => print(format_args!("{STORE}: {place} is reached, and fits"))?,
            Err(what) => wrong.push(format!("{STORE}: {what}")),
        }
    }
    if wrong.is_empty() {
        print(format_args!(
            "all is right: {place} keeps the promise {:?}",
            settings.promise.word()
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    for what in &wrong {
        tell(what.clone());
    }
    tell(counted(wrong.len()));
    Ok(ExitCode::FAILURE)
}

/// What was found, a line each.
fn told(found: &EngineCheck, settings: &ClusterSettings) -> Vec<String> {
    let facts = &found.facts;
    let (major, minor) = facts.version;
    let memory = match facts.setting("maxmemory") {
        None | Some("0") => "no bound of its own".to_owned(),
        Some(max) => format!("{max} at most"),
    };
    let (round_trip, write) = (found.round_trip.as_micros(), found.write.as_micros());
    vec![
        format!(
            "engine: version {major}.{minor} at {}, {} replicas",
            settings.engine.address.place, facts.replicas
        ),
        format!("round trip: {round_trip} µs"),
        format!("a message stored: {write} µs, of which a sync is the most"),
        format!("memory: {} bytes used, {memory}", facts.used_size),
        format!("clock: {} ms ahead of ours", found.clock_ahead_ms),
    ]
}

/// What has to be changed.
fn wrong(found: &EngineCheck) -> Vec<String> {
    let is_off = found.clock_ahead_ms.unsigned_abs() > CLOCK_MS_MAX;
    let clock = is_off.then(|| {
        let ms = found.clock_ahead_ms;
        format!("the clocks of this machine and of the engine differ by {ms} ms: times of messages do, too")
    });
    found.flaws.iter().cloned().chain(clock).collect()
}

fn list_nodes(account: &AccountFlags, as_json: bool) -> anyhow::Result<ExitCode> {
    let account = account.account()?;
    let bearer = account.bearer(&[], TOKEN_TTL)?;
    let answer = get(&account.server, "/v1/nodes", bearer.as_deref());
    let answer = answer.map_err(|error| account.explain(error))?;
    if as_json {
        print(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    const COLUMNS: [&str; 7] = [
        "node",
        "state",
        "address",
        "version",
        "connections",
        "rooms",
        "messages_per_s",
    ];
    let Some(nodes) = answer["nodes"].as_array() else {
        bail!("the server answers {answer}, which is no list of nodes");
    };
    let cell = |node: &Value, column: &str| match &node[column] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let head = COLUMNS.map(str::to_owned);
    let rows = nodes
        .iter()
        .map(|node| COLUMNS.map(|column| cell(node, column)));
    let rows: Vec<[String; 7]> = [head].into_iter().chain(rows).collect();
    let width = |place: usize| {
        rows.iter()
            .map(|row| row[place].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        print(line.join("  ").trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn drain(account: &AccountFlags, name: &str, within_ms: u64) -> anyhow::Result<ExitCode> {
    let account = account.account()?;
    let bearer = account.bearer(&[], TOKEN_TTL)?;
    if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/')
    {
        bail!("{name:?} can't be the name of a node");
    }
    let path = format!("/v1/nodes/{name}/drain");
    let body = json!({ "within_ms": within_ms });
    let answer = post(&account.server, &path, bearer.as_deref(), &body);
    let answer = answer.map_err(|error| account.explain(error))?;
    if answer["draining"] != true {
        bail!("the server answers {answer}");
    }
    print(format_args!("{name} drains within {within_ms} ms"))?;
    Ok(ExitCode::SUCCESS)
}

fn renew(flags: &SettingsFlags) -> anyhow::Result<ExitCode> {
    let (settings, _) = cluster_of(flags)?;
    let place = settings.engine.address.place.to_string();
    let what = || format!("the cluster at {place}");
    let source = tidings::cluster::source(settings.engine).map_err(anyhow::Error::msg);
    let renewed = node::renew(&*source?).with_context(what)?;
    let Some(state) = renewed else {
        bail!("no node has ever been at {place}");
    };
    print(format_args!(
        "all channels begin a new epoch: era {}",
        state.life.era
    ))?;
    Ok(ExitCode::SUCCESS)
}
