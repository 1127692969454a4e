//! Links by TLS: who is trusted, what is said of those who aren't, and that whatever happens to a
//! handshake or a record, each message comes once and in order.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::FLOWS_WITHIN;
use super::everything_breaks::Far;
use super::machine::Machine;
use super::sender::Senders;
use super::server::Server;
use super::upstream::Upstream;
use crate::support::program::Lines;
use crate::support::tls::authority::{Authority, Identity};
use crate::support::tls::terminator::{Fault, Terminator};
use crate::support::wait::{until, until_within};

/// An upstream behind TLS, and a gateway that links to it.
struct World {
    upstream: Upstream,
    authority: Authority,
    tls: Terminator,
    machine: Machine,
    said: u64,
}

impl World {
    /// A gateway that trusts the authority.
    fn new() -> Self {
        let authority = Authority::new();
        let identity = authority.certify(&["localhost"]);
        let file = authority.file_name().to_owned();
        let world = Self::with(authority, &identity, &["--ca-file", &file]);
        world.machine.until_link(0, "open");
        world
    }

    /// A gateway with these flags, whose upstream shows this certificate.
    fn with(authority: Authority, identity: &Identity, flags: &[&str]) -> Self {
        let upstream = Upstream::start();
        let tls = Terminator::start(identity, upstream.address);
        let url = tls.url("wss", "localhost", "/link");
        let upstream_flag = upstreams(&url);
        let flags = [flags, &["--set", &upstream_flag]].concat();
        let machine = Machine::start_with(&[], &flags);
        Self {
            upstream,
            authority,
            tls,
            machine,
            said: 0,
        }
    }

    fn say(&mut self, count: u64) {
        for _ in 0..count {
            self.said += 1;
            let answer = self.machine.say("ann", self.said);
            assert_eq!(answer.status, 202, "{answer:?}");
        }
    }

    /// Everything is there once and in order, soon.
    #[track_caller]
    fn all_arrive(&self) {
        let all: Vec<u64> = (1..=self.said).collect();
        until_within("all arrive", FLOWS_WITHIN, || {
            self.upstream.count() as u64 >= self.said
        });
        self.machine.until_settled();
        assert_eq!(self.upstream.heard_of("ann"), all);
    }
}

/// The setting of a gateway with one upstream.
fn upstreams(url: &str) -> String {
    format!("gateway.upstreams={url}")
}

#[test]
fn a_link_by_tls_brings_messages_and_stays_by_its_signs_of_life() {
    let mut world = World::new();
    world.say(20);
    world.all_arrive();
    // A sign of life each 100 ms; without answers the link would be dead after 700 ms. One has some 10
    // bytes, with its mask.
    let heard = world.tls.heard();
    until("twenty signs of life", || world.tls.heard() > heard + 200);
    assert_eq!((world.tls.count(), world.machine.opened()), (1, 1));
    let said = world.machine.stop();
    assert!(said.contains("/link: 0 messages"), "{said}");
    assert_eq!(world.upstream.state().ends, [Some(1001)]);
}

#[test]
fn who_isnt_trusted_gets_nothing_until_that_is_mended_and_the_log_says_how() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let file = authority.file_name().to_owned();
    let identity = stranger.certify(&["localhost"]);
    let mut world = World::with(authority, &identity, &["--ca-file", &file]);
    world.say(3);
    let unknown = "signed by no authority that is trusted here; if the authority is yours, name it";
    let line = world.machine.program().stderr.wait_for("the link is dead");
    assert!(line.contains(unknown), "{line}");
    for (identity, why) in [
        (
            world.authority.certify(&["other.example"]),
            "is for other.example, not for localhost; mend the address, or say the server name",
        ),
        (
            world.authority.certify_from(&["localhost"], (2000, 2001)),
            "its certificate ended on Mon, 01 Jan 2001 00:00:00 GMT: renew it there",
        ),
    ] {
        world.tls.show(&identity);
        let before = world.tls.count();
        until("it is tried again", || world.tls.count() > before + 1);
        assert_eq!(
            (world.tls.shaken(), world.upstream.count()),
            (0, 0),
            "{why}"
        );
        world.machine.kill();
        // The first try that fails is in the log.
        world.machine.start_again();
        let line = world.machine.program().stderr.wait_for("the link is dead");
        assert!(line.contains(why), "{line}");
    }
    world.tls.show(&world.authority.certify(&["localhost"]));
    world.machine.until_link(0, "open");
    world.all_arrive();
}

