//! Deliveries that wait for more of their topic: one write a member, everything in order, and nobody
//! is left without what was said before.

use std::collections::BTreeMap;

use tidings::server::{Builder, Fd, ServerSettings};

use crate::support::random::Random;
use crate::support::server::{LocalServer, Mode, in_every_mode, until_nothing_is_left};
use crate::support::wait::until;
use crate::support::websocket::{Heard, WebSocketClient};

/// Longer than any test: what gathers goes out by a bound, or since something makes it.
const EVER_MS: u16 = u16::MAX;

/// Everyone hears `tea`; a message of a client is answered with itself.
fn room(mode: Mode) -> Builder {
    mode.builder()
        .on_open(|server, request| server.subscribe(request.fd, "tea"))
        .on_message(|server, frame| {
            // One that was closed meanwhile gets nothing.
            server.push(frame.fd, frame).ok();
        })
}

fn bounded(change: impl FnOnce(&mut ServerSettings)) -> ServerSettings {
    let mut settings = ServerSettings::default();
    change(&mut settings);
    settings
}

fn join(server: &LocalServer, count: usize) -> Vec<WebSocketClient> {
    let before = server.stats().totals.subscriptions;
    let clients = (0..count)
        .map(|_| WebSocketClient::join(&server.handle))
        .collect();
    until("all are subscribed", || {
        server.stats().totals.subscriptions == before + count as u64
    });
    clients
}

fn fd_of(server: &LocalServer, client: &WebSocketClient) -> Fd {
    let fds = server.handle.connections(Fd(0), 100).into_iter();
    let peer = |fd: &Fd| server.handle.connection_info(*fd).unwrap().peer;
    let mut found = fds.filter(|fd| peer(fd) == client.local_address());
    found.next().expect("it is connected")
}

fn gather(server: &LocalServer, messages: impl IntoIterator<Item = u64>) {
    for number in messages {
        let text = number.to_string();
        server.handle.publish_gathered("tea", &text, EVER_MS);
    }
}

#[track_caller]
fn until_nothing_waits(server: &LocalServer) {
    until("nothing waits for more", || {
        let totals = server.stats().totals;
        (totals.gathered_waiting, totals.gathered_bytes) == (0, 0)
    });
}

#[track_caller]
fn hear(client: &mut WebSocketClient, messages: impl IntoIterator<Item = u64>) {
    for number in messages {
        assert_eq!(client.hear_text(), number.to_string());
    }
}

#[test]
fn what_gathers_is_one_write_a_member() {
    const MEMBERS: u64 = 10;
    const MESSAGES: u64 = 50;
    in_every_mode(|mode| {
        let settings = bounded(|all| all.reactor.gather.messages_max = MESSAGES as usize);
        let server = LocalServer::start(room(mode).settings(settings));
        let mut clients = join(&server, MEMBERS as usize);
        gather(&server, 1..MESSAGES);
        let waiting = (MESSAGES - 1) * mode.reactors as u64;
        until("all of it waits", || {
            server.stats().totals.gathered_waiting == waiting
        });
        for client in &mut clients {
            client.echo("nothing came before this");
        }
        let before = server.stats().totals;
        gather(&server, [MESSAGES]);
        for client in &mut clients {
            hear(client, 1..=MESSAGES);
        }
        let totals = server.stats().totals;
        assert_eq!(totals.deliveries - before.deliveries, MEMBERS);
        assert_eq!(totals.gathered, mode.reactors as u64);
        assert_eq!(totals.gathered_full, totals.gathered);
        let pings = totals.pings - before.pings;
        assert!(totals.writes - before.writes <= MEMBERS + pings);
        until_nothing_waits(&server);
    });
}

