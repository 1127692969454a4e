//! What is counted. Each operation prepares something, and then does the same so many times.
//!
//! Sizes are those of the common case, a short message in a small room; what costs by the byte is
//! measured by the benches beside this one.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use tidings::base::{Epoch, Fd, Tick};
use tidings::chat::{
    Actor, ChannelKind, Chat, ChatSettings, Keep, Login, Missing, Moment, NewMessage, Notice,
    PendingMessage, Recipient, Rights, SayOutcome, Sink, Welcome,
};
use tidings::net::mailbox::mailbox;
use tidings::net::topics::{TopicBounds, Topics};
use tidings::net::wheel::Wheel;
use tidings::proto::http::{AnswerContext, AnswerTo, HttpLimits, Response, Version, parse};
use tidings::proto::websocket::handshake::accept;
use tidings::proto::websocket::{MessageDecoder, MessageKind, encode_message, unmask};
use tidings::store::{
    Appended, Channel, MemoryStore, MessageBody, MessageRecord, Record, Store, StoreSettings,
};

/// Something that is counted.
#[derive(Debug)]
pub struct Operation {
    /// Its name among the baselines.
    pub name: &'static str,
    /// Does it so many times.
    pub run: fn(rounds: u64),
}

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "websocket-decode",
        run: decode,
    },
    Operation {
        name: "websocket-encode",
        run: encode,
    },
    Operation {
        name: "websocket-handshake",
        run: handshake,
    },
    Operation {
        name: "http-head",
        run: head,
    },
    Operation {
        name: "http-answer",
        run: answer,
    },
    Operation {
        name: "wheel-set-and-fire",
        run: wheel,
    },
    Operation {
        name: "mailbox-batch-of-64",
        run: mailbox_batch,
    },
    Operation {
        name: "topics-publish-to-100",
        run: publish,
    },
    Operation {
        name: "store-append-and-commit",
        run: append_and_commit,
    },
    Operation {
        name: "chat-say-in-a-room-of-2",
        run: say,
    },
    Operation {
        name: "stored-say",
        run: |rounds| say_stored(rounds, 1),
    },
    Operation {
        name: "stored-say-100-a-commit",
        run: |rounds| say_stored(rounds, 100),
    },
];

pub const DATA: &str = "\"Are you coming to tea at five?\"";
pub const UNIX_MS: u64 = 1_700_000_000_000;

/// A masked text frame of a client, with `DATA`.
fn client_frame() -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut payload = DATA.as_bytes().to_vec();
    unmask(&mut payload, MASK);
    [&[0x81, 0x80 | DATA.len() as u8], &MASK[..], &payload].concat()
}

/// The frame is copied each time, since decoding takes its mask off in place.
fn decode(rounds: u64) {
    let frame = client_frame();
    let mut read = frame.clone();
    let mut decoder = MessageDecoder::new();
    for _ in 0..rounds {
        read.copy_from_slice(&frame);
        let (taken, item) = decoder.decode(black_box(&mut read), 1 << 20).expect("good");
        assert!(taken == frame.len() && item.is_some());
        black_box(item);
    }
}

fn encode(rounds: u64) {
    let mut out = Vec::with_capacity(DATA.len() + 10);
    for _ in 0..rounds {
        out.clear();
        encode_message(&mut out, MessageKind::Text, black_box(DATA.as_bytes()));
        black_box(&out);
    }
}

const HANDSHAKE: &[u8] = b"GET /ws?uid=ann&room=lobby HTTP/1.1\r\nHost: localhost:9502\r\n\
    Connection: Upgrade\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nUpgrade: websocket\r\n\
    Origin: http://localhost:9502\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const GET: &[u8] = b"GET /v1/stats HTTP/1.1\r\nHost: 127.0.0.1:9502\r\n\
    User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

fn handshake(rounds: u64) {
    let limits = HttpLimits::default();
    let parsed = parse(HANDSHAKE, &mut 0, &limits).expect("a good head");
    let (head, _) = parsed.expect("a whole head");
    for _ in 0..rounds {
        black_box(accept(black_box(&head), None).expect("a good handshake"));
    }
}

fn head(rounds: u64) {
    let limits = HttpLimits::default();
    for _ in 0..rounds {
        let parsed = parse(black_box(GET), &mut 0, &limits).expect("a good head");
        let (head, _) = parsed.expect("a whole head");
        let _ = black_box((head.framing(), head.answer_to(), head.asks_for_websocket()));
    }
}

fn answer(rounds: u64) {
    let to = AnswerTo {
        head_only: false,
        keep_alive: true,
        version: Version::Http11,
    };
    let context = AnswerContext {
        date: "Sun, 06 Nov 1994 08:49:37 GMT",
        idle_s: 75,
    };
    let response = Response::text("Hello, World!");
    for _ in 0..rounds {
        black_box(black_box(&response).encode(to, context));
    }
}

/// A timer among a thousand others comes round, and is set again.
fn wheel(rounds: u64) {
    const EVERY_MS: u64 = 1_000;
    let mut wheel = Wheel::new(Tick(0));
    for index in 0..EVERY_MS {
        wheel.insert(Tick(1 + index), index);
    }
    for now in 1..=rounds {
        let fired = wheel.pop_expired(Tick(now)).expect("one a millisecond");
        wheel.insert(Tick(now).after(EVERY_MS), fired);
        black_box(wheel.next_deadline());
    }
}

fn mailbox_batch(rounds: u64) {
    let (sender, mut receiver) = mailbox(None, || {});
    for _ in 0..rounds {
        for value in 0..64_u64 {
            black_box(sender.send(black_box(value), 100).ok());
        }
        receiver.woke();
        while let Some(value) = receiver.try_recv() {
            black_box(value);
        }
        black_box((receiver.settle(), receiver.may_sleep()));
    }
}

