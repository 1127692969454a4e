//! What a real Redis does to calls: it is full, restarts, forgets scripts, or has another program's key.

use redis::Commands as _;
use tidings::cluster::call::{Answer, Entry, Life, Outcome};
use tidings::cluster::engine::{Engine, EngineError};

use super::support::redis_server::RedisServer;
use super::support::wait::until;
use super::world::{PREFIX, adopt, attach, call, redis, register, say, way};

/// A Redis with one node that can call.
fn ready(flags: &[&str]) -> Option<(RedisServer, Box<dyn Engine>, Life)> {
    let redis = redis(flags)?;
    register(&redis, "one", 1);
    let mut engine = way(&redis, "", "").open().unwrap();
    let life = adopt(&mut *engine, &Life::default(), 0, true);
    Some((redis, engine, life))
}

fn outcomes(answer: Answer) -> Vec<Outcome> {
    match answer {
        Answer::Done { outcomes, .. } => outcomes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_redis_takes_no_message_and_still_takes_who_comes_and_goes() {
    let Some((redis, mut engine, life)) = ready(&[]) else {
        return;
    };
    redis.set("maxmemory", "1");
    let both = vec![attach("tea"), say("tea")];
    let refused = engine.call(&call(&life, 1, both));
    assert!(matches!(refused, Err(EngineError::Full(_))), "{refused:?}");
    let keys: Vec<String> = redis.connection().keys(format!("{PREFIX}:*")).unwrap();
    assert_eq!(keys.len(), 2, "only life and nodes stand: {keys:?}");
    let attached = engine.call(&call(&life, 1, vec![attach("tea")])).unwrap();
    assert_eq!(outcomes(attached).len(), 1);
    let detach = Entry::Detach {
        channel: "tea".into(),
    };
    let detached = engine.call(&call(&life, 2, vec![detach])).unwrap();
    assert_eq!(outcomes(detached), [Outcome::Done]);
    redis.set("maxmemory", "0");
    let said = engine.call(&call(&life, 3, vec![say("tea")])).unwrap();
    assert!(matches!(outcomes(said)[..], [Outcome::Sent { .. }]));
}

#[test]
fn scripts_that_redis_forgot_are_given_to_it_again() {
    let Some((redis, mut engine, life)) = ready(&[]) else {
        return;
    };
    for number in 1..4 {
        let said = engine.call(&call(&life, number, vec![say("tea")])).unwrap();
        assert!(matches!(outcomes(said)[..], [Outcome::Sent { .. }]));
        let mut flush = redis::cmd("SCRIPT");
        flush.arg("FLUSH").exec(&mut redis.connection()).unwrap();
    }
    assert_eq!(redis.connection().llen(format!("{PREFIX}:l:tea")), Ok(3));
}

#[test]
fn a_call_that_fails_in_the_middle_is_never_made_again() {
    let Some((redis, mut engine, life)) = ready(&[]) else {
        return;
    };
    let list = format!("{PREFIX}:l:milk");
    let _: () = redis.connection().set(&list, "of another program").unwrap();
    let both = call(&life, 1, vec![say("tea"), say("milk")]);
    assert_eq!(engine.call(&both).unwrap(), Answer::Broken);
    // What took effect before stands as a whole.
    let newest: u64 = (redis.connection())
        .hget(format!("{PREFIX}:m:tea"), "o")
        .unwrap();
    assert_eq!(newest, 1);
    let _: u64 = redis.connection().del(&list).unwrap();
    assert_eq!(engine.call(&both).unwrap(), Answer::Broken);
    let last = engine.last_call(1).unwrap().unwrap();
    assert_eq!((last.number, last.answer), (1, Answer::Broken));
    let next = call(&life, 2, vec![say("milk")]);
    assert_eq!(outcomes(engine.call(&next).unwrap()).len(), 1);
    assert_eq!(redis.connection().llen(list), Ok(1));
}

#[test]
fn a_redis_that_restarts_is_another_life_in_which_nothing_is_lost() {
    let flags = ["--appendfsync", "always"];
    let Some((mut redis, mut engine, life)) = ready(&flags) else {
        return;
    };
    let said = call(&life, 1, vec![say("tea")]);
    let first = engine.call(&said).unwrap();
    redis.kill();
    let cut = engine.call(&said);
    assert!(
        matches!(cut, Err(EngineError::Lost(_) | EngineError::Away(_))),
        "{cut:?}"
    );
    let down = way(&redis, "", "").open().map(drop);
    assert!(matches!(down, Err(EngineError::Away(_))), "{down:?}");
    redis.start();
    let mut engine = way(&redis, "", "").open().unwrap();
    let facts = engine.facts().unwrap();
    assert!(
        facts.syncs_always && facts.keeps_file && facts.is_primary,
        "{facts:?}"
    );
    let before = engine.life().unwrap().unwrap();
    assert!(
        before.life == life && before.life.run != facts.run,
        "{before:?}"
    );
    let stands = engine.adopt(&facts, &life, 1, true).unwrap();
    assert_eq!((stands.life.era, stands.n0), (life.era, 1));
    assert_eq!(engine.call(&said).unwrap(), Answer::OtherLife);
    let again = call(&stands.life, 1, vec![say("tea")]);
    assert_eq!(engine.call(&again).unwrap(), first);
    assert_eq!(redis.connection().llen(format!("{PREFIX}:l:tea")), Ok(1));
}

#[test]
fn a_redis_that_rewrites_its_file_right_after_a_start_is_one_whose_file_was_complete() {
    // Rewrites take a second a key.
    let flags = ["--appendfsync", "always", "--rdb-key-save-delay", "1000000"];
    let early = ["--auto-aof-rewrite-min-size", "100"];
    let Some((mut redis, mut engine, life)) = ready(&[&flags[..], &early].concat()) else {
        return;
    };
    engine.call(&call(&life, 1, vec![say("tea")])).unwrap();
    let facts = |redis: &_| way(redis, "", "").open().unwrap().facts().unwrap();
    redis.kill();
    redis.start();
    until("it rewrites its file", || facts(&redis).rewrites);
    let rewrites = facts(&redis);
    assert!(rewrites.began_with_file, "{rewrites:?}");
    assert!(!rewrites.syncs_always, "{rewrites:?}");
    // A file that is switched on isn't complete before its first rewrite is over.
    let (redis, ..) = ready(&[&flags[..], &["--appendonly", "no"]].concat()).unwrap();
    redis.set("appendonly", "yes");
    let switched_on = facts(&redis);
    assert!(
        switched_on.keeps_file && switched_on.rewrites,
        "{switched_on:?}"
    );
    assert!(!switched_on.began_with_file, "{switched_on:?}");
}

#[test]
fn a_redis_that_was_emptied_begins_an_era_that_never_was() {
    let Some((redis, mut engine, life)) = ready(&[]) else {
        return;
    };
    engine.call(&call(&life, 1, vec![say("tea")])).unwrap();
    redis::cmd("FLUSHALL")
        .exec(&mut redis.connection())
        .unwrap();
    assert_eq!(engine.life().unwrap(), None);
    let refused = engine.call(&call(&life, 2, vec![say("tea")])).unwrap();
    assert_eq!(refused, Answer::OtherLife);
    let next = adopt(&mut *engine, &life, 1, true);
    assert!(next.run == life.run && next.era > life.era, "{next:?}");
}
