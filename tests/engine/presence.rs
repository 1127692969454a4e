//! Who is told that a user came or left: by the rows of all nodes, in whatever order they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use redis::Commands as _;
use tidings::chat::{BindingChange, Nodes as _, NodesError, RoomDepth, User};
use tidings::cluster::clock::Clock as _;
use tidings::cluster::engine::Bus;
use tidings::cluster::presence::ClusterNodes;
use tidings::cluster::presence_source;

use super::membership::{HandClock, Member, heard, present, route};
use super::support::random::Random;
use super::support::redis_server::RedisServer;
use super::world::{PREFIX, redis, way};

/// Steps of one history.
const STEPS: usize = 60;

/// Has all nodes beat, judge and clean while four seconds pass: more than `left_ms`.
fn pass(clock: &HandClock, listener: &mut Member, nodes: &mut [Member]) {
    let until = clock.now() + Duration::from_secs(4);
    while clock.now() < until {
        listener.membership.turn();
        nodes.iter_mut().for_each(|node| node.membership.turn());
    }
}

fn one_and_two(server: &RedisServer, clock: &Arc<HandClock>) -> (Member, Member) {
    let joined = |name| Member::joined(server, clock, name);
    (joined("one"), joined("two"))
}

/// The bus of a node that hears the room.
fn hears_of_tea(server: &RedisServer, node: &Member) -> Box<dyn Bus> {
    let bus = way(server, "", "").bus(node.generation()).unwrap();
    route(server, "tea", node.generation());
    bus
}

/// In any order of comings, goings, deaths and restarts of three nodes each listener is told of a user's
/// comings and goings in turns, and in the end knows what is so.
#[test]
fn those_who_listen_are_told_of_comings_and_goings_in_turns_and_know_what_is_so_in_the_end() {
    let Some(server) = redis(&[]) else { return };
    for seed in 0..25 {
        redis::cmd("FLUSHALL")
            .exec(&mut server.connection())
            .unwrap();
        let random = &mut Random::new(seed);
        let clock = Arc::<HandClock>::default();
        let mut listener = Member::joined(&server, &clock, "listener");
        let mut bus = way(&server, "", "").bus(listener.generation()).unwrap();
        route(&server, "tea", listener.generation());
        let mut nodes: Vec<Member> = (0..3)
            .map(|node| Member::joined(&server, &clock, &format!("n{node}")))
            .collect();
        let mut so: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        for _ in 0..STEPS {
            let node = random.below(3) as usize;
            let uid = ["ann", "bob"][random.below(2) as usize];
            match random.below(12) {
                0 => {
                    // It dies, comes back under its name, and its people may come again.
                    nodes[node] = Member::joined(&server, &clock, &format!("n{node}"));
                    so.retain(|(at, _), _| *at != node);
                }
                1 => pass(&clock, &mut listener, &mut nodes),
                2..=5 => {
                    // The last one left, and may come back.
                    if so.contains_key(&(node, uid)) {
                        nodes[node].write(&[present("tea", uid, 0, true)]);
                        so.insert((node, uid), 0);
                    }
                }
                6..=8 => {
                    // Nobody came back in time.
                    if so.get(&(node, uid)) == Some(&0) {
                        nodes[node].write(&[present("tea", uid, 0, false)]);
                        so.remove(&(node, uid));
                    }
                }
                _ => {
                    let connections = 1 + random.below(2) as usize;
                    nodes[node].write(&[present("tea", uid, connections, false)]);
                    so.insert((node, uid), connections);
                }
            }
        }
        pass(&clock, &mut listener, &mut nodes);
        let mut there = BTreeSet::new();
        for frame in heard(&mut *bus) {
            let Some((head, rest)) = frame.split_once("\ntea") else {
                continue;
            };
            let turned = match &head[..1] {
                "j" => there.insert(rest.to_owned()),
                _ => there.remove(rest),
            };
            assert!(turned, "seed {seed}: {head} {rest} twice");
            let users: usize = head.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(users >= there.len(), "seed {seed}: {head}");
        }
        let truth: BTreeSet<String> = so.keys().map(|(_, uid)| (*uid).to_owned()).collect();
        assert_eq!(there, truth, "seed {seed}");
    }
}

#[test]
fn a_user_who_moves_between_nodes_within_left_ms_neither_left_nor_came() {
    let Some(server) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let (mut one, mut two) = one_and_two(&server, &clock);
    let mut bus = hears_of_tea(&server, &two);
    one.write(&[present("tea", "ann", 1, false)]);
    assert_eq!(heard(&mut *bus), ["j 3 1\nteaann"]);
    one.write(&[present("tea", "ann", 0, true)]);
    two.write(&[present("tea", "ann", 1, false)]);
    one.write(&[present("tea", "ann", 0, false)]);
    assert_eq!(heard(&mut *bus), [] as [&str; 0]);
    two.write(&[present("tea", "ann", 0, true)]);
    two.write(&[present("tea", "ann", 0, false)]);
    assert_eq!(heard(&mut *bus), ["l 3 0\nteaann"]);
}

