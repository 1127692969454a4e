//! Reloads, renewals and upgrades: each is counted, also by the next image.

use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::Upgradable;
use crate::service::{said, tidings};
use crate::support::wait::{PATIENCE, until};

/// Time in which a renewal that waits for nobody has long ended.
const WITHOUT_WAITING: Duration = Duration::from_millis(300);

/// Reloads, renewals and upgrades that ended well, and those that didn't.
fn counts(server: &Upgradable) -> [u64; 6] {
    let stats = server.program.http().get("/v1/stats").body;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let names = [
        "reloads",
        "reloads_refused",
        "renewals",
        "renewals_incomplete",
        "upgrades",
        "upgrades_refused",
    ];
    names.map(|name| stats[name].as_u64().unwrap())
}

#[test]
fn what_a_server_did_beside_serving_is_shown_and_counted_on_by_the_next_image() {
    let server = Upgradable::start(
        env!("CARGO_BIN_EXE_tidings").as_ref(),
        &["--config", "t.toml"],
        |command| {
            let folder = command.get_current_dir().unwrap();
            fs::write(folder.join("t.toml"), "").unwrap();
        },
    );
    let config = ["--config", "t.toml"];
    let ask = |more: &[&str]| {
        let arguments = [more, &config[..]].concat();
        said(&mut tidings(server.folder.path(), &arguments)).0
    };
    assert_eq!(server.status()["last_renewal"], Value::Null);
    assert_eq!(counts(&server), [0; 6]);
    assert_eq!(ask(&["reload"]), 0);
    assert_eq!(ask(&["reload", "--workers"]), 0);
    assert_eq!(ask(&["reload", "--workers"]), 0);
    assert_eq!(server.status()["last_renewal"]["ok"], true);
    fs::write(server.folder.path().join("t.toml"), "nonsense = 1").unwrap();
    assert_eq!(ask(&["reload"]), 1);
    server.is_refused(&config, "nonsense");
    assert_eq!(counts(&server), [1, 1, 2, 0, 0, 1]);
    fs::write(server.folder.path().join("t.toml"), "").unwrap();
    server.is_upgraded(&config);
    assert_eq!(counts(&server), [1, 1, 2, 0, 1, 1]);
    // The way back is none that was gone.
    server.let_fail("thaw.chat");
    server.is_refused(&config, "a test said");
    assert_eq!(counts(&server), [1, 1, 2, 0, 1, 2]);
    let metrics = server.program.http().get("/metrics").body;
    assert!(metrics.contains("tidings_renewals_total 2"), "{metrics}");
    let (code, out, _) = said(&mut tidings(
        server.folder.path(),
        &["status", "--config", "t.toml"],
    ));
    assert_eq!(code, 0);
    assert!(
        out.contains("last upgrade: failed: the next image could not go on"),
        "{out}"
    );
    server.program.stop();
}

#[test]
fn a_renewal_waits_for_the_upgrade_that_is_under_way_and_the_next_image_does_it() {
    let server = Upgradable::serve(&[]);
    let folder = server.folder.path();
    let (asked, answered) = channel();
    let (code, _, err) = server.upgrade_and("rehearsed", || {
        let mut command = tidings(folder, &["reload", "--workers"]);
        std::thread::spawn(move || asked.send(said(&mut command).0));
        let answer = answered.recv_timeout(WITHOUT_WAITING);
        assert!(answer.is_err(), "it has an answer already: {answer:?}");
        server.program.signal(Signal::USR1);
    });
    assert_eq!(code, 0, "{err}");
    assert_eq!(answered.recv_timeout(PATIENCE), Ok(0));
    // What the image before has renewed the next one would not know.
    until("both are done", || counts(&server)[2] >= 1);
    until("the last is shown", || {
        server.status()["last_renewal"]["ok"] == true
    });
    server.program.stop();
}
