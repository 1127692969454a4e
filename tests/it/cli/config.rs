//! `tidings init`, `check` and `token` as somebody at a terminal meets them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn tidings(folder: &Path, arguments: &[&str]) -> Output {
    tidings_with(folder, arguments, &[])
}

fn tidings_with(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidings"))
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .expect("tidings runs")
}

fn said(output: &Output) -> (bool, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// What a command that succeeds says.
fn good(folder: &Path, arguments: &[&str]) -> String {
    let (success, out, err) = said(&tidings(folder, arguments));
    assert!(success, "{arguments:?}: {err}");
    assert_eq!(err, "", "{arguments:?}");
    out
}

/// What a command that fails says.
fn bad(folder: &Path, arguments: &[&str]) -> String {
    let (success, out, err) = said(&tidings(folder, arguments));
    assert!(!success, "{arguments:?}: {out}");
    assert_eq!(out, "", "{arguments:?}");
    err
}

#[test]
fn what_init_writes_check_finds_right_and_only_its_owner_can_read() {
    let folder = folder();
    let said = good(folder.path(), &["init"]);
    assert!(
        said.contains("tidings serve --config tidings.toml"),
        "{said}"
    );
    let file = fs::metadata(folder.path().join("tidings.toml")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert_eq!(
        good(folder.path(), &["check", "tidings.toml"]),
        "all is right: listens on 127.0.0.1:9502, token keys: k1 (HS256); API keys: backend\n"
    );
}

#[test]
fn init_never_overwrites_and_its_secrets_are_fresh() {
    let folder = folder();
    good(folder.path(), &["init", "--file", "a.toml"]);
    let before = fs::read_to_string(folder.path().join("a.toml")).unwrap();
    let said = bad(folder.path(), &["init", "--file", "a.toml"]);
    assert!(
        said.contains("a.toml is there already and stays as it is"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("a.toml")).unwrap(),
        before
    );
    good(folder.path(), &["init", "--file", "b.toml"]);
    let other = fs::read_to_string(folder.path().join("b.toml")).unwrap();
    let secrets = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::to_owned);
        lines
            .filter(|line| line.starts_with("secret = ") || line.starts_with("key = "))
            .collect()
    };
    assert_eq!(secrets(&before).len(), 2);
    for secret in secrets(&before) {
        assert!(!other.contains(&secret));
    }
}

#[test]
fn check_says_all_that_is_wrong_and_ends_with_1() {
    let folder = folder();
    fs::write(
        folder.path().join("t.toml"),
        "lisen = 1\n[http]\nhead_ms_max = 'x'\n",
    )
    .unwrap();
    let output = tidings(folder.path(), &["check", "t.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        said(&output).2,
        "t.toml:1: there is no setting lisen; did you mean listen?\n\
         t.toml:3: http.head_ms_max is \"x\", \
         but has to be a whole number between 1 and 86_400_000\n\
         2 things are wrong\n"
    );
    let missing = bad(folder.path(), &["check", "none.toml"]);
    assert!(
        missing.starts_with("none.toml: can't read the settings: No such file"),
        "{missing}"
    );
}

#[test]
fn check_counts_the_environment_and_flags_as_serve_would() {
    let folder = folder();
    fs::write(folder.path().join("t.toml"), "listen = '127.0.0.1:1'\n").unwrap();
    let environment = [
        ("TIDINGS_CONFIG", "t.toml"),
        ("TIDINGS_LISTEN", "127.0.0.1:2"),
    ];
    let by_environment = tidings_with(folder.path(), &["check"], &environment);
    let open = "open mode: nobody is asked for a key\n";
    let expected = format!("all is right: listens on 127.0.0.1:2, {open}");
    assert_eq!(said(&by_environment), (true, expected, String::new()));
    let flags = ["check", "--listen", "0.0.0.0:3", "--insecure"];
    let by_flags = tidings_with(folder.path(), &flags, &environment);
    assert_eq!(
        said(&by_flags).1,
        format!("all is right: listens on 0.0.0.0:3, {open}")
    );
    let exposed = tidings_with(folder.path(), &flags[..3], &environment);
    let (_, _, err) = said(&exposed);
    assert!(
        err.starts_with("--listen: listen is 0.0.0.0:3, which other machines"),
        "{err}"
    );
}

#[test]
fn a_file_with_secrets_that_others_can_read_is_warned_of() {
    let folder = folder();
    good(folder.path(), &["init"]);
    let path = folder.path().join("tidings.toml");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let (success, _, err) = said(&tidings(folder.path(), &["check", "tidings.toml"]));
    assert!(success);
    assert_eq!(
        err,
        "warning: tidings.toml has secrets in it and can be read by others: chmod 600 it\n"
    );
}

#[test]
fn a_secret_in_a_file_of_its_own_that_others_can_read_is_warned_of() {
    let folder = folder();
    let (secret, public) = (folder.path().join("secret"), folder.path().join("ec.pub"));
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    fs::copy(keys.join("ec.pub"), &public).unwrap();
    fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let text = "[tokens.keys.a]\nsecret_file = 'secret'\n[tokens.keys.b]\nalgorithm = 'ES256'\n\
                public_key_file = 'ec.pub'\n[api_keys.c]\nkey_file = 'secret'\n";
    fs::write(folder.path().join("t.toml"), text).unwrap();
    for (mode, warnings) in [(0o600, 0), (0o640, 2), (0o604, 2)] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let (success, _, err) = said(&tidings(folder.path(), &["check", "t.toml"]));
        let warning =
            "warning: secret has a secret in it and can be read by others: chmod 600 it\n";
        assert!(success, "{err}");
        assert_eq!(err, warning.repeat(warnings), "{mode:o}");
    }
}

