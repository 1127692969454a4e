//! The rights that `docs/cluster.md` says a node needs are enough, and each of them is needed.

use std::time::Duration;

use tidings::chat::NodeFigures;
use tidings::cluster::call::{Answer, Caller, Entry, Life, MessageEntry, Sameness};
use tidings::cluster::register::{NodeEntry, Succession};
use tidings::cluster::rights::REDIS_RIGHTS;
use tidings::cluster::{presence_source, register_source};
use tidings::store::PageRange;

use super::support::redis_server::RedisServer;
use super::world::{PREFIX, adopt, attach, call, line, payload, redis, register, settings, way};

const PASSWORD: &str = "secret";

/// Gives a user these rights.
fn allow(redis: &RedisServer, rights: &str) {
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg("node").arg("reset").arg("on");
    command.arg(format!(">{PASSWORD}"));
    command.arg(rights.split(' ').collect::<Vec<_>>());
    command.exec(&mut redis.connection()).unwrap();
}

/// Everything that a node asks of its engine, each script on every way through it.
fn do_everything(redis: &RedisServer) -> Result<(), String> {
    let source = way(redis, "node", PASSWORD);
    let text = |error| format!("{error}");
    let mut engine = source.open().map_err(text)?;
    let facts = engine.facts().map_err(text)?;
    if facts.settings.is_empty() {
        return Err("the settings may not be read".into());
    }
    let life = engine
        .adopt(&facts, &Life::default(), 0, true)
        .map_err(text)?
        .life;
    engine.renew().map_err(text)?;
    let life = adopt(&mut *engine, &life, 0, true);
    let mut bus = source.bus(1).map_err(text)?;
    let mut bounds = tidings::cluster::engine::CallBounds::default();
    bounds.stored.size_max = 50;
    bounds.stored.age_ms_max = 1;
    bounds.repeat_ms = 0;
    engine.set_bounds(&bounds);
    for (number, entries) in (1..).zip(all_entries()) {
        let entries_text = format!("{entries:?}");
        match engine.call(&call(&life, number, entries)).map_err(text)? {
            Answer::Done { .. } => {}
            other => return Err(format!("{other:?} for {entries_text}")),
        }
    }
    let own = call(&life, 0, Vec::new()).caller;
    engine.wait(0, Duration::from_millis(1)).map_err(text)?;
    engine.mark_safe(1, &[1]).map_err(text)?;
    engine.send(1, b"t 1\n").map_err(text)?;
    let range = PageRange {
        after: None,
        before: None,
        limit: 10,
        bytes_max: 1_000,
    };
    engine.page("tea", range).map_err(text)?;
    engine.look(&own, &["tea"]).map_err(text)?;
    engine.producer_mark("g").map_err(text)?;
    engine.last_call(1).map_err(text)?;
    for _ in 0..3 {
        engine.tidy(&own, None, 10).map_err(text)?;
    }
    engine.hasher_key([1, 2]).map_err(text)?;
    engine.reserve_block(&own, 1).map_err(text)?;
    engine.block_owner(1).map_err(text)?;
    match bus.next(Duration::from_secs(10)).map_err(text)? {
        Some(_) => do_everything_of_nodes(redis),
        None => Err("nothing was heard".into()),
    }
}

/// Everything that a node asks of the register, and of the rows of others.
fn do_everything_of_nodes(redis: &RedisServer) -> Result<(), String> {
    let text = |error| format!("{error}");
    let way = settings(redis, "node", PASSWORD);
    let mut register = register_source(way.clone())?.open().map_err(text)?;
    let entry = |node: &str, generation| NodeEntry {
        caller: Caller {
            node: node.into(),
            generation,
        },
        address: "127.0.0.1:1".into(),
        version: "1".into(),
        promise: "fast".into(),
        settings: 1,
        started_unix_ms: 1,
        blocks: vec![7],
    };
    let own = entry("two", 2);
    let other = entry("three", 3);
    for one in [&own, &other] {
        register.enter(one, Succession::Start).map_err(text)?;
    }
    let figures = NodeFigures::default();
    let beats = register.beat(&own.caller, &figures, 1, 1).map_err(text)?;
    register.nodes().map_err(text)?;
    // The other one has rows of each kind.
    let mut rows = redis::pipe();
    for (key, field, value) in [
        ("w:tea:3", "eve", "1"),
        ("c:3", "9", "eve"),
        ("u:eve", "9", "3:1:"),
    ] {
        rows.hset(format!("{PREFIX}:{key}"), field, value);
    }
    rows.sadd(format!("{PREFIX}:x:3"), &["w:tea", "j:eve", "r:tea"]);
    rows.exec(&mut redis.connection()).unwrap();
    let beat = beats
        .standing
        .iter()
        .find(|(generation, _)| *generation == 3);
    let beat = beat.map(|(_, beat)| *beat);
    if !register.bury(&own.caller, 3, beat).map_err(text)? {
        return Err("the dead one isn't buried".into());
    }
    while !register.clean(3).map_err(text)? {}
    let mut presence = presence_source(way)?.open().map_err(text)?;
    presence.connections(&["ann", "eve"]).map_err(text)?;
    presence.rooms_of("ann", &[1]).map_err(text)?;
    presence.nodes().map_err(text)?;
    presence.block_owner(7).map_err(text)?;
    register.leave(&own.caller).map_err(text)
}

