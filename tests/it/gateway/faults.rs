//! One thing breaks at a time, and what was taken arrives once and in order.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tungstenite::Message;

use super::FLOWS_WITHIN;
use super::machine::{Machine, message};
use super::proxy::{Proxy, Weather};
use super::upstream::Upstream;
use crate::support::http::HttpClient;
use crate::support::number_in_env;
use crate::support::wait::{until, until_within};

/// A gateway whose link goes through a network that can break.
struct World {
    upstream: Upstream,
    proxy: Proxy,
    machine: Machine,
    said: u64,
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        let upstream = Upstream::start();
        let proxy = Proxy::to(upstream.address);
        let machine = Machine::start_with(&[proxy.address], more);
        machine.until_link(0, "open");
        Self {
            upstream,
            proxy,
            machine,
            said: 0,
        }
    }

    /// Says so many more, each of which has to be taken.
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
        let took = until_within("all arrive", FLOWS_WITHIN, || {
            self.upstream.count() as u64 >= self.said
        });
        assert_eq!(self.upstream.heard_of("ann"), all, "after {took:?}");
        self.machine.until_settled();
        assert_eq!(self.upstream.heard_of("ann"), all);
    }
}

#[test]
fn whatever_the_network_does_nothing_is_lost_or_doubled() {
    let mut world = World::new();
    for weather in [
        Weather::Refusing,
        Weather::CutAfter(0),
        Weather::CutAfter(7),
        Weather::CutAfter(500),
        Weather::Stalled,
        Weather::Slow(30),
        Weather::AnswersLost,
        Weather::UpstreamShut,
        Weather::GatewayShut,
        Weather::Trickling,
    ] {
        world.say(5);
        let before = world.proxy.accepted();
        world.proxy.set(weather);
        world.say(20);
        // A link that breaks is found dead, and made anew as often as the weather lets it.
        until("the gateway connects anew", || {
            world.proxy.accepted() >= before + weather.connections_min()
        });
        if weather.connections_min() == 0 {
            until("all arrive, slowly", || {
                world.upstream.count() as u64 >= world.said
            });
        }
        world.proxy.set(Weather::Fair);
        world.say(5);
        world.all_arrive();
        eprintln!("{weather:?}: all {} arrived", world.said);
    }
    let stats = world.machine.stats();
    assert!(
        stats["upstreams"][0]["resent"].as_u64().unwrap() > 0,
        "{stats}"
    );
    assert_eq!(stats["processes"][0]["restarts"], 0, "{stats}");
}

#[test]
fn a_cut_inside_any_part_of_a_frame_loses_and_doubles_nothing() {
    let mut world = World::new();
    // A message is some 130 bytes on this link.
    for bytes in (0..160).step_by(9) {
        world.proxy.set(Weather::CutAfter(bytes));
        world.say(2);
        until("the cut", || {
            world.machine.stats()["upstreams"][0]["state"] != "open"
        });
        world.proxy.set(Weather::Fair);
        world.all_arrive();
    }
}

#[test]
fn what_the_upstream_took_and_could_not_say_is_not_sent_again() {
    let mut world = World::new();
    world.upstream.state().is_mute = true;
    world.say(10);
    until("they are there", || world.upstream.count() == 10);
    world.upstream.state().is_mute = false;
    world.proxy.cut();
    world.all_arrive();
    let stats = world.machine.stats();
    assert_eq!(
        stats["upstreams"][0]["resent"], 0,
        "its mark says so: {stats}"
    );
}

#[test]
fn an_upstream_that_dies_finds_everything_when_it_is_back() {
    let mut world = World::new();
    world.say(5);
    world.upstream.kill();
    world.say(20);
    world.machine.until_link(0, "dead");
    world.upstream.start_again();
    world.all_arrive();
}

#[test]
fn a_push_process_that_dies_is_followed_by_another() {
    let mut world = World::new();
    for _ in 0..3 {
        world.say(20);
        world.machine.kill_push();
        world.say(5);
        world.all_arrive();
    }
    let stats = world.machine.stats();
    assert_eq!(stats["processes"][0]["restarts"], 3, "{stats}");
}

#[test]
fn a_gateway_that_dies_has_everything_on_disk() {
    let mut world = World::new();
    world.proxy.set(Weather::Stalled);
    world.say(30);
    world.machine.kill();
    world.proxy.cut();
    world.proxy.set(Weather::Fair);
    world.machine.start_again();
    world.say(5);
    world.all_arrive();
    world.machine.kill();
    world.machine.start_again();
    world.say(1);
    world.all_arrive();
}

#[test]
fn a_busy_upstream_gets_what_it_refused_again() {
    let mut world = World::new();
    world.upstream.state().busy = 7;
    world.say(40);
    world.all_arrive();
    assert_eq!(world.upstream.state().busy, 0);
}