#[test]
fn who_was_there_before_redis_was_emptied_comes_again_without_a_word() {
    let Some(server) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let (mut one, mut two) = one_and_two(&server, &clock);
    one.write(&[present("tea", "ann", 1, false)]);
    assert!(!one.rows.has_lost_rows().unwrap());
    redis::cmd("FLUSHALL")
        .exec(&mut server.connection())
        .unwrap();
    for node in [&mut one, &mut two] {
        let before = node.generation();
        node.turn_for(&clock, Duration::from_secs(2));
        assert_ne!(node.generation(), before);
        node.reopen();
    }
    let mut bus = hears_of_tea(&server, &two);
    assert!(one.rows.has_lost_rows().unwrap());
    let own = one.as_node();
    one.rows
        .write_again(&own, &[present("tea", "ann", 1, false)])
        .unwrap();
    one.write(&[present("tea", "bob", 1, false)]);
    assert_eq!(heard(&mut *bus), ["j 3 2\nteabob"]);
    one.write(&[present("tea", "ann", 0, false)]);
    assert_eq!(heard(&mut *bus), ["l 3 1\nteaann"]);
}

#[test]
fn who_was_told_to_have_left_with_a_node_that_was_silent_comes_again_with_a_word() {
    let Some(server) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let (mut one, mut two) = one_and_two(&server, &clock);
    let mut bus = hears_of_tea(&server, &two);
    one.write(&[present("tea", "ann", 1, false)]);
    two.turn_for(&clock, Duration::from_secs(20));
    let told = heard(&mut *bus).into_iter();
    let told: Vec<String> = told.filter(|frame| !frame.starts_with('g')).collect();
    assert_eq!(told, ["j 3 1\nteaann", "l 3 0\nteaann"]);
    one.turn_for(&clock, Duration::from_secs(2));
    one.reopen();
    assert!(!one.rows.has_lost_rows().unwrap());
}

#[test]
fn rows_answer_where_a_user_is_and_who_is_in_a_room_and_dead_ones_do_not_count() {
    let Some(server) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let mut asks = Member::joined(&server, &clock, "asks");
    let mut there = Member::joined(&server, &clock, "there");
    let generation = there.generation();
    let mut raw = server.connection();
    let _: u64 = raw
        .hset_multiple::<_, _, _, ()>(format!("{PREFIX}:m:tea"), &[("e", "abcdef"), ("o", "7")])
        .map(|()| 0)
        .unwrap();
    for name in ["*", "@ann", "Tea", "pie", "tea", "9"] {
        let _: u64 = raw.zadd(format!("{PREFIX}:k"), name, 0).unwrap();
    }
    route(&server, "tea", generation);
    there.write(&[
        BindingChange::Connected {
            fd: tidings::base::Fd(5 << 28),
            user: User::of_uid("ann"),
            record: tidings::chat::ConnectionRecord {
                since_unix_ms: 9,
                session: Some(r#"{"a":":"}"#.into()),
            },
        },
        present("tea", "ann", 2, false),
        present("tea", "bob", 0, true),
        BindingChange::Heard {
            channel: "tea".into(),
            connections: 2,
        },
        BindingChange::Heard {
            channel: "pie".into(),
            connections: 9,
        },
    ]);
    let routes: Vec<String> = raw.hkeys(format!("{PREFIX}:r:pie")).unwrap();
    assert!(routes.is_empty(), "a count makes no route");
    let _: u64 = raw.hset(format!("{PREFIX}:blocks"), 5, generation).unwrap();
    asks.turn_for(&clock, Duration::from_secs(2));

    let source = presence_source(asks.shared.settings.engine.clone()).unwrap();
    let ask = |_, _: &_| Err(NodesError::Silent("there".into()));
    let nodes = ClusterNodes::new(Arc::clone(&asks.shared), source, Box::new(ask));
    let depth = RoomDepth {
        exact_users_max: 10,
        users_max: 10,
        after: None,
        asks_lasting: true,
    };
    assert_eq!(nodes.online(&["ann", "bob"]), Ok(vec![true, false]));
    let ann = nodes.user("ann").unwrap();
    assert_eq!(
        (ann.connections.len(), ann.connections[0].generation),
        (1, generation)
    );
    assert_eq!(
        ann.connections[0].record.session.as_deref(),
        Some(r#"{"a":":"}"#)
    );
    assert_eq!(*ann.rooms[0], *"tea");
    let tea = nodes.room("tea", depth).unwrap().unwrap();
    assert_eq!(tea.users, [("ann".into(), 2), ("bob".into(), 0)]);
    assert_eq!(
        (tea.users_total, tea.connections, tea.kept.unwrap().0.offset),
        (2, 2, 7)
    );
    assert_eq!(nodes.room("none", depth), Ok(None));
    let names = |prefix: &str, after: Option<&str>, limit| {
        let source = presence_source(asks.shared.settings.engine.clone()).unwrap();
        let names = source
            .open()
            .unwrap()
            .room_names(prefix, after, limit)
            .unwrap();
        names
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("", None, 10), ["9", "Tea", "pie", "tea"]);
    assert_eq!(names("", Some("9"), 2), ["Tea", "pie"]);
    assert_eq!(names("t", None, 10), ["tea"]);
    let fd = tidings::base::Fd(5 << 28);
    assert_eq!(nodes.node_of(fd), Ok(Some(generation)));
    let views = nodes.nodes().unwrap();
    let words: Vec<&str> = views.iter().map(|node| node.state.word()).collect();
    assert_eq!((views.len(), words), (2, vec!["ready", "ready"]));

    asks.turn_for(&clock, Duration::from_secs(6));
    assert_eq!(nodes.online(&["ann"]), Ok(vec![false]), "its lease is over");
    assert_eq!(nodes.user("ann").unwrap().connections, []);
    assert_eq!(nodes.room("tea", depth).unwrap().unwrap().users, []);
    assert!(
        nodes
            .nodes()
            .unwrap()
            .iter()
            .any(|node| node.state.word() == "silent")
    );
    assert!(clock.unix_ms() > 0);
}