fn all_entries() -> Vec<Vec<Entry>> {
    let message = |sameness: u64| {
        let mut second = line("@ann");
        second.kind = tidings::base::ChannelKind::Memory;
        Entry::Message(MessageEntry {
            first: line("tea"),
            second: Some(second),
            payload: payload(1, 30),
            sameness: Some(Sameness {
                key: sameness.into(),
                owner: 1,
            }),
            mark: Some(("g".into(), sameness)),
        })
    };
    let channel: Box<str> = "tea".into();
    let member = |lasting| Entry::Member {
        room: "tea".into(),
        uid: "ann".into(),
        lasting,
    };
    let login = |fd| Entry::Login {
        fd: tidings::base::Fd(fd),
        uid: "ann".into(),
        now_ms: fd,
        connections_max: 1,
        lines: vec![line("@ann")],
        bits: 5,
        asks_acks: true,
    };
    let said = vec![message(1), message(1), message(2), message(3)];
    let ack = Entry::Ack {
        channel: channel.clone(),
        uid: "ann".into(),
        epoch: None,
        offset: 1,
    };
    let mark = Entry::Mark {
        producer: "g".into(),
        number: 1,
    };
    let trim = Entry::Trim {
        channel: channel.clone(),
        through: 2,
    };
    // As a channel in memory, and as one that is stored again.
    let mut in_memory = line("@ann");
    in_memory.kind = tidings::base::ChannelKind::Stored;
    let again = Entry::Attach {
        line: in_memory,
        reader: Some("ann".into()),
    };
    let purge = Entry::Purge {
        channel: channel.clone(),
        epoch: tidings::base::Epoch::from_bits(9),
    };
    vec![
        vec![attach("tea"), member(true)],
        said,
        vec![ack, mark, trim, login(1), login(2), again],
        vec![member(false), purge, Entry::Detach { channel }],
        vec![Entry::Nothing, message(4)],
    ]
}

#[test]
fn a_node_needs_the_rights_that_are_written_down_and_each_of_them() {
    let Some(redis) = redis(&["--appendonly", "no"]) else {
        return;
    };
    let begin = || {
        redis::cmd("FLUSHALL")
            .exec(&mut redis.connection())
            .unwrap();
        register(&redis, "one", 1);
    };
    let rights = REDIS_RIGHTS.replace("PREFIX", PREFIX);
    begin();
    allow(&redis, &rights);
    do_everything(&redis).unwrap();
    let words: Vec<&str> = rights.split(' ').collect();
    for word in &words {
        if others_need(word) {
            continue;
        }
        let fewer: Vec<&str> = words.iter().copied().filter(|one| one != word).collect();
        begin();
        allow(&redis, &fewer.join(" "));
        assert!(do_everything(&redis).is_err(), "{word} isn't needed");
    }
}

/// The commands of a text, each as a quoted word behind one of these.
fn commands<'a>(text: &'a str, behind: &[&str]) -> Vec<&'a str> {
    let found = behind.iter().flat_map(|begin| text.split(*begin).skip(1));
    let words = found.filter_map(|rest| rest.split(['\'', '"']).next());
    words
        .filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        .collect()
}

#[test]
fn each_command_of_a_script_and_of_the_program_is_among_the_rights() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cluster/redis");
    let mut tried = 0;
    for folder in [folder.clone(), folder.join("lua")] {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() || path.ends_with("sentinel.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for command in commands(&text, &["call('", "cmd(\"", "command(\""]) {
                let name = command.to_lowercase();
                let is_right = |right: &str| {
                    let right = right.trim_start_matches('+');
                    right.split('|').next() == Some(&name)
                };
                let mut rights = REDIS_RIGHTS.split(' ');
                assert!(rights.any(is_right), "{command} of {path:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried} commands were found");
}

#[test]
fn the_rights_stand_in_the_documentation() {
    let page = include_str!("../../docs/cluster.md");
    let mut blocks = page.split("```text\n").skip(1);
    let code = blocks.find(|block| block.starts_with("~PREFIX:"));
    let code = code.and_then(|code| code.split("```").next());
    let code = code.expect("they stand in a block");
    let written: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(written, REDIS_RIGHTS.split(' ').collect::<Vec<_>>());
}

/// Whether a right is for what isn't tried here: another database than the first one, the rows of bindings,
/// and the end of a trial.
fn others_need(word: &str) -> bool {
    ["+select", "+hscan", "+sscan", "+scan"].contains(&word)
}
