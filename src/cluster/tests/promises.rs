//! An engine that isn't set for what is promised is refused, and what is to be changed is named.

use super::world::settings;
use crate::cluster::ClusterPromise::{self, Fast, Replicated, Synced};
use crate::cluster::engine::EngineFacts;
use crate::cluster::promise::flaw;

const RIGHT: [(&str, &str); 5] = [
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("no-appendfsync-on-rewrite", "no"),
    ("maxmemory-policy", "noeviction"),
    ("io-threads", "1"),
];

fn facts(set: &[(&str, &str)]) -> EngineFacts {
    EngineFacts {
        version: (7, 0),
        replicas: 1,
        settings: set
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
        ..EngineFacts::default()
    }
}

fn flaw_of(promise: ClusterPromise, facts: &EngineFacts) -> Option<String> {
    let mut settings = settings(promise);
    settings.checks = true;
    flaw(&settings, facts)
}

#[test]
fn an_engine_that_is_set_for_the_promise_is_taken() {
    for promise in [Synced, Replicated, Fast] {
        assert_eq!(flaw_of(promise, &facts(&RIGHT)), None, "{promise:?}");
    }
    assert_eq!(
        flaw_of(Fast, &facts(&[("maxmemory-policy", "noeviction")])),
        None
    );
}

#[test]
fn each_setting_that_is_wrong_is_named_with_its_value_and_the_right_one() {
    for (name, wrong, fast_cares) in [
        ("appendonly", "no", false),
        ("appendfsync", "everysec", false),
        ("no-appendfsync-on-rewrite", "yes", false),
        ("maxmemory-policy", "allkeys-lru", true),
        ("io-threads", "4", false),
    ] {
        let set = RIGHT.map(|(one, value)| (one, if one == name { wrong } else { value }));
        let facts = facts(&set);
        for (promise, cares) in [(Synced, true), (Replicated, true), (Fast, fast_cares)] {
            let said = flaw_of(promise, &facts);
            assert_eq!(said.is_some(), cares, "{promise:?} {name}: {said:?}");
            let said = said.unwrap_or_else(|| format!("{name} {wrong}"));
            assert!(said.contains(name) && said.contains(wrong), "{said}");
        }
    }
}

#[test]
fn what_cant_be_read_is_said_and_isnt_asked_without_checks() {
    let unread = facts(&[]);
    let said = flaw_of(Synced, &unread).unwrap();
    assert!(
        said.contains("CONFIG GET") && said.contains("cluster.check"),
        "{said}"
    );
    assert_eq!(flaw(&settings(Synced), &unread), None);
}

#[test]
fn replicas_that_are_missing_or_not_counted_are_said_and_an_old_version_too() {
    let none = EngineFacts {
        replicas: 0,
        ..facts(&RIGHT)
    };
    let said = flaw_of(Replicated, &none).unwrap();
    assert!(said.contains("cluster.replicas"), "{said}");
    let two = EngineFacts {
        replicas_known: Some(2),
        ..facts(&RIGHT)
    };
    let said = flaw_of(Replicated, &two).unwrap();
    assert!(said.contains("Sentinel"), "{said}");
    assert_eq!(flaw_of(Synced, &none), None);
    let old = EngineFacts {
        version: (6, 2),
        ..facts(&RIGHT)
    };
    assert!(flaw_of(Fast, &old).unwrap().contains("6.2"));
}
