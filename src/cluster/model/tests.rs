//! What a model does with faults; what it does without is held against the real engine in `tests/engine`.

use std::sync::Arc;
use std::time::Duration;

use super::{CallFault, LifeChange, LostCalls, Model};
use crate::base::{ChannelKind, Epoch, Position};
use crate::cluster::call::{Answer, Call, Caller, Entry, Life, Line, MessageEntry, Outcome};
use crate::cluster::clock::SystemClock;
use crate::cluster::engine::{Engine, EngineError};
use crate::cluster::frame::Frame;

const OWNER: u64 = 1;
const GENERATION: u64 = 7;

struct Caller1 {
    model: Model,
    engine: Box<dyn Engine>,
    life: Life,
}

impl Caller1 {
    fn new() -> Self {
        let model = Model::new(Arc::new(SystemClock));
        model.register("one", GENERATION);
        let mut engine = model.source(OWNER).open().unwrap();
        let life = adopt(&mut *engine, &Life::default(), 0);
        Self {
            model,
            engine,
            life,
        }
    }

    fn reopen(&mut self) {
        self.engine = self.model.source(OWNER).open().unwrap();
    }

    fn call(&mut self, number: u64, entries: Vec<Entry>) -> Result<Answer, EngineError> {
        let call = Call {
            life: self.life.clone(),
            caller: Caller {
                node: "one".into(),
                generation: GENERATION,
            },
            number,
            alive: [GENERATION].into(),
            entries,
        };
        self.engine.call(&call)
    }