#[test]
fn what_gathers_goes_out_when_its_time_is_over() {
    in_every_mode(|mode| {
        let server = LocalServer::start(room(mode));
        let mut clients = join(&server, 4);
        for round in 0..5_u64 {
            for number in 0..3 {
                let text = (round * 3 + number).to_string();
                server.handle.publish_gathered("tea", &text, 1);
            }
            for client in &mut clients {
                hear(client, round * 3..round * 3 + 3);
            }
        }
        assert_eq!(server.stats().totals.gathered_full, 0);
        drop(clients);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn what_is_too_much_for_a_bound_goes_out_at_once() {
    in_every_mode(|mode| {
        let settings = bounded(|all| {
            all.reactor.gather.bytes_max = 1_000;
            all.reactor.gather.bytes_total_max = 2_500;
        });
        let server = LocalServer::start(room(mode).settings(settings));
        let mut client = join(&server, 1).remove(0);
        let fd = fd_of(&server, &client);
        for topic in ["a", "b", "c"] {
            server.handle.subscribe(fd, topic);
        }
        let say = |topic: &str, size| {
            let text = topic.repeat(size);
            server.handle.publish_gathered(topic, &text, EVER_MS);
            text
        };
        // One alone, and one that makes it too many bytes of one topic.
        let large = say("a", 1_000);
        assert_eq!(client.hear_text(), large);
        let (first, second) = (say("a", 500), say("a", 500));
        assert_eq!([client.hear_text(), client.hear_text()], [first, second]);
        // Three topics are too many bytes in all; only the last one goes out.
        say("a", 900);
        say("b", 900);
        let last = say("c", 900);
        assert_eq!(client.hear_text(), last);
        client.echo("the others wait");
        let totals = server.stats().totals;
        assert_eq!((totals.gathered_full, totals.gathered_waiting), (3, 2));
    });
}

#[test]
fn who_comes_hears_only_what_comes_after_it_and_who_leaves_all_that_came_before() {
    in_every_mode(|mode| {
        let settings = bounded(|all| all.reactor.gather.messages_max = 6);
        let server = LocalServer::start(room(mode).settings(settings));
        // Some on each reactor.
        let mut stay = join(&server, 3);
        let mut leave = join(&server, 3);
        gather(&server, [1, 2]);
        let mut come = join(&server, 3);
        gather(&server, [3]);
        for client in &mut leave {
            let fd = fd_of(&server, client);
            server.handle.unsubscribe(fd, "tea");
            server.handle.push(fd, "you have left").unwrap();
            hear(client, 1..=3);
            assert_eq!(client.hear_text(), "you have left");
            // Once more, and a member that subscribes again has what it had.
            server.handle.subscribe(fd, "tea");
            server.handle.subscribe_after(fd, "tea", &["again".into()]);
            assert_eq!(client.hear_text(), "again");
        }
        gather(&server, [4]);
        for client in &mut leave[..1] {
            let fd = fd_of(&server, client);
            server
                .handle
                .subscribe_after(fd, "tea", &["behind 4".into()]);
            hear(client, [4]);
            assert_eq!(client.hear_text(), "behind 4");
        }
        gather(&server, [5, 6]);
        for client in &mut stay {
            hear(client, 1..=6);
            client.echo("no more");
        }
        for client in &mut come {
            hear(client, 3..=6);
            client.echo("no more");
        }
        for (number, client) in leave.iter_mut().enumerate() {
            hear(client, if number == 0 { 5..=6 } else { 4..=6 });
            client.echo("no more");
        }
    });
}

#[test]
fn who_is_disconnected_gets_what_waits_before_its_close() {
    in_every_mode(|mode| {
        let server = LocalServer::start(room(mode));
        let mut clients = join(&server, 4);
        gather(&server, 1..=3);
        let fd = fd_of(&server, &clients[0]);
        server.handle.disconnect(fd, 4_000, "go").unwrap();
        hear(&mut clients[0], 1..=3);
        assert_eq!(clients[0].hear(), Heard::Close(4_000));
        drop(clients.remove(0));
        // The stop says farewell to the others.
        server.handle.stop();
        for client in &mut clients {
            hear(client, 1..=3);
            assert_eq!(client.hear(), Heard::Close(1_001));
        }
        drop(clients);
        server.stop();
    });
}

#[test]
fn a_publish_that_does_not_wait_goes_behind_what_does() {
    in_every_mode(|mode| {
        let server = LocalServer::start(room(mode));
        let mut clients = join(&server, 3);
        gather(&server, [1, 2]);
        server.handle.publish("tea", "3");
        for client in &mut clients {
            hear(client, 1..=3);
        }
        until_nothing_waits(&server);
    });
}

#[test]
fn what_gathers_for_a_topic_without_members_is_nobodys() {
    in_every_mode(|mode| {
        let server = LocalServer::start(room(mode));
        server.handle.publish_gathered("nobody", "1", EVER_MS);
        let mut clients = join(&server, 2);
        gather(&server, [1]);
        for client in &clients {
            server.handle.unsubscribe(fd_of(&server, client), "tea");
        }
        for client in &mut clients {
            hear(client, [1]);
            client.echo("no more");
            server.handle.subscribe(fd_of(&server, client), "tea");
        }
        server.handle.publish("tea", "2");
        for client in &mut clients {
            hear(client, [2]);
        }
        until_nothing_waits(&server);
    });
}

/// Whatever happens meanwhile: each topic says the same to each member as if nothing waited.
#[test]
fn each_member_hears_of_each_topic_what_it_would_hear_if_nothing_waited() {
    const TOPICS: [&str; 3] = ["tea", "milk", "rum"];
    in_every_mode(|mode| {
        let random = &mut Random::new(7 + mode.workers as u64 * 2 + mode.reactors as u64);
        let settings = bounded(|all| {
            all.reactor.gather.messages_max = 7;
            all.reactor.gather.bytes_max = 200;
            all.reactor.gather.bytes_total_max = 300;
        });
        let server = LocalServer::start(room(mode).settings(settings));
        let mut clients = join(&server, 4);
        let fds: Vec<Fd> = clients.iter().map(|one| fd_of(&server, one)).collect();
        // What each client is in, and what it has to hear of each topic.
        let mut members = vec![[true, false, false]; clients.len()];
        let mut expected = vec![BTreeMap::<&str, Vec<String>>::new(); clients.len()];
        for number in 0..600 {
            let (topic, client) = (random.within(0..=2), random.within(0..=3));
            let name = TOPICS[topic];
            match random.within(0..=9) {
                0 if members[client][topic] => {
                    server.handle.unsubscribe(fds[client], name);
                    members[client][topic] = false;
                }
                0 | 1 => {
                    let first = format!("{name} {number} first");
                    let handle = &server.handle;
                    handle.subscribe_after(fds[client], name, &[(&first).into()]);
                    members[client][topic] = true;
                    expected[client].entry(name).or_default().push(first);
                }
                kind => {
                    let text = format!("{name} {number} {}", "x".repeat(random.within(0..=40)));
                    match kind {
                        2 => server.handle.publish(name, &text),
                        3 => server.handle.publish_gathered(name, &text, 1),
                        _ => server.handle.publish_gathered(name, &text, EVER_MS),
                    }
                    for (of, expected) in members.iter().zip(&mut expected) {
                        if of[topic] {
                            expected.entry(name).or_default().push(text.clone());
                        }
                    }
                }
            }
        }
        for topic in TOPICS {
            server.handle.publish(topic, "end");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut heard = BTreeMap::<&str, Vec<String>>::new();
            let count = expected[number].values().map(Vec::len).sum::<usize>();
            let ends = members[number].iter().filter(|is_in| **is_in).count();
            for _ in 0..count + ends {
                let text = client.hear_text();
                if let Some(topic) = TOPICS.iter().find(|topic| text.starts_with(**topic)) {
                    heard.entry(topic).or_default().push(text);
                } else {
                    assert_eq!(text, "end");
                }
            }
            assert_eq!(heard, expected[number], "client {number}");
            client.echo("no more");
        }
    });
}