/// The token that `tidings token` prints, and what the command says beside it.
#[track_caller]
fn token(folder: &Path, arguments: &[&str]) -> (String, String) {
    let (success, out, err) = said(&tidings(folder, &[&["token"], arguments].concat()));
    assert!(success, "{arguments:?}: {err}");
    (out, err)
}

#[test]
fn token_prints_a_token_alone_and_says_beside_it_what_it_is_and_where_it_leads() {
    let folder = folder();
    good(folder.path(), &["init"]);
    let ann = ["--config", "tidings.toml", "--uid", "ann"];
    let rooms = ["--rooms", "team-*", "--ttl", "1h"];
    let (token, beside) = token(folder.path(), &[&ann[..], &rooms].concat());
    let link = format!("open: http://127.0.0.1:9502/#token={token}");
    assert_eq!(beside, format!("for ann, in team-*, for 1h\n{link}"));
    let parts: Vec<&str> = token.trim_end().split('.').collect();
    assert_eq!((parts.len(), token.lines().count()), (3, 1), "{token}");
    // {"typ":"JWT","alg":"HS256","kid":"k1"}
    assert_eq!(
        parts[0],
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0"
    );
    // {"sub":"ann","rooms":["team-*"],"iat":
    assert!(
        parts[1].starts_with("eyJzdWIiOiJhbm4iLCJyb29tcyI6WyJ0ZWFtLSoiXSwiaWF0Ijo"),
        "{token}"
    );
}

#[test]
fn token_signs_with_a_private_key_and_sees_when_it_is_the_wrong_one() {
    let folder = folder();
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    // In files that only their owner can read, as private keys have to be.
    let key = |name: &str| {
        let own = folder.path().join(name);
        fs::copy(keys.join(name), &own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
        own.display().to_string()
    };
    let text = format!(
        "[tokens.keys.rs]\nalgorithm = 'RS256'\npublic_key_file = '{}'\n\
         [tokens.keys.es]\nalgorithm = 'ES256'\npublic_key_file = '{}'\n",
        key("rsa.pub"),
        key("ec.pub")
    );
    fs::write(folder.path().join("t.toml"), text).unwrap();
    let token = ["token", "--config", "t.toml", "--uid", "ann"];
    let (rsa, ec, other) = (key("rsa.pem"), key("ec.pem"), key("ec-other.pem"));
    fn with<'a>(token: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
        [token, more].concat()
    }
    for (more, size_min) in [
        (["--kid", "rs", "--private-key", &rsa], 400),
        (["--kid", "es", "--private-key", &ec], 150),
    ] {
        let (success, signed, err) = said(&tidings(folder.path(), &with(&token, &more)));
        assert!(success && signed.len() > size_min, "{signed}{err}");
        let no_room = "for ann, in no room (--rooms names some), for 1h\n";
        assert_eq!(
            err,
            format!("{no_room}no link: the chat page is off; page = \"on\" turns it on\n")
        );
    }
    for (more, expected) in [
        (
            vec![],
            "the settings have no secret; name the file with a private key by --private-key",
        ),
        (
            vec!["--kid", "es"],
            "the settings have only its public half",
        ),
        (
            vec!["--kid", "hs"],
            "there is no key \"hs\"; there is rs, es",
        ),
        (
            vec!["--kid", "es", "--private-key", &rsa],
            "that is no private key for ES256: it takes a PEM block in PKCS #8 form",
        ),
        (
            vec!["--kid", "es", "--private-key", &other],
            "the server would refuse this token: is it the right private key?",
        ),
    ] {
        let said = bad(folder.path(), &with(&token, &more));
        assert!(said.contains(expected), "{more:?}: {said}");
    }
    let none = bad(folder.path(), &["token", "--uid", "ann"]);
    assert!(
        none.contains("the settings have no key for tokens: `tidings init`"),
        "{none}"
    );
}