#[test]
fn the_name_to_expect_may_be_said_and_only_that_one_is_right() {
    let authority = Authority::new();
    let file = authority.file_name().to_owned();
    let identity = authority.certify(&["push.example"]);
    let flags = ["--ca-file", &file, "--server-name", "push.example"];
    let mut world = World::with(authority, &identity, &flags);
    world.machine.until_link(0, "open");
    world.say(1);
    world.all_arrive();
    world.tls.show(&world.authority.certify(&["localhost"]));
    world.tls.cut();
    let why = "is for localhost, not for push.example";
    let line = world.machine.program().stderr.wait_for("the link is dead");
    assert!(!line.contains(why), "{line}");
    let before = world.tls.count();
    until("it is tried again", || world.tls.count() > before);
    assert_eq!(world.tls.shaken(), 1);
}

#[test]
fn what_speaks_no_tls_or_says_nothing_is_left_in_time_and_named() {
    let server = Server::start();
    let url = format!("wss://{}/link", server.address);
    let mut machine = Machine::start_with(&[], &["--set", &upstreams(&url)]);
    let line = machine.program().stderr.wait_for("the link is dead");
    let named =
        line.contains("ended within the TLS handshake") || line.contains("no TLS is spoken");
    let authorities = line.contains("no certificates of authorities");
    assert!(named || authorities, "{line}");
    drop(machine);

    let mut world = World::new();
    world.tls.set_fault(Fault::Silent);
    world.tls.cut();
    world.say(3);
    // Each try ends by the silence that is allowed on a link.
    let before = world.tls.count();
    until("a try after one that was silent", || {
        world.tls.count() >= before + 2
    });
    world.tls.set_fault(Fault::None);
    world.all_arrive();
}

#[test]
fn a_cut_anywhere_in_a_handshake_or_a_record_loses_and_doubles_nothing() {
    let mut world = World::new();
    // The server's flight has some 800 bytes; behind it come answers of some 40 each.
    for size in [
        1, 4, 5, 6, 50, 127, 400, 700, 900, 1_000, 1_010, 1_020, 1_100, 1_200,
    ] {
        world.tls.set_fault(Fault::CutAfter(size));
        world.tls.cut();
        world.say(3);
        let before = world.tls.count();
        until("a try after one that was cut", || {
            world.tls.count() > before + 1 || world.upstream.count() as u64 == world.said
        });
        world.tls.set_fault(Fault::None);
        world.all_arrive();
    }
    assert_eq!(world.machine.stats()["processes"][0]["restarts"], 0);
}

#[test]
fn new_keys_and_records_that_come_byte_by_byte_are_read_as_any() {
    let mut world = World::new();
    for fault in [Fault::KeysEvery(100), Fault::Trickle] {
        world.tls.set_fault(fault);
        world.tls.cut();
        world.say(200);
        world.all_arrive();
        let before = world.tls.count();
        world.say(20);
        world.all_arrive();
        assert_eq!(world.tls.count(), before, "{fault:?}: the link stays");
    }
}

#[test]
fn a_reload_with_another_authority_makes_the_link_anew_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (settings, ca) = (folder.path().join("t.toml"), folder.path().join("ca.pem"));
    let authority = Authority::new();
    fs::write(&ca, authority.pem()).unwrap();
    // Relative to the file of the settings.
    fs::write(&settings, "[gateway]\nca_file = \"ca.pem\"\n").unwrap();
    let identity = authority.certify(&["localhost"]);
    let config = ["--config", settings.to_str().unwrap()];
    let mut world = World::with(authority, &identity, &config);
    world.machine.until_link(0, "open");
    world.say(3);
    let reload = |world: &World| {
        let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .env_clear()
            .args(["reload", "--gateway", "--data"])
            .arg(world.machine.folder.path())
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    fs::write(&ca, "nothing").unwrap();
    let (is_done, said) = reload(&world);
    assert!(
        !is_done && said.contains("gateway.ca_file: the CA file has no certificate"),
        "{said}"
    );
    assert_eq!(world.machine.opened(), 1);
    let next = Authority::new();
    fs::write(&ca, next.pem()).unwrap();
    world.tls.show(&next.certify(&["localhost"]));
    let (is_done, said) = reload(&world);
    assert!(is_done, "{said}");
    until("the link is made anew", || world.tls.shaken() == 2);
    world.say(3);
    world.all_arrive();
}