#[test]
fn an_upstream_that_lost_its_disk_gets_what_is_still_here() {
    let mut world = World::new();
    world.say(10);
    world.all_arrive();
    world.upstream.kill();
    world.upstream.state().marks.clear();
    world.say(3);
    world.upstream.start_again();
    world.all_arrive();
    let stats = world.machine.stats();
    let open = world.upstream.state().opens.last().cloned().unwrap();
    assert_eq!(open["first"], 11, "{open}");
    assert_eq!(stats["outbox"]["messages"], 0, "{stats}");
}

#[test]
fn an_outbox_that_was_wiped_is_another_producer() {
    let mut world = World::new();
    world.say(10);
    world.all_arrive();
    world.machine.stop();
    for entry in std::fs::read_dir(world.machine.folder.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    world.machine.start_again();
    world.say(5);
    world.all_arrive();
    let state = world.upstream.state();
    let producers: Vec<_> = state.opens.iter().map(|open| &open["producer"]).collect();
    assert_ne!(producers.first(), producers.last());
    assert_eq!(state.opens.last().unwrap()["first"], 1);
}

#[test]
fn an_old_copy_of_an_outbox_sends_nothing() {
    let mut world = World::new();
    world.say(5);
    world.all_arrive();
    world.machine.stop();
    let mut copy = world.machine.copy();
    world.machine.start_again();
    world.say(5);
    world.all_arrive();
    world.machine.stop();
    copy.start_again();
    // Its number 6 is another message than the 6 that the upstream has.
    assert_eq!(copy.say("bob", 1).status, 202);
    copy.program().stderr.wait_for("this outbox is an old copy");
    let stats = copy.stats();
    assert_eq!(stats["upstreams"][0]["opened"], 0, "{stats}");
    assert_eq!(stats["outbox"]["messages"], 1, "{stats}");
    assert_eq!(world.upstream.count(), 10);
}

#[test]
fn a_full_outbox_refuses_and_takes_again_once_it_is_brought_away() {
    let more = ["--set", "gateway.outbox_size_max=1048576"];
    let world = World::with(&more);
    world.proxy.set(Weather::Refusing);
    let padding = "x".repeat(20_000);
    let mut taken = 0;
    let refused = loop {
        let number = taken + 1;
        let answer = world.machine.post(
            "/v1/messages",
            &format!(
                r#"{{"to":{{"room":"tea"}},"from":"ann","data":{{"number":{number},"x":"{padding}"}}}}"#
            ),
        );
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken < 200, "it has a bound");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.fields.contains("retry-after: 1"), "{refused:?}");
    assert!(taken > 30, "only {taken} fit into 1 MiB");
    let mut http = HttpClient::connect(world.machine.address());
    assert_eq!(http.ask("GET", "/readyz", "").unwrap().status, 503);
    assert_eq!(http.ask("GET", "/healthz", "").unwrap().status, 200);
    world.proxy.set(Weather::Fair);
    until_within("all arrive", FLOWS_WITHIN, || {
        world.upstream.count() as u64 == taken
    });
    until("it takes messages again", || {
        world.machine.say("bob", 1).status == 202
    });
    assert_eq!(
        world.upstream.heard_of("ann"),
        (1..=taken).collect::<Vec<_>>()
    );
}

#[test]
fn a_stop_brings_away_what_is_on_its_way() {
    // So that the link outlives the silence.
    let mut world = World::with(&["--set", "gateway.silence_ms_max=20000"]);
    world.proxy.set(Weather::AnswersHeld);
    world.say(20);
    until("all are on their way", || world.upstream.count() == 20);
    let proxy = &world.proxy;
    let said = world.machine.stop_while(|program| {
        program.stderr.wait_for("the push process stops once");
        proxy.set(Weather::Fair);
    });
    assert!(said.contains(": 0 messages"), "{said}");
    assert_eq!(world.machine.outbox("list"), "", "which is written down");
}

#[test]
fn a_stop_writes_down_what_was_settled() {
    // By themselves, marks would be written down tomorrow.
    let mut world = World::with(&["--set", "gateway.settle_ms=86400000"]);
    world.say(20);
    until("all is settled", || {
        world.machine.stats()["upstreams"][0]["settled"] == 20
    });
    let stats = world.machine.stats();
    assert_eq!(stats["outbox"]["messages"], 20, "none is written down yet");
    world.machine.stop();
    assert_eq!(world.machine.outbox("list"), "");
    world.machine.start_again();
    world.machine.until_link(0, "open");
    let open = world.upstream.state().opens.last().cloned().unwrap();
    assert_eq!(open["first"], 21, "{open}");
}

