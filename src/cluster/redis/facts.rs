//! What a Redis says of itself.

use redis::{Cmd, FromRedisValue as _, Value};

use crate::cluster::engine::EngineFacts;

/// The settings that matter to a cluster.
const SETTINGS: [&str; 8] = [
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "maxmemory",
    "maxmemory-policy",
    "io-threads",
    "client-output-buffer-limit",
    "min-replicas-to-write",
];

/// The questions, in the order in which [`facts`] reads the answers.
pub(super) fn questions() -> [Cmd; 3] {
    let mut info = redis::cmd("INFO");
    info.arg(&["server", "replication", "persistence", "memory"]);
    let mut settings = redis::cmd("CONFIG");
    settings.arg("GET").arg(&SETTINGS);
    [info, redis::cmd("TIME"), settings]
}

/// Reads the answers; a refusal to tell the settings is one, too. `None` if they say nothing.
pub(super) fn facts(answers: Vec<Value>) -> Option<EngineFacts> {
    let [info, time, settings] = <[Value; 3]>::try_from(answers).ok()?;
    let info = String::from_redis_value(info).ok()?;
    let fact = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let is = |name: &str, value: &str| fact(name) == Some(value);
    let (seconds, micros) = <(u64, u64)>::from_redis_value(time).ok()?;
    let settings = Vec::<(String, String)>::from_redis_value(settings).unwrap_or_default();
    let settings = settings.into_iter();
    let mut facts = EngineFacts {
        run: fact("run_id")?.into(),
        replids: [
            fact("master_replid")?.into(),
            fact("master_replid2")?.into(),
        ],
        is_primary: is("role", "master"),
        syncs_always: false,
        keeps_file: is("aof_enabled", "1"),
        rewrites: !(is("aof_rewrite_in_progress", "0") && is("aof_rewrite_scheduled", "0")),
        // One that was switched on in this run has no such size before it is complete.
        began_with_file: fact("aof_base_size").is_some_and(|size| size != "0")
            && fact("master_replid2")?.bytes().all(|byte| byte == b'0'),
        replicas: fact("connected_slaves")?.parse().ok()?,
        replicas_known: None,
        unix_ms: seconds * 1000 + micros / 1000,
        version: version(fact("redis_version")?),
        used_size: fact("used_memory")?.parse().ok()?,
        settings: settings
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    };
    facts.syncs_always = facts.keeps_file
        && !facts.rewrites
        && facts.setting("appendfsync") == Some("always")
        && facts.setting("no-appendfsync-on-rewrite") == Some("no");
    Some(facts)
}

/// The first two numbers of a version.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
