//! Channels of which a slow reader gets only the newest message (`chat.latest`): it is told what was
//! left out, and isn't closed for it.

use serde_json::{Value, json};

use crate::support::api::{ask_json, number, post};
use crate::support::chat_client::{ChatClient, Position};
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

/// Bytes of a message: so many that few of them fill what the kernel takes for a narrow client.
const SIZE: usize = 30_000;

/// Messages that are much more than the bound of an outbox.
const MANY: u64 = 50;

fn serve(more: &[&str]) -> Program {
    let set = ["--set", "chat.latest=price-*"];
    Program::serve(&[&set[..], more].concat())
}

/// A member of `price-1` that has its answer, and reads no more.
fn slow(server: &Program) -> WebSocketClient {
    let path = "/ws?uid=slow&room=price-1";
    let mut slow = WebSocketClient::connect_narrow(server.address, path);
    for kind in ["hello", "ok"] {
        assert_eq!(parsed(&slow.hear_text())["type"], kind);
    }
    slow
}

/// Posts messages until many of them were replaced; the position of the last one.
fn fill(server: &Program) -> Position {
    let (mut http, data) = (server.http(), json!("x".repeat(SIZE)));
    loop {
        let last = post(&mut http, "price-1", 10, &data);
        if number(server, "totals", "latest_replaced") >= MANY {
            return last;
        }
    }
}

/// Hears frames up to the one that `is_last`; each message with an offset comes next to the one before
/// it, or right behind its gap.
#[track_caller]
fn hear_up_to(client: &mut WebSocketClient, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut frames: Vec<Value> = Vec::new();
    let mut newest = 0;
    loop {
        let frame = parsed(&client.hear_text());
        if let Some(offset) = frame["offset"].as_u64() {
            let before = frames.last().filter(|before| before["type"] == "gap");
            let is_told = before
                .is_some_and(|gap| gap["offset"] == offset - 1 && gap["epoch"] == frame["epoch"]);
            let is_next = frame["type"] == "gap" || offset == newest + 1;
            assert!(is_next || is_told, "{offset} behind {newest}");
            newest = offset;
        }
        frames.push(frame);
        if is_last(frames.last().unwrap()) {
            return frames;
        }
    }
}

fn is_at(position: &Position) -> impl Fn(&Value) -> bool {
    let (epoch, offset) = (position.epoch.clone(), position.offset);
    move |frame| {
        let is_there = frame["offset"] == offset && frame["epoch"] == *epoch;
        is_there && frame["type"] == "msg"
    }
}

#[test]
fn a_slow_reader_hears_the_newest_behind_a_gap_and_stays() {
    for (reactors, workers) in [("1", "0"), ("1", "1"), ("2", "2")] {
        let server = serve(&["--reactors", reactors, "--workers", workers]);
        let mut slow = slow(&server);
        let last = fill(&server);
        assert_eq!(number(&server, "totals", "slow_readers"), 0);
        let frames = hear_up_to(&mut slow, is_at(&last));
        let gaps = frames.iter().filter(|frame| frame["type"] == "gap").count();
        assert!(gaps > 0 && (frames.len() as u64) < last.offset);
        // It keeps up again, and misses nothing.
        let next = post(&mut server.http(), "price-1", 3, &json!("now"));
        for offset in last.offset + 1..=next.offset {
            assert_eq!(parsed(&slow.hear_text())["offset"], offset);
        }
    }
}

#[test]
fn who_comes_keeps_its_place_among_the_messages_for_a_slow_reader_too() {
    let server = serve(&[]);
    let mut slow = slow(&server);
    let before = fill(&server);
    let ann = ChatClient::login(&server, "ann", &["price-1"]);
    let last = post(&mut server.http(), "price-1", 5, &json!("now"));
    let frames = hear_up_to(&mut slow, is_at(&last));
    let joined = frames.iter().position(|frame| frame["type"] == "joined");
    let joined = joined.expect("ann is told of");
    assert_eq!(frames[joined - 1]["offset"], before.offset);
    let rest: Vec<&Value> = frames[joined + 1..].iter().collect();
    assert_eq!(rest.len(), 2, "a gap and the newest: {rest:?}");
    drop(ann);
}

#[test]
fn a_message_without_an_offset_tells_the_gap_of_those_that_it_replaced() {
    let server = serve(&[]);
    let mut slow = slow(&server);
    let last = fill(&server);
    let passing = json!({"to": {"room": "price-1"}, "data": "passing", "store": false});
    let (status, _) = server.http().json("POST", "/v1/messages", &passing);
    assert_eq!(status, 200);
    let frames = hear_up_to(&mut slow, |frame| frame["data"] == "passing");
    let gap = &frames[frames.len() - 2];
    assert_eq!(
        (&gap["type"], &gap["offset"]),
        (&json!("gap"), &json!(last.offset))
    );
}

#[test]
fn a_purge_reaches_a_slow_reader_with_the_first_message_behind_it() {
    let server = serve(&[]);
    let mut slow = slow(&server);
    fill(&server);
    let (status, purged) = ask_json(&server, "DELETE", "/v1/rooms/price-1/messages");
    assert_eq!(status, 200);
    let first = post(&mut server.http(), "price-1", 1, &json!("anew"));
    assert_eq!(json!(first.epoch), purged["epoch"]);
    let frames = hear_up_to(&mut slow, is_at(&first));
    let gap = &frames[frames.len() - 2];
    let place = (&gap["type"], &gap["epoch"], &gap["offset"]);
    assert_eq!(place, (&json!("gap"), &purged["epoch"], &json!(0)));
}

#[test]
fn in_an_unkept_channel_the_newest_comes_without_a_gap() {
    let server = serve(&["--set", "chat.unkept=price-*"]);
    let mut slow = slow(&server);
    let (mut http, pad) = (server.http(), "x".repeat(SIZE));
    let mut last = 0;
    while number(&server, "totals", "latest_replaced") < MANY {
        last += 1;
        let data = json!({"number": last, "pad": pad});
        let message = json!({"to": {"room": "price-1"}, "data": data});
        assert_eq!(http.json("POST", "/v1/messages", &message).0, 200);
    }
    let frames = hear_up_to(&mut slow, |frame| frame["data"]["number"] == last);
    let numbers: Vec<u64> = frames
        .iter()
        .map(|frame| frame["data"]["number"].as_u64().expect("no gap is told"))
        .collect();
    assert!(numbers.is_sorted() && numbers.len() < last as usize);
}

#[test]
fn a_slow_reader_of_another_channel_is_closed_as_ever() {
    let server = serve(&[]);
    let path = "/ws?uid=slow&room=tea&room=price-1";
    let slow = WebSocketClient::connect_narrow(server.address, path);
    let (mut http, data) = (server.http(), json!("x".repeat(SIZE)));
    while number(&server, "totals", "slow_readers") == 0 {
        post(&mut http, "tea", 10, &data);
    }
    drop(slow);
    assert_eq!(number(&server, "totals", "latest_replaced"), 0);
}