#[test]
fn who_lives_through_faults_holds_no_more_than_before() {
    // A full run has 20.
    let rounds = number_in_env("TIDINGS_GATEWAY_ROUNDS").unwrap_or(5);
    let mut world = World::new();
    world.say(1);
    world.all_arrive();
    let before = world.machine.held();
    for _ in 0..rounds {
        world.say(2);
        world.machine.kill_push();
        world.upstream.kill();
        world.say(2);
        world.upstream.start_again();
        world.all_arrive();
    }
    world.machine.until_it_holds(&before);
    // The last of those push processes has to live through more than its first link.
    let push = world.machine.push_pid();
    for round in 0..rounds {
        let opened = world.machine.opened();
        world.proxy.set(Weather::CutAfter(round * 1_000 / rounds));
        world.say(1);
        world.proxy.cut();
        world.proxy.set(Weather::Fair);
        world.say(1);
        world.all_arrive();
        assert!(world.machine.opened() > opened);
    }
    assert_eq!(world.machine.push_pid(), push);
    world.machine.until_it_holds(&before);
    world.machine.stop();
}

#[test]
fn a_queue_before_the_disk_that_is_too_long_delays_and_refuses_nobody() {
    let world = World::with(&["--set", "queues.disk_items_high=2"]);
    let address = world.machine.address();
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            std::thread::spawn(move || {
                let from = format!("sender-{sender}");
                let mut http = HttpClient::connect(address);
                for batch in 0..10 {
                    let numbers = batch * 100 + 1..=(batch + 1) * 100;
                    let messages: Vec<_> = numbers.map(|number| message(&from, number)).collect();
                    let body = format!("{{\"messages\":[{}]}}", messages.join(","));
                    let answer = http.ask_with_json("POST", "/v1/messages/batch", &body);
                    let answer = answer.unwrap();
                    assert_eq!(answer.status, 202, "{answer:?}");
                    assert!(!answer.body.contains("error"), "{answer:?}");
                }
                from
            })
        })
        .collect();
    let senders: Vec<String> = senders
        .into_iter()
        .map(|sender| sender.join().unwrap())
        .collect();
    let disk = world.machine.stats()["disk"].clone();
    assert!(disk["items_peak"].as_u64() >= Some(100), "{disk}");
    assert_eq!(disk["pressure_high"], false, "{disk}");
    until("all arrive", || world.upstream.count() == 8_000);
    for from in senders {
        assert!(world.upstream.heard_of(&from).into_iter().eq(1..=1_000));
    }
}

#[test]
fn a_stop_that_cant_bring_everything_away_leaves_it_on_disk() {
    let mut world = World::with(&["--set", "gateway.drain_ms_max=500"]);
    world.machine.stop();
    world.proxy.set(Weather::Stalled);
    world.machine.start_again();
    world.say(7);
    let said = world.machine.stop();
    let folder = world.machine.folder.path().display().to_string();
    let left = said.lines().find(|line| line.starts_with("left for"));
    let left = left.unwrap_or_else(|| panic!("{said}"));
    assert!(left.contains(&folder), "{left}");
    assert!(!left.contains(": 0 messages"), "{left}");
    world.proxy.cut();
    world.proxy.set(Weather::Fair);
    world.machine.start_again();
    world.all_arrive();
}

/// An upstream that opens the link, says the same without end, and reads nothing; the number counts
/// the bytes that went out. It ends when nobody takes anything from it for some seconds.
fn chatterer(what: &'static [u8]) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let said = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&said);
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        socket.read().unwrap();
        let open_ok = r#"{"type":"open_ok","next":1}"#;
        socket.send(Message::text(open_ok)).unwrap();
        let stream = socket.get_mut();
        stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let many = what.repeat((64 << 10) / what.len());
        while stream.write_all(&many).is_ok() {
            count.fetch_add(many.len() as u64, Ordering::Relaxed);
        }
    });
    (address, said)
}

#[test]
fn an_upstream_that_talks_without_end_delays_no_other_and_no_stop() {
    for what in [
        &b"\x89\x00"[..],
        b"\x81\x04PONG",
        b"\x81\x0f{\"type\":\"news\"}",
    ] {
        let (address, said) = chatterer(what);
        let upstream = Upstream::start();
        let more = ["--set", "gateway.drain_ms_max=200"];
        let mut machine = Machine::start_with(&[address, upstream.address], &more);
        machine.until_link(1, "open");
        until("it talks", || said.load(Ordering::Relaxed) >= 256 << 10);
        for number in 1..=20 {
            assert_eq!(machine.say("ann", number).status, 202);
        }
        until_within("all arrive", FLOWS_WITHIN, || upstream.count() == 20);
        machine.stop();
    }
}