    fn offset(&mut self, number: u64) -> u64 {
        match self.call(number, vec![say("tea")]).unwrap() {
            Answer::Done { outcomes, .. } => match outcomes[0] {
                Outcome::Sent { first, .. } => first.unwrap().offset,
                ref other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn stored(&self) -> usize {
        self.model.log("tea").map_or(0, |(_, log)| log.len())
    }
}

fn adopt(engine: &mut dyn Engine, known: &Life, seen: u64) -> Life {
    let facts = engine.facts().unwrap();
    engine.adopt(&facts, known, seen, true).unwrap().life
}

fn line(channel: &str) -> Line {
    Line {
        channel: channel.into(),
        kind: ChannelKind::Stored,
        new_epoch: Epoch::from_bits(5),
    }
}

fn say(channel: &str) -> Entry {
    Entry::Message(MessageEntry {
        first: line(channel),
        second: None,
        payload: Arc::from(&b"\x01\x01hello"[..]),
        sameness: None,
        mark: None,
    })
}

#[test]
fn a_call_that_is_made_again_is_answered_as_the_first_time_and_done_once() {
    let mut caller = Caller1::new();
    caller.model.fault(OWNER, CallFault::ReplyLost);
    let lost = caller.call(1, vec![say("tea")]);
    assert!(matches!(lost, Err(EngineError::Lost(_))), "{lost:?}");
    let cut = caller.call(1, vec![say("tea")]);
    assert!(
        cut.is_err(),
        "a connection isn't used after an error: {cut:?}"
    );
    caller.reopen();
    assert_eq!((caller.offset(1), caller.offset(1)), (1, 1));
    assert_eq!(caller.stored(), 1);
}

#[test]
fn a_copy_that_comes_after_the_next_call_does_nothing() {
    let mut caller = Caller1::new();
    caller.model.fault(OWNER, CallFault::Copied);
    caller.call(1, vec![say("tea")]).unwrap_err();
    caller.reopen();
    assert_eq!((caller.offset(1), caller.offset(2)), (1, 2));
    caller.model.deliver_late();
    assert_eq!(caller.stored(), 2);
    assert_eq!(caller.call(1, vec![say("tea")]).unwrap(), Answer::Old);
}

#[test]
fn a_life_that_lost_calls_begins_an_era_and_one_that_lost_none_goes_on() {
    for lost in [0, 2] {
        let mut caller = Caller1::new();
        (1..=3).for_each(|number| _ = caller.offset(number));
        let before = caller.life.clone();
        let lost_calls = LostCalls::Tail(lost);
        caller.model.new_life(LifeChange::Restart, lost_calls);
        assert!(
            caller.call(4, vec![say("tea")]).is_err(),
            "the connection ended"
        );
        caller.reopen();
        let life = adopt(&mut *caller.engine, &before, 3);
        let late = caller.call(4, vec![say("tea")]).unwrap();
        assert_eq!(late, Answer::OtherLife);
        caller.life = life;
        assert_eq!(caller.life.era > before.era, lost > 0);
        assert_eq!(caller.offset(4), 4 - lost as u64);
    }
}

#[test]
fn a_generation_that_does_not_stand_changes_nothing_and_can_ask_for_its_last_call() {
    let mut caller = Caller1::new();
    assert_eq!(caller.offset(1), 1);
    caller.model.register("one", GENERATION + 1);
    assert_eq!(caller.call(2, vec![say("tea")]).unwrap(), Answer::Gone);
    assert_eq!(caller.offset(1), 1, "the answer was kept");
    let last = caller.engine.last_call(GENERATION).unwrap().unwrap();
    assert_eq!(last.number, 1);
    assert_eq!(caller.stored(), 1);
}

#[test]
fn a_full_engine_takes_no_message_and_still_lets_nodes_come_and_go() {
    let mut caller = Caller1::new();
    caller.model.set_full(true);
    let refused = caller.call(1, vec![say("tea")]);
    assert!(matches!(refused, Err(EngineError::Full(_))), "{refused:?}");
    let line = line("tea");
    let attach = Entry::Attach { line, reader: None };
    let attached = caller.call(1, vec![attach]).unwrap();
    assert!(matches!(attached, Answer::Done { .. }), "{attached:?}");
    assert_eq!(caller.stored(), 0);
}

#[test]
fn frames_come_in_order_and_those_of_a_stall_after_it() {
    let mut caller = Caller1::new();
    let mut bus = caller.model.source(OWNER).bus(GENERATION).unwrap();
    let line = line("tea");
    let attach = Entry::Attach { line, reader: None };
    caller.call(1, vec![attach]).unwrap();
    caller.offset(2);
    caller.model.stall_bus(OWNER, true);
    caller.offset(3);
    let mut offsets = Vec::new();
    for is_stalled in [true, false] {
        caller.model.stall_bus(OWNER, is_stalled);
        while let Some(bytes) = bus.next(Duration::ZERO).unwrap() {
            match Frame::parse(&bytes).unwrap() {
                Frame::Message {
                    position: Some(Position { offset, .. }),
                    ..
                } => offsets.push((is_stalled, offset)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(offsets, [(true, 1), (false, 2)]);
    caller.model.cut_bus(OWNER);
    assert!(bus.next(Duration::ZERO).is_err());
}

#[test]
fn one_who_comes_two_lives_late_still_proves_what_the_first_of_them_lost() {
    for lost in [0, 2] {
        let mut caller = Caller1::new();
        (1..=3).for_each(|number| _ = caller.offset(number));
        let (late, late_seen) = (caller.life.clone(), 3);
        let mut number = 3;
        for lost in [lost, 0] {
            let lost_calls = LostCalls::Tail(lost);
            caller.model.new_life(LifeChange::Restart, lost_calls);
            caller.reopen();
            // Another node, which has seen nothing of what is lost.
            let known = caller.life.clone();
            caller.life = adopt(&mut *caller.engine, &known, 1);
            (0..4).for_each(|_| {
                number += 1;
                _ = caller.offset(number);
            });
        }
        assert_eq!(caller.life.era, late.era);
        let found = adopt(&mut *caller.engine, &late, late_seen);
        assert_eq!(found.era > late.era, lost > 0, "{lost} calls lost");
    }
}
