//! Ids that are remembered against repeats are shared out before they run out.

use tidings::cluster::call::{Answer, Entry, Life, MessageEntry, Outcome, Sameness};
use tidings::cluster::engine::{CallBounds, Engine};

use super::support::redis_server::RedisServer;
use super::world::{adopt, call, line, payload, redis, register, way};

const ANN: u64 = 1;
const BOB: u64 = u64::MAX;

/// A Redis that remembers twelve ids, and two of one owner among the last three.
struct Shared {
    engine: Box<dyn Engine>,
    life: Life,
    bounds: CallBounds,
    calls: u64,
    ids: u64,
}

impl Shared {
    fn new(redis: &RedisServer) -> Self {
        register(redis, "one", 1);
        let mut engine = way(redis, "", "").open().unwrap();
        let life = adopt(&mut *engine, &Life::default(), 0, true);
        let bounds = CallBounds {
            ids_max: 12,
            ids_per_sender_max: 2,
            ..CallBounds::default()
        };
        engine.set_bounds(&bounds);
        Self {
            engine,
            life,
            bounds,
            calls: 0,
            ids: 0,
        }
    }

    /// Says a message with an id of its own.
    fn say(&mut self, owner: u64) -> Outcome {
        self.ids += 1;
        self.say_with(self.ids, owner)
    }

    fn say_with(&mut self, id: u64, owner: u64) -> Outcome {
        self.calls += 1;
        let message = Entry::Message(MessageEntry {
            first: line("tea"),
            second: None,
            payload: payload(1, 20),
            sameness: Some(Sameness {
                key: id.into(),
                owner,
            }),
            mark: None,
        });
        let call = call(&self.life, self.calls, vec![message]);
        match self.engine.call(&call).unwrap() {
            Answer::Done { mut outcomes, .. } => outcomes.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn is_taken(&mut self, owner: u64) {
        let outcome = self.say(owner);
        assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
    }
}

#[test]
fn who_has_its_share_of_the_last_ids_is_refused_and_nobody_else_until_there_is_none_left() {
    let Some(redis) = redis(&["--appendonly", "no"]) else {
        return;
    };
    let mut shared = Shared::new(&redis);
    for _ in 0..shared.bounds.ids_unshared() + shared.bounds.ids_per_sender_max {
        shared.is_taken(ANN);
    }
    for _ in 0..3 {
        assert_eq!(shared.say(ANN), Outcome::TooManyOwnIds);
    }
    let repeat = shared.say_with(1, ANN);
    assert!(matches!(repeat, Outcome::Repeat(Some(_))), "{repeat:?}");
    shared.is_taken(BOB);
    for owner in [ANN, BOB] {
        assert_eq!(shared.say(owner), Outcome::TooManyIds);
    }
    // The next window has room for everybody again.
    let mut connection = redis.connection();
    let mut age = redis::cmd("HINCRBY");
    age.arg("t:life").arg("opened").arg(-3_600_000_i64);
    age.exec(&mut connection).unwrap();
    for _ in 0..shared.bounds.ids_unshared() + shared.bounds.ids_per_sender_max {
        shared.is_taken(ANN);
    }
    assert_eq!(shared.say(ANN), Outcome::TooManyOwnIds);
    shared.is_taken(BOB);
}
