//! What is counted at two sizes, with little there and with much, since it may not grow with what is
//! there: a message in each of many rooms in turn, and one more message that is stored.

use std::hint::black_box;
use std::sync::Arc;

use tidings::base::{Fd, Tick};
use tidings::chat::{
    Actor, Chat, ChatSettings, Keep, Login, Moment, NewMessage, Recipient, Rights,
};
use tidings::store::{MemoryStore, Store, StoreSettings};

use crate::operations::{DATA, Nowhere, Operation, UNIX_MS, record};

/// Rooms that a user may join with one login.
const ROOMS_OF_A_PAIR: usize = 100;
const ROOMS: (usize, usize) = (10, 10_000);
/// Messages that a room keeps. All have so many before anything is counted: what a full history takes
/// of the allocator is the same in a thousand rooms as in one.
const KEPT: usize = 2;
const STORED: (u64, u64) = (1, 100_000);
/// Channels that the stored messages are spread over, so that none has its bound.
const CHANNELS: u64 = 10;

/// Operations with little there, and the same with much.
pub const CROWDED: &[(Operation, Operation)] = &[
    (
        Operation {
            name: "say-among-10-rooms",
            run: |rounds| say(rounds, ROOMS.0),
        },
        Operation {
            name: "say-among-10000-rooms",
            run: |rounds| say(rounds, ROOMS.1),
        },
    ),
    (
        Operation {
            name: "store-after-1",
            run: |rounds| append(rounds, STORED.0),
        },
        Operation {
            name: "store-after-100000",
            run: |rounds| append(rounds, STORED.1),
        },
    ),
];

fn moment(tick: u64) -> Moment {
    Moment {
        tick: Tick(tick),
        unix_ms: UNIX_MS,
    }
}

/// A message in each of so many rooms of two in turn.
fn say(rounds: u64, count: usize) {
    let settings = ChatSettings {
        kept_messages_max: KEPT,
        ..ChatSettings::default()
    };
    let chat = Chat::new(settings, 1);
    let rooms: Vec<String> = (0..count).map(|room| format!("room-{room:05}")).collect();
    for (pair, rooms) in rooms.chunks(ROOMS_OF_A_PAIR).enumerate() {
        let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
        for (side, fd) in [("ann", fd(pair, 0)), ("bob", fd(pair, 1))] {
            chat.opened(fd);
            let login = Login {
                fd,
                uid: &format!("{side}-{pair}"),
                rights: Arc::new(Rights::Open),
                rooms: &names,
                resume: &[],
            };
            let logged_in = chat.login(&mut Nowhere, moment(0), &login);
            logged_in.expect("anybody may");
        }
    }
    let say = |room: usize| {
        let say = NewMessage {
            from: None,
            id: None,
            keep: Keep::Yes,
            except: Vec::new(),
            data: DATA,
        };
        let actor = Actor::Connection(fd(room / ROOMS_OF_A_PAIR, 0));
        let to = Recipient::Room(&rooms[room]);
        let said = chat.say(&mut Nowhere, moment(0), actor, to, &say);
        black_box(said.expect("a member may"));
    };
    // The first messages of a room make its history, which is the room's price and no message's. One more
    // has the oldest dropped.
    let before = count * (KEPT + 1);
    (0..before + rounds as usize)
        .map(|round| round % count)
        .for_each(say);
}

/// The connection of a pair's first or second member.
fn fd(pair: usize, side: u64) -> Fd {
    Fd(64 * (2 * pair as u64 + side + 1))
}

/// One more message for a store that has so many.
fn append(rounds: u64, stored: u64) {
    let mut store = MemoryStore::new(StoreSettings::new("store"));
    let names: Vec<String> = (0..CHANNELS).map(|name| format!("tea-{name}")).collect();
    for number in 0..stored + rounds {
        let id = format!("{number:08}");
        let name = &names[(number % CHANNELS) as usize];
        let appended = store.append(UNIX_MS, &record(name, &id, number));
        black_box(appended.expect("there is room"));
        store.commit().expect("memory takes it");
    }
}