#[test]
fn the_link_of_a_token_leads_where_the_server_is() {
    let folder = folder();
    good(folder.path(), &["init"]);
    let ann = ["--config", "tidings.toml", "--uid", "ann", "--rooms", "a,b"];
    let link = |more: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["token"], &ann[..], more].concat();
        let (success, token, err) = said(&tidings_with(folder.path(), &arguments, environment));
        assert!(success, "{err}");
        let link = err.lines().nth(1).expect("a second line").to_owned();
        link.replace(token.trim_end(), "TOKEN")
    };
    for (more, environment, expected) in [
        (
            &[][..],
            &[("TIDINGS_LISTEN", "0.0.0.0:80")][..],
            "open: http://127.0.0.1/#token=TOKEN",
        ),
        (
            &["--url", "https://chat.example"],
            &[],
            "open: https://chat.example/#token=TOKEN",
        ),
        (
            &[],
            &[("TIDINGS_URL", "wss://a/b/ws")],
            "open: https://a/b/#token=TOKEN",
        ),
        (
            &[],
            &[("TIDINGS_LISTEN", "[::]:0")],
            "no link: the settings listen on a free port or a Unix socket; --url",
        ),
        (
            &[],
            &[("TIDINGS_PAGE", "off")],
            "no link: the chat page is off; page = \"on\" turns it on",
        ),
    ] {
        assert_eq!(link(more, environment), expected);
    }
}

#[test]
fn a_variable_may_be_called_like_its_flag_and_those_of_clients_are_known() {
    let folder = folder();
    let environment = [
        ("TIDINGS_LISTEN", "127.0.0.1:2"),
        ("TIDINGS_PING_MS", "x"),
        ("TIDINGS_DATA", "none"),
        ("TIDINGS_ALLOW_ORIGIN", "http://a"),
        ("TIDINGS_URL", "ws://a/ws"),
        ("TIDINGS_UID", "ann"),
        ("TIDINGS_TOKEN", "a.b.c"),
        ("TIDINGS_API_KEY", "k"),
        ("TIDINGS_DATE", "1"),
    ];
    let (success, _, err) = said(&tidings_with(folder.path(), &["check"], &environment));
    assert!(!success);
    assert_eq!(
        err,
        "TIDINGS_PING_MS in the environment: websocket.ping_ms is \"x\", \
         but has to be a whole number between 0 and 86_400_000\n1 thing is wrong\n"
    );
    let mut right = environment;
    right[1].1 = "7";
    let (success, _, err) = said(&tidings_with(folder.path(), &["check"], &right));
    let warned =
        "warning: TIDINGS_DATE in the environment is no setting; did you mean TIDINGS_DATA?\n";
    assert_eq!((success, &*err), (true, warned));
}

#[test]
fn a_file_that_lies_there_unread_is_warned_of() {
    let folder = folder();
    good(folder.path(), &["init"]);
    let (success, out, err) = said(&tidings(folder.path(), &["check"]));
    assert!(success && out.contains("open mode"), "{out}");
    let warned = "warning: tidings.toml is here and isn't read: --config tidings.toml starts with its keys\n";
    assert_eq!(err, warned);
    good(folder.path(), &["check", "tidings.toml"]);
}