#[test]
fn an_upgrade_in_place_makes_the_link_anew_and_each_message_comes_once() {
    let (server, authority) = (Server::start(), Authority::new());
    let tls = Terminator::start(&authority.certify(&["localhost"]), server.address);
    let url = tls.url("wss", "localhost", "/link");
    let upstreams = upstreams(&url);
    let flags = ["--ca-file", authority.file_name(), "--set", &upstreams];
    let machine = Machine::start_with(&[], &flags);
    machine.until_link(0, "open");
    let senders = Senders::start(machine.address(), 4);
    for round in 1..=3 {
        let shaken = tls.shaken();
        let (code, out, err) = machine.upgrade(&[]);
        assert_eq!(code, 0, "{out}{err}");
        until("the link is made anew", || {
            tls.shaken() > shaken && machine.stats()["upstreams"][0]["state"] == "open"
        });
        let taken = senders.taken();
        until("more were taken", || senders.taken() > taken + 10);
        eprintln!("round {round}: {out}");
    }
    let taken = senders.stop();
    machine.until_settled();
    for (from, count) in taken {
        let all: Vec<u64> = (1..=count).collect();
        assert_eq!(server.heard_of(&from), all, "{from}");
    }
}

/// A server of TLS in Python, which has OpenSSL's: it hands on what is inside.
const PYTHON: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[4])
listener = socket.create_server(("127.0.0.1", 0))
print("listening on %d" % listener.getsockname()[1], flush=True)
def carry(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
while True:
    client = context.wrap_socket(listener.accept()[0], server_side=True)
    print(client.version(), client.selected_alpn_protocol(), flush=True)
    server = socket.create_connection(("127.0.0.1", int(sys.argv[3])))
    for pair in ((client, server), (server, client)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"#;

struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        // It runs until it is ended.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn python(identity: &Identity, to: SocketAddr, version: &str) -> (Python, u16) {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain"), folder.path().join("key"));
    fs::write(&chain, &identity.chain_pem).unwrap();
    fs::write(&key, &identity.key_pem).unwrap();
    let mut child = Command::new("python3")
        .args(["-c", PYTHON])
        .args([&chain, &key])
        .args([&to.port().to_string(), version])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut lines = Lines::of(child.stdout.take().unwrap());
    let line = lines.wait_for("listening on ");
    let port = line.rsplit(' ').next().unwrap().parse().unwrap();
    // What it says later goes nowhere.
    thread::spawn(move || lines.all());
    (Python(child), port)
}

#[test]
fn a_server_of_tls_that_others_wrote_is_understood_in_both_versions() {
    let authority = Authority::new();
    let identity = authority.certify(&["localhost"]);
    for version in ["TLSv1_3", "TLSv1_2"] {
        let upstream = Upstream::start();
        let (_python, port) = python(&identity, upstream.address, version);
        let url = format!("wss://localhost:{port}/link");
        let upstreams = upstreams(&url);
        let flags = ["--ca-file", authority.file_name(), "--set", &upstreams];
        let machine = Machine::start_with(&[], &flags);
        machine.until_link(0, "open");
        for number in 1..=300 {
            assert_eq!(machine.say("ann", number).status, 202);
        }
        machine.until_settled();
        let all: Vec<u64> = (1..=300).collect();
        assert_eq!(upstream.heard_of("ann"), all, "{version}");
        assert_eq!(machine.opened(), 1);
    }
}
