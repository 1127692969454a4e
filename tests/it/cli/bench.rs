//! `tidings bench` against a server behind TLS.

use std::process::Output;

use serde_json::Value;

use super::client::{command, folder};
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::tls::authority::Authority;
use crate::support::tls::terminator::{Fault, Terminator};

/// A server that echoes, behind TLS.
struct World {
    server: Program,
    authority: Authority,
    tls: Terminator,
}

impl World {
    fn new() -> Self {
        let (server, authority) = (Program::serve(&["--echo"]), Authority::new());
        let identity = authority.certify(&["127.0.0.1"]);
        Self {
            tls: Terminator::start(&identity, server.address),
            server,
            authority,
        }
    }

    /// What a mode makes of an address, with these flags.
    fn bench(&self, mode: &str, scheme: &str, path: &str, flags: &[&str]) -> Output {
        let url = self.tls.url(scheme, "127.0.0.1", path);
        let load = ["bench", mode, "--url", &url, "--json", "-"];
        let arguments = [&load[..], flags].concat();
        let output = command(folder().path(), &arguments).output();
        output.expect("tidings runs")
    }

    /// The same of one that has to go well.
    #[track_caller]
    fn measured(&self, mode: &str, scheme: &str, path: &str, flags: &[&str]) -> Value {
        let trust = ["--ca-file", self.authority.file_name()];
        let output = self.bench(mode, scheme, path, &[&trust[..], flags].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mode}: {said}");
        parsed(&String::from_utf8_lossy(&output.stdout))
    }
}

const SHORT: [&str; 4] = ["--seconds", "0.3", "--warm-up", "0.1"];

#[test]
fn each_mode_loads_a_server_behind_tls_and_no_answer_is_missing() {
    let world = World::new();
    for (size, in_flight) in [("64", "8"), ("70000", "3")] {
        let load = [
            "--connections",
            "4",
            "--size",
            size,
            "--in-flight",
            in_flight,
        ];
        let json = world.measured("echo", "wss", "/echo", &[&load[..], &SHORT].concat());
        assert_eq!(json["failures"], 0, "{json}");
        assert!(json["messages"].as_u64().expect("a number") > 50, "{json}");
    }
    let load = ["--connections", "4", "--in-flight", "4"];
    let json = world.measured("http", "https", "/healthz", &[&load[..], &SHORT].concat());
    assert_eq!(json["failures"], 0, "{json}");
    let visits = ["--count", "30", "--in-flight", "8"];
    let json = world.measured("connect", "wss", "/echo", &visits);
    assert_eq!(
        (&json["handshakes"], &json["failures"]),
        (&30.into(), &0.into()),
        "{json}"
    );
    let room = ["--members", "20", "--publishers", "2", "--settle", "0.1"];
    let json = world.measured("fanout", "wss", "/ws", &[&room[..], &SHORT].concat());
    for counted in ["lost", "repeated", "misordered", "failures"] {
        assert_eq!(json[counted], 0, "{counted}: {json}");
    }
    assert!(json["deliveries"].as_u64().expect("a number") > 0, "{json}");
    world.server.stop();
}

#[test]
fn a_certificate_is_verified_unless_it_may_be_any() {
    let world = World::new();
    let stranger = Authority::new();
    let load = [&["--connections", "2"][..], &SHORT].concat();
    let bench = |flags: &[&str]| world.bench("echo", "wss", "/echo", &[&load[..], flags].concat());
    let output = bench(&["--ca-file", stranger.file_name()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("invalid peer certificate"),
        "{said}"
    );
    assert_eq!(world.tls.shaken(), 0);
    world
        .tls
        .show(&stranger.certify_from(&["other.example"], (2000, 2001)));
    let output = bench(&["--insecure-certificate"]);
    assert!(output.status.success(), "{output:?}");
    world.server.stop();
}

#[test]
fn records_that_come_byte_by_byte_and_new_keys_lose_no_answer() {
    let world = World::new();
    for fault in [Fault::Trickle, Fault::KeysEvery(100)] {
        world.tls.set_fault(fault);
        let load = ["--connections", "2", "--in-flight", "4", "--size", "300"];
        let json = world.measured("echo", "wss", "/echo", &[&load[..], &SHORT].concat());
        assert_eq!(json["failures"], 0, "{fault:?}: {json}");
        assert!(json["messages"].as_u64().expect("a number") > 10, "{json}");
    }
    world.server.stop();
}