/// A topic is found, and its frame shared by all that hear it.
fn publish(rounds: u64) {
    let mut topics = Topics::new(TopicBounds {
        topics_max: 1_000,
        topics_per_connection_max: 100,
    });
    for slot in 0..100 {
        let subscribed = topics.subscribe(slot, &"lobby".into());
        subscribed.expect("within the bounds");
    }
    let frame = Bytes::from(client_frame());
    for _ in 0..rounds {
        for member in topics.members(black_box("lobby")) {
            black_box((member.slot, frame.clone()));
        }
    }
}

fn append_and_commit(rounds: u64) {
    let mut store = MemoryStore::new(StoreSettings::new("store"));
    for round in 0..rounds {
        let appended = store.append(UNIX_MS, &record("tea", &round.to_string(), round));
        black_box(appended.expect("there is room"));
        store.commit().expect("memory takes it");
    }
}

/// A message for a channel, whose id was made of this number.
pub fn record<'a>(name: &'a str, id: &'a str, number: u64) -> Record<'a> {
    Record::Message(MessageRecord {
        channel: Channel::stored(name, Epoch::from_bits(7)),
        second: None,
        body: MessageBody {
            id,
            from: Some("ann"),
            to: None,
            ts: UNIX_MS,
            data: DATA,
        },
        idempotency_key: Some(u128::from(number)),
        id_owner: 0,
        opens: false,
        mark: None,
        except: &[],
    })
}

/// Takes what the chat sends, and lets it go.
#[derive(Debug)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn publish(&mut self, topic: &Arc<str>, frame: &Notice<'_>) {
        black_box((topic, frame));
    }

    fn push(&mut self, fd: Fd, frame: &Notice<'_>) -> bool {
        black_box((fd, frame));
        true
    }

    fn welcome(&mut self, _fd: Fd, _channels: &[Welcome]) {}

    fn subscribe(&mut self, _fd: Fd, _topic: &Arc<str>, _first: &[Notice<'_>]) {}

    fn replay(&mut self, _fd: Fd, _topic: &Arc<str>, _missing: Missing) {}

    fn forget(&mut self, _topic: &Arc<str>) {}

    fn claim(&mut self, _topic: &Arc<str>) {}

    fn drop_channel(&mut self, _topic: &Arc<str>, _epoch: Epoch) {}

    fn unsubscribe(&mut self, _fd: Fd, _topic: &Arc<str>) {}
}

fn say(rounds: u64) {
    let chat = Chat::new(ChatSettings::default(), 1);
    let moment = |tick| Moment {
        tick: Tick(tick),
        unix_ms: UNIX_MS,
    };
    for (fd, uid) in [(Fd(64), "ann"), (Fd(128), "bob")] {
        chat.opened(fd);
        let login = Login {
            fd,
            uid,
            rights: Arc::new(Rights::Open),
            rooms: &["tea"],
            resume: &[],
        };
        let logged_in = chat.login(&mut Nowhere, moment(0), &login);
        logged_in.expect("anybody may");
    }
    for round in 0..rounds {
        let say = NewMessage {
            from: None,
            id: None,
            keep: Keep::Yes,
            except: Vec::new(),
            data: DATA,
        };
        let actor = Actor::Connection(Fd(64));
        let said = chat.say(
            &mut Nowhere,
            moment(round),
            actor,
            Recipient::Room("tea"),
            &say,
        );
        black_box(said.expect("a member may"));
    }
}

/// A message of a back end from the chat to the store and back, `a_commit` of them with each commit.
/// A round is one message.
fn say_stored(rounds: u64, a_commit: u64) {
    let settings = ChatSettings {
        kind: ChannelKind::Stored,
        ..ChatSettings::default()
    };
    let chat = Chat::new(settings, 1);
    let mut store = MemoryStore::new(StoreSettings::new("store"));
    let mut pending = Vec::new();
    for round in 1..=rounds {
        let say = NewMessage {
            from: None,
            id: None,
            keep: Keep::Yes,
            except: Vec::new(),
            data: DATA,
        };
        let now = Moment {
            tick: Tick(round),
            unix_ms: UNIX_MS,
        };
        let (actor, to) = (Actor::Key("shop"), Recipient::Room("tea"));
        match chat.say(&mut Nowhere, now, actor, to, &say) {
            Ok(SayOutcome::Pending(message)) => pending.push(message),
            said => panic!("the room is stored: {said:?}"),
        }
        if round % a_commit == 0 || round == rounds {
            commit(&chat, &mut store, &mut pending, Tick(round));
        }
    }
}

/// Does what the disk thread does with what waits.
fn commit(chat: &Chat, store: &mut MemoryStore, pending: &mut Vec<PendingMessage>, now: Tick) {
    let places = pending.iter().map(|message| {
        let (name, _) = message.channels();
        let (epoch, _) = chat.epochs_of(message);
        let record = Record::Message(MessageRecord {
            channel: Channel::stored(name, epoch),
            second: None,
            body: message.message().body(),
            idempotency_key: message.idempotency_key(),
            id_owner: message.id_owner(),
            opens: message.is_opened(),
            mark: None,
            except: &[],
        });
        match store.append(UNIX_MS, &record) {
            Ok(Appended::Message(first, second)) => (first, second),
            appended => panic!("there is room: {appended:?}"),
        }
    });
    let places: Vec<_> = places.collect();
    store.commit().expect("memory takes it");
    let mut sink = Nowhere;
    let mut delivery = chat.delivery(&mut sink, now);
    for (message, places) in pending.iter().zip(places) {
        black_box(delivery.deliver(message, places));
    }
    drop(delivery);
    pending.clear();
}
