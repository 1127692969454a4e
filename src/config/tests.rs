//! What settings promise: the later source wins, nothing wrong gets in, nothing is left out.

use std::fs;
use std::path::PathBuf;

use super::environment::variable_of;
use super::section::InForceBy;
use super::{Loaded, PageMode, Settings, Sources, template};
use crate::auth::Secret;
use tidings::chat::Chat;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn load(file: Option<&str>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    let file = file.map(|text| {
        fs::write(&path, text).unwrap();
        fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let key = include_bytes!("../../tests/keys/ec.pub");
        fs::write(folder.path().join("ec.pub"), key).unwrap();
        path
    });
    let pair = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    let flag = |(key, value): &(&str, &str)| (key.to_string(), value.to_string(), "--set".into());
    let loaded = Loaded::from(&Sources {
        file,
        environment: environment.iter().map(pair).collect(),
        flags: flags.iter().map(flag).collect(),
        flag_variables: &[],
        listen: None,
        purpose: super::Purpose::default(),
        files: super::SettingFiles::OnDisk,
    });
    let folder = format!("{}/", folder.path().display());
    loaded.map_err(|problems| problems.to_string().replace(&folder, ""))
}

type Outcome = Result<Loaded, String>;

/// What is said about this file.
fn complaint(text: &str) -> String {
    load(Some(text), &[], &[]).expect_err(text)
}

fn template_text() -> String {
    let secret = || Secret::from(SECRET.to_owned());
    template(("k1", secret()), ("backend", secret()))
}

