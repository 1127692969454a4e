//! The layers: a file uses those below its own and no others.

use std::collections::BTreeMap;

use super::paths::paths;
use super::source::sources;

/// Every module at the top of `src`, and what it may use beside itself. A new one needs a line.
///
/// The binary's modules stand behind the library: `tidings::` is what they see of it.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("handover", &["base"]),
    ("proto", &["base", "handover"]),
    ("store", &["base", "handover"]),
    ("tls", &[]),
    ("chat", &["base", "handover"]),
    ("cluster", &["base", "handover", "chat", "store"]),
    ("net", &["base", "handover", "proto"]),
    ("server", &["base", "handover", "proto", "net"]),
    ("api", &["base", "server", "chat"]),
    ("link", &["base", "handover", "chat", "api"]),
    (
        "endpoint",
        &["base", "handover", "server", "chat", "store", "api", "link"],
    ),
    (
        "gateway",
        &[
            "base", "handover", "server", "chat", "store", "api", "link", "tls",
        ],
    ),
    (
        "lib",
        &[
            "base", "handover", "proto", "net", "server", "chat", "cluster", "store", "api",
            "link", "endpoint", "gateway", "tls",
        ],
    ),
    // Documentation only.
    ("architecture", &[]),
    ("auth", &[]),
    ("client", &["auth", "tidings::tls"]),
    ("output", &["tidings::base"]),
    ("control", &["tidings::base"]),
    ("page", &[]),
    ("version", &[]),
    ("service", &["output", "tidings::base"]),
    (
        "config",
        &[
            "auth",
            "tidings::server",
            "tidings::chat",
            "tidings::cluster",
            "tidings::store",
            "tidings::endpoint",
            "tidings::gateway",
            "tidings::link",
            "tidings::tls",
        ],
    ),
    (
        "daemon",
        &[
            "auth",
            "config",
            "control",
            "output",
            "page",
            "service",
            "version",
            "tidings::base",
            "tidings::handover",
            "tidings::server",
            "tidings::chat",
            "tidings::cluster",
            "tidings::store",
            "tidings::api",
            "tidings::endpoint",
            "tidings::gateway",
        ],
    ),
    (
        "cli",
        &[
            "auth",
            "client",
            "config",
            "control",
            "daemon",
            "output",
            "service",
            "version",
            "tidings::base",
            "tidings::cluster",
            "tidings::handover",
            "tidings::server",
            "tidings::store",
            "tidings::gateway",
            "tidings::tls",
        ],
    ),
    (
        "main",
        &[
            "auth", "cli", "client", "config", "control", "daemon", "page", "service", "version",
        ],
    ),
];

#[test]
fn a_layer_uses_only_those_below_it() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        let layer = &*module[0];
        let Some(allowed) = layers.get(layer) else {
            wrong.push(format!("{layer} has no line in LAYERS"));
            continue;
        };
        for path in paths(&source.code(), &module) {
            let [root, name, ..] = &*path else { continue };
            let used = match &**root {
                "crate" => name.clone(),
                root => format!("{root}::{name}"),
            };
            let is_module = layers.contains_key(&**name);
            if is_module && used != layer && !allowed.contains(&&*used) {
                wrong.push(format!("{} uses {used}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
