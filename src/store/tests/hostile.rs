//! Numbers that no store has written, in records whose checksums are right.

use std::sync::Arc;

use super::common::{at, epoch, message};
use crate::store::location::Location;
use crate::store::log_record::{LogPlace, LogRecord, PlacedMessage};
use crate::store::settings::Retention;
use crate::store::state::{StoreState, Strictness};

const HERE: Location = Location {
    segment: 1,
    at: 100,
    size: 50,
    ts_s: 0,
};

fn state(retention: Retention) -> StoreState {
    let mut state = StoreState::new(Arc::new(move |_| retention));
    state.bound_messages(1 << 20);
    state
}

fn channel(floor: u64, newest: u64) -> LogRecord<'static> {
    LogRecord::Channel {
        channel: "tea",
        epoch: epoch(7),
        floor,
        newest,
    }
}

fn said(offset: u64) -> LogRecord<'static> {
    LogRecord::Message(PlacedMessage {
        first: LogPlace {
            channel: "tea",
            at: at(7, offset),
        },
        second: None,
        body: message("tea", "id", "1").body,
        idempotency_key: None,
        mark: None,
        is_moved: false,
        opens: false,
    })
}

#[test]
fn numbers_that_were_never_given_are_flaws() {
    let huge = (1 << 53) + 1;
    for number in [huge, u64::MAX - 1, u64::MAX] {
        for record in [
            channel(0, number),
            channel(number, number),
            said(number),
            LogRecord::Ack {
                channel: "tea",
                reader: "ann",
                offset: number,
            },
            LogRecord::Serials { below: number },
            LogRecord::Checkpoint {
                forgotten: number,
                serials_below: number,
                needed: Vec::new(),
            },
        ] {
            let mut state = state(Retention::UNBOUNDED);
            assert!(state.apply(&record, HERE).is_err(), "{record:?}");
        }
    }
    let mark = LogRecord::Mark {
        producer: "gw",
        number: u64::MAX,
    };
    let mut state = state(Retention::UNBOUNDED);
    assert!(state.apply(&mark, HERE).is_err());
}

#[test]
fn a_checkpoint_claims_no_more_messages_than_can_be() {
    let record = channel(5, 1 << 53);
    assert!(state(Retention::UNBOUNDED).apply(&record, HERE).is_err());
    // Where only so many are kept, the others are gone anyway.
    let mut few = state(Retention {
        messages_max: 1_000,
        ..Retention::UNBOUNDED
    });
    few.apply(&record, HERE).unwrap();
    let log = &few.channel("tea").unwrap().log;
    assert_eq!((log.newest(), log.count()), (1 << 53, 1_000));
    // The next one is pushed as ever, and none after the last that there can be.
    let mut last = state(Retention::UNBOUNDED);
    last.apply(&channel((1 << 53) - 1, (1 << 53) - 1), HERE)
        .unwrap();
    last.apply(&said(1 << 53), HERE).unwrap();
    assert!(last.apply(&said((1 << 53) + 1), HERE).is_err());
}

#[test]
fn a_repair_keeps_no_places_for_more_messages_than_can_be_missing() {
    let mut state = state(Retention::UNBOUNDED);
    state.set_strictness(Strictness::Lenient);
    state.apply(&said(3), HERE).unwrap();
    state.apply(&said(1 << 53), HERE).unwrap();
    let log = &state.channel("tea").unwrap().log;
    assert_eq!((log.newest(), log.count()), (1 << 53, 1));
}
