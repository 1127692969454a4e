//! Whether the engine is set for what its nodes promise.

use std::fmt::Write as _;

use super::engine::EngineFacts;
use super::{ClusterPromise, ClusterSettings};

/// The oldest version whose scripts are refused as a whole, or run whole, when it is full.
const VERSION_MIN: (u32, u32) = (7, 0);

/// What has to stand in the engine for every promise.
const ALWAYS: &[(&str, &str)] = &[("maxmemory-policy", "noeviction")];

/// What has to stand in it besides where nothing that was answered may be lost.
const DURABLE: &[(&str, &str)] = &[
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("no-appendfsync-on-rewrite", "no"),
    // What further threads write is answered before the sync.
    ("io-threads", "1"),
];

/// Returns what isn't so in the engine as the promise asks for, each setting by name and with its value;
/// `None` when all is well.
#[must_use]
pub fn flaw(settings: &ClusterSettings, facts: &EngineFacts) -> Option<String> {
    let mut flaws = Vec::new();
    let promise = settings.promise.word();
    if facts.version < VERSION_MIN {
        let (major, minor) = facts.version;
        flaws.push(format!(
            "its version is {major}.{minor}, but 7.0 or newer is needed"
        ));
    }
    let is_durable = settings.promise != ClusterPromise::Fast;
    if settings.checks {
        let needed = ALWAYS
            .iter()
            .chain(is_durable.then_some(DURABLE).into_iter().flatten());
        flaws.extend(needed.filter_map(|(name, value)| setting_flaw(facts, name, value)));
    }
    if settings.promise == ClusterPromise::Replicated {
        flaws.extend(replica_flaw(settings.replicas, facts));
    }
    if flaws.is_empty() {
        return None;
    }
    let mut text = format!("the engine isn't set for `cluster.promise = \"{promise}\"`: ");
    write!(text, "{}", flaws.join("; ")).expect("a string takes every text");
    if settings.checks && facts.settings.is_empty() {
        text.push_str(
            "; allow this user CONFIG GET, or say `cluster.check = false` and look yourself",
        );
    }
    Some(text)
}

fn setting_flaw(facts: &EngineFacts, name: &str, needed: &str) -> Option<String> {
    match facts.setting(name) {
        Some(value) if value == needed => None,
        Some(value) => Some(format!("{name} is {value}, but has to be {needed}")),
        None if facts.settings.is_empty() => Some(format!("{name} can't be read")),
        // An engine without the setting does as if it had the default.
        None => None,
    }
}

fn replica_flaw(replicas: usize, facts: &EngineFacts) -> Option<String> {
    match facts.replicas_known {
        Some(known) if known > replicas => Some(format!(
            "cluster.replicas is {replicas}, but Sentinel may promote any of {known} replicas"
        )),
        _ if facts.replicas < replicas => Some(format!(
            "{} replicas are connected, but cluster.replicas asks for {replicas}",
            facts.replicas
        )),
        _ => None,
    }
}