#[test]
fn without_anything_the_server_is_open_and_only_for_this_machine() {
    let loaded = load(None, &[], &[]).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(
        loaded.access.is_open()
            && loaded
                .settings
                .general
                .listen
                .0
                .iter()
                .all(tidings::server::ListenAddress::is_loopback)
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let file = "workers = 2\n[http]\nhead_ms_max = 2\n[websocket]\nping_ms = 2";
    let environment = [
        ("TIDINGS_HTTP_HEAD_MS_MAX", "3"),
        ("TIDINGS_WEBSOCKET_PING_MS", "3"),
        ("TIDINGS_ECHO", "1"),
        ("TIDINGS_LISTEN", ""),
        ("WORKERS", "9"),
    ];
    let flags = [
        ("websocket.ping_ms", "4"),
        ("origins_allowed", "http://a, https://b:1"),
    ];
    let settings = load(Some(file), &environment, &flags).unwrap().settings;
    assert_eq!(settings.general.workers, 2);
    assert_eq!(
        (settings.http.head_ms_max, settings.websocket.ping_ms),
        (3, 4)
    );
    assert!(settings.general.echo);
    let origins = settings.general.origins_allowed;
    assert_eq!(
        origins.iter().map(|origin| &*origin.0).collect::<Vec<_>>(),
        ["http://a", "https://b:1"]
    );
}

#[test]
fn keys_come_from_the_environment_too() {
    let environment = [
        ("TIDINGS_TOKENS_KEYS_MAIN_SECRET", SECRET),
        ("TIDINGS_TOKENS_KEYS_ALSO_SECRET_FILE", "/nowhere/secret"),
        ("TIDINGS_API_KEYS_BACK_END_KEY", SECRET),
    ];
    let loaded = load(None, &[environment[0], environment[2]], &[]).unwrap();
    assert_eq!(loaded.access.tokens.keys()[0].id(), "main");
    assert_eq!(loaded.access.api_keys.who(SECRET), Some("back_end"));
    let problem = load(None, &environment, &[]).unwrap_err();
    assert!(
        problem.starts_with(
            "TIDINGS_TOKENS_KEYS_ALSO_SECRET_FILE in the environment: \
             tokens.keys.also.secret_file: can't read /nowhere/secret"
        ),
        "{problem}"
    );
}

#[test]
fn a_variable_that_nobody_knows_is_warned_of() {
    let warnings = load(
        None,
        &[("TIDINGS_WORKER", "2"), ("TIDINGS_CONFIG", "x")],
        &[],
    );
    assert_eq!(
        warnings.unwrap().warnings,
        ["TIDINGS_WORKER in the environment is no setting; did you mean TIDINGS_WORKERS?"]
    );
}

#[test]
fn every_complaint_names_the_line_the_setting_and_the_mend() {
    for (text, expected) in [
        (
            "\nlisen = 1",
            "t.toml:2: there is no setting lisen; did you mean listen?",
        ),
        (
            "Ping-MS = 1",
            "t.toml:1: there is no setting Ping-MS; it stands in [websocket]",
        ),
        (
            "[https]",
            "t.toml:1: there is no setting https; did you mean http?",
        ),
        (
            "[http]\n\nworkers = 1",
            "t.toml:3: there is no setting http.workers; \
             it stands at the top of the file, before the first table",
        ),
        (
            "[http]\ndatabase = 1",
            "t.toml:2: there is no setting http.database; \
             `tidings init` writes a file with all there are",
        ),
        (
            "http = 1",
            "t.toml:1: http is a number, but has to be a table: [http]",
        ),
        (
            "workers = '2'",
            "t.toml:1: workers is \"2\", but has to be a whole number between 0 and 1_024",
        ),
        (
            "workers = 1025",
            "t.toml:1: workers is 1025, but has to be a whole number between 0 and 1_024",
        ),
        (
            "workers = -1",
            "t.toml:1: workers is -1, but has to be a whole number between 0 and 1_024",
        ),
        (
            "echo = 1",
            "t.toml:1: echo is 1, but has to be true or false",
        ),
        (
            "listen = 'localhost'",
            "t.toml:1: listen is \"localhost\", but has to be an address and a port such as 127.0.0.1:9502, \
             localhost:9502 or [::]:9502, unix:PATH, or a list of these",
        ),
        (
            "origins_allowed = ['*']",
            "t.toml:1: origins_allowed is a list with \"*\", but has to be a list, \
             each of it an origin without a path, such as https://app.example",
        ),
        (
            "page = 'yes'",
            "t.toml:1: page is \"yes\", but has to be one of \"open\", \"on\", \"off\"",
        ),
        (
            "[log]\nlevel = 'a=b=c'",
            "t.toml:2: log.level is \"a=b=c\", but has to be off, error, warn, info, debug or trace, \
             or parts such as info,tidings::net=debug",
        ),
        (
            "workers = 1\nworkers = 2",
            "t.toml:2: that is no TOML at workers: duplicate key",
        ),
        (
            "[outbox]\nsize_max = 4096",
            "t.toml:2: outbox.pause_size is 262144, but has to be at most 4096, for outbox.size_max's sake",
        ),
    ] {
        assert_eq!(complaint(text), expected, "{text}");
    }
}

#[test]
fn every_complaint_about_a_key_names_it_and_never_shows_it() {
    for (text, expected) in [
        (
            "[tokens.keys.a]",
            "t.toml:1: tokens.keys.a needs secret or secret_file",
        ),
        (
            "[tokens.keys.a]\nsecret = 'hunter2'",
            "t.toml:2: tokens.keys.a: a secret for HS256 needs at least 32 bytes, and this one has 7",
        ),
        (
            "[tokens.keys.a]\nsecret = 70077",
            "t.toml:2: tokens.keys.a.secret is a number, but has to be a text",
        ),
        (
            "[tokens.keys.a]\nalgorithm = 'none'",
            "t.toml:2: tokens.keys.a.algorithm is \"none\", \
             but has to be one of \"HS256\", \"RS256\", \"ES256\"",
        ),
        (
            "[tokens.keys.a]\nalgorithm = 'ES256'\nsecret = 'hunter2'",
            "t.toml:2: tokens.keys.a is for ES256, which takes a public_key and no secret",
        ),
        (
            "[tokens.keys.a]\nalgorithm = 'RS256'\npublic_key_file = 'ec.pub'",
            "t.toml:1: tokens.keys.a: that is no public key for RS256: it takes a PEM block that \
             begins with -----BEGIN PUBLIC KEY-----, of an RSA key of 2,048 to 8,192 bits",
        ),
        (
            "[tokens.keys.a]\nsecret = 'hunter2'\nsecret_file = 'secret'",
            "t.toml:2: tokens.keys.a has both secret and secret_file: take one out",
        ),
        (
            "[tokens.keys.'a b']",
            "t.toml:1: \"tokens.keys.a b\" can't be a name: \
             it takes 1 to 128 visible ASCII characters without spaces",
        ),
        (
            "[api_keys.a]\nkey = 'hunter2'",
            "t.toml:2: api_keys.a.key has 7 characters, but needs at least 20 visible ones \
             without spaces; `openssl rand -hex 32` makes a good one",
        ),
        (
            "[api_keys]\na = 'hunter2'",
            "t.toml:2: api_keys.a is a text, but has to be a table: [api_keys.a]",
        ),
        (
            "[api_keys.a]\nkye = 'hunter2'",
            "t.toml:2: there is no setting api_keys.a.kye; did you mean api_keys.a.key?",
        ),
    ] {
        assert_eq!(complaint(text), expected, "{text}");
    }
    let twice = format!("[api_keys.a]\nkey = '{SECRET}'\n[api_keys.b]\nkey = '{SECRET}'");
    assert_eq!(
        complaint(&twice),
        "t.toml:4: api_keys.b has the same key as api_keys.a: give each its own"
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_the_lines() {
    let text = "reactors = 65\n[outbox]\nsize_max = 4096\n[http]\nhaed_sm = 1";
    let complaint = complaint(text);
    let lines: Vec<&str> = complaint.lines().map(|line| &line[..9]).collect();
    assert_eq!(
        lines,
        ["t.toml:1:", "t.toml:3:", "t.toml:5:"],
        "{complaint}"
    );
    let both = load(
        Some("lisen = 1"),
        &[("TIDINGS_WORKERS", "x")],
        &[("echo", "y")],
    );
    assert_eq!(
        both.unwrap_err(),
        "t.toml:1: there is no setting lisen; did you mean listen?\n\
         TIDINGS_WORKERS in the environment: \
         workers is \"x\", but has to be a whole number between 0 and 1_024\n\
         --set: echo is \"y\", but has to be true or false"
    );
}

#[test]
fn other_machines_are_served_only_with_keys_or_if_that_is_said() {
    let listen = ("listen", "0.0.0.0:9502");
    let refused = load(None, &[], &[listen]).unwrap_err();
    assert!(
        refused.starts_with("--set: listen is 0.0.0.0:9502, which other"),
        "{refused}"
    );
    assert!(load(None, &[], &[listen, ("insecure", "true")]).is_ok());
    assert!(load(None, &[], &[listen, ("tokens.keys.a.secret", SECRET)]).is_ok());
    assert!(load(None, &[], &[("listen", "[::1]:0")]).is_ok());
    assert!(load(None, &[], &[("listen", "[::]:0")]).is_err());
    assert!(load(None, &[], &[("listen", "localhost:0,unix:/run/t.sock")]).is_ok());
    let refused = load(None, &[], &[("listen", "unix:t.sock,0.0.0.0:1")]).unwrap_err();
    assert!(
        refused.contains("listen is 0.0.0.0:1, which other"),
        "{refused}"
    );
}

#[test]
fn keys_are_tried_in_the_order_of_the_file_and_files_stand_beside_it() {
    let text = format!(
        "[tokens.keys.z]\nsecret_file = 'secret'\n\
         [tokens.keys.'a.b/c+d=']\nalgorithm = 'ES256'\npublic_key_file = 'ec.pub'\n\
         [tokens.keys.m]\nsecret = '{SECRET}'"
    );
    let access = load(Some(&text), &[], &[]).unwrap().access;
    let keys = access.tokens.keys().iter();
    let keys: Vec<String> = keys
        .map(|key| format!("{} {}", key.id(), key.algorithm()))
        .collect();
    assert_eq!(keys, ["z HS256", "a.b/c+d= ES256", "m HS256"]);
}

/// Defaults but for the keys, and for the page, which is on where there are keys.
fn defaults_beside_keys(settings: &Settings) -> Settings {
    let mut expected = Settings {
        token_keys: settings.token_keys.clone(),
        api_keys: settings.api_keys.clone(),
        ..Settings::default()
    };
    expected.general.page = PageMode::On;
    expected
}

#[test]
fn the_written_file_is_right_and_says_the_defaults() {
    let loaded = load(Some(&template_text()), &[], &[]).unwrap();
    let settings = loaded.settings;
    let expected = defaults_beside_keys(&settings);
    assert_eq!(settings, expected);
    assert_eq!(loaded.access.tokens.keys()[0].id(), "k1");
    assert_eq!(loaded.access.api_keys.who(SECRET), Some("backend"));
}

#[test]
fn every_setting_is_in_the_written_file_with_its_documentation() {
    let is_setting = |line: &str| {
        let key = line
            .strip_prefix('#')
            .and_then(|line| line.split(" = ").next());
        line.contains(" = ") && key.is_some_and(|key| !key.is_empty() && !key.contains(' '))
    };
    let text = template_text();
    let lines = text.lines().map(|line| match is_setting(line) {
        true => &line[1..],
        false => line,
    });
    let all = lines.collect::<Vec<_>>().join("\n");
    let mut reading = super::Loader::default();
    reading.take_file(&PathBuf::from("t.toml"), &all);
    assert_eq!(reading.problems.to_string(), "");
    let mut settings = reading.settings.clone();
    for key in settings.keys() {
        assert!(reading.places.contains_key(&key), "{key} isn't in the file");
    }
    for (name, section) in settings.sections() {
        section.each(&mut |field| {
            let first = format!("\n#{}\n", field.docs[0]);
            assert!(text.contains(&first), "{name}.{}: {first}", field.key);
        });
    }
    let expected = defaults_beside_keys(&settings);
    assert_eq!(
        settings, expected,
        "the values that are shown are the defaults"
    );
}

#[test]
fn no_two_settings_have_the_same_variable() {
    let keys = Settings::default().keys();
    let mut variables: Vec<String> = keys.iter().map(|key| variable_of(key)).collect();
    variables.sort();
    let count = variables.len();
    variables.dedup();
    assert_eq!(variables.len(), count);
}

#[test]
fn debug_of_settings_shows_no_secret() {
    let loaded = load(Some(&template_text()), &[], &[]).unwrap();
    assert!(!format!("{loaded:?}").contains(SECRET));
}

const LINK_KEY: &str = "a-link-key-of-the-tests";

#[test]
fn a_gateway_is_told_where_to_bring_messages_and_with_which_key() {
    let text = format!(
        "[gateway]\nupstreams = [\"ws://a:1/link\", \"ws://b/link\"]\nlink_key = \"{LINK_KEY}\""
    );
    let plan = load(Some(&text), &[], &[]).unwrap().gateway().unwrap();
    let urls: Vec<&str> = plan.upstreams.iter().map(|one| one.url()).collect();
    assert_eq!(urls, ["ws://a:1/link", "ws://b/link"]);
    let environment = [
        ("TIDINGS_GATEWAY_UPSTREAMS", "ws://c/link,ws://d/link"),
        ("TIDINGS_GATEWAY_LINK_KEY", LINK_KEY),
    ];
    let loaded = load(None, &environment, &[]).unwrap();
    assert_eq!(loaded.gateway().unwrap().upstreams.len(), 2);
}

#[test]
fn what_a_gateway_lacks_is_named() {
    let upstream = "upstreams = [\"ws://a/link\"]";
    let key = format!("link_key = \"{LINK_KEY}\"");
    for (text, word) in [
        (String::new(), "gateway.link_key"),
        (format!("[gateway]\n{upstream}"), "gateway.link_key"),
        (format!("[gateway]\n{key}"), "gateway.upstreams"),
        (
            format!("[gateway]\n{key}\nupstreams = [\"ws://a/link\", \"ws://a/link\"]"),
            "twice",
        ),
    ] {
        let problem = load(Some(&text), &[], &[]).unwrap().gateway().unwrap_err();
        assert!(problem.contains(word), "{problem}");
    }
    for (text, word) in [
        (
            "[gateway]\nupstreams = [\"http://a\"]",
            "ws://10.0.0.2:9502/link",
        ),
        ("[gateway]\nlink_key = \"short\"", "at least 20"),
        ("[uplink]\nkey = \"short\"", "at least 20"),
        ("[uplink]\nkeys = \"x\"", "did you mean uplink.key?"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(word), "{complaint}");
    }
}

#[test]
fn a_complaint_about_a_broken_line_shows_its_key_and_not_its_value() {
    for text in [
        "[tokens.keys.k1]\nsecret = SESAME-open",
        "[tokens.keys.k1]\nsecret = \"SESAME-open",
        "[tokens.keys.k1]\nsecret = \"SESAME-open\" x",
        "[tokens.keys.k1]\nsecret = 'SESAME-open",
        "[tokens.keys.k1]\nsecret = \"SESAME\\q\"",
    ] {
        let said = complaint(text);
        assert!(
            said.starts_with("t.toml:2: that is no TOML at secret: "),
            "{said}"
        );
        assert!(!said.contains("SESAME"), "{said}");
    }
}

/// What differs from the settings of one file to those of another, each with what puts it into force.
fn changes(from: &str, to: &str) -> Vec<(InForceBy, String)> {
    let from = load(Some(from), &[], &[]).unwrap().settings;
    let changes = from.changes_to(&load(Some(to), &[], &[]).unwrap());
    changes.into_iter().map(|one| (one.by, one.what)).collect()
}

#[test]
fn a_difference_names_what_changed_and_shows_no_secret() {
    use InForceBy::{Reload, Upgrade};
    assert_eq!(changes("workers = 2", "workers = 2\n[log]"), []);
    assert_eq!(
        changes("workers = 2", "workers = 3\n[log]\nlevel = \"debug\""),
        [
            (Reload, "log.level: \"info\" → \"debug\"".to_owned()),
            (Upgrade, "workers: 2 → 3".to_owned())
        ]
    );
    let keys = |names: [&str; 2]| {
        let entry = |name| format!("[api_keys.{name}]\nkey = \"{name}-{SECRET}\"\n");
        names.map(entry).concat()
    };
    assert_eq!(
        changes(&keys(["a", "b"]), &keys(["b", "c"])),
        [
            (Reload, "api_keys.a: withdrawn".to_owned()),
            (Reload, "api_keys.c: added".to_owned())
        ]
    );
    let order = "tokens.keys, api_keys: another order".to_owned();
    assert_eq!(
        changes(&keys(["a", "b"]), &keys(["b", "a"])),
        [(Reload, order)]
    );
    let other = keys(["a", "b"]).replace("a-0", "a-9");
    let expected = "api_keys.a.key: another value".to_owned();
    assert_eq!(changes(&keys(["a", "b"]), &other), [(Reload, expected)]);
}

#[test]
fn a_change_that_takes_more_than_a_reload_is_refused_with_its_line_and_what_it_takes() {
    for (setting, what) in [
        (
            "workers = 3",
            "workers: 1 → 3, which takes `tidings upgrade`, or a restart",
        ),
        ("reactors = 3", "reactors: 1 → 3, which takes a restart"),
    ] {
        let next = load(Some(&format!("\n\n{setting}")), &[], &[]).unwrap();
        let refusal = Settings::default().changes_to(&next).remove(0).refusal();
        assert!(refusal.ends_with(&format!("t.toml:3: {what}")), "{refusal}");
    }
}

#[test]
fn a_channel_that_gathers_needs_a_pattern_and_a_delay() {
    let good = "[chat]\ngather = [\"live-* delay=20ms\", \"* delay=1s\"]";
    let chat = load(Some(good), &[], &[]).unwrap().settings.chat();
    let chat = Chat::new(chat, 1);
    let delays = ["live-1", "@ann", "*"].map(|name| chat.settings().way_of(name).gather_ms);
    assert_eq!(delays, [Some(20), Some(1_000), Some(1_000)]);
    let chat = Chat::new(Settings::default().chat(), 1);
    assert_eq!(chat.settings().way_of("live-1").gather_ms, None);
    for bad in [
        "live-*",
        "live-* delay=20",
        "live-* delay=1m",
        "live-* wait=20ms",
    ] {
        let said = complaint(&format!("[chat]\ngather = [\"{bad}\"]"));
        assert_eq!(
            said,
            format!(
                "t.toml:2: chat.gather is a list with \"{bad}\", but has to be a list, each of it \
                 a pattern and a delay of 1 to 10000 ms, such as \"live-* delay=20ms\""
            )
        );
    }
    let said = complaint("[chat]\ngather_size_max = 2_000_000\ngather_total_size_max = 1_000");
    assert!(said.contains("chat.gather_total_size_max's sake"), "{said}");
}

#[test]
fn channels_of_which_the_newest_counts_are_patterns() {
    let good = "[chat]\nlatest = [\"price-*\", \"@*\"]";
    let chat = Chat::new(load(Some(good), &[], &[]).unwrap().settings.chat(), 1);
    let names = ["price-1", "@ann", "tea", "*"];
    assert_eq!(
        names.map(|name| chat.settings().way_of(name).is_latest),
        [true, true, false, false]
    );
    let said = complaint("[chat]\nlatest = [\"price-*\", \"\"]");
    assert_eq!(
        said,
        "t.toml:2: chat.latest is a list with \"\", but has to be a list, each of it a text of \
         1 to 255 bytes without control characters"
    );
}
