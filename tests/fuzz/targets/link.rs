//! A frame of a link, read by both ends: within its bounds, as it was written, and understood by
//! the other end when it is said again.

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidings::api::{Posting, To};
use tidings::chat::Keep;
use tidings::link::wire::{self, ReceiverFrame, SenderFrame};

/// Rooms or users that one message may name.
const RECEIVERS_MAX: usize = 100;

/// Reads a frame as a receiver and as a sender.
pub fn link(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    read_by_the_receiver(text);
    read_by_the_sender(text);
}

fn read_by_the_receiver(text: &str) {
    let frame = match SenderFrame::read(text) {
        Ok(frame) => frame,
        Err(violation) => {
            // The sender has to hear why, whatever stood in the frame.
            let told = ReceiverFrame::read(&wire::err(&violation)).expect_err("it is an error");
            assert!(told.0.ends_with(&violation.0), "{told}");
            return;
        }
    };
    match frame {
        // A bare word, no JSON.
        SenderFrame::Ping => return,
        SenderFrame::Open {
            producer,
            name,
            first,
        } => {
            assert!((1..=64).contains(&producer.len()) && first > 0);
            let again = wire::open(&producer, &name, first);
            let expected = SenderFrame::Open {
                producer,
                name,
                first,
            };
            assert_eq!(SenderFrame::read(&again), Ok(expected));
        }
        SenderFrame::Publish { n, posting } => {
            assert!(n > 0);
            assert_eq!(
                ReceiverFrame::read(&wire::pub_ack(n)),
                Ok(ReceiverFrame::Ack { n })
            );
            if let Ok(posting) = posting {
                check(text, &posting);
                let again = wire::publish(n, &written(&posting));
                let posting = Ok(posting);
                assert_eq!(
                    SenderFrame::read(&again),
                    Ok(SenderFrame::Publish { n, posting })
                );
            }
        }
    }
    is_json(text);
}

fn check(text: &str, posting: &Posting<'_>) {
    let message = &posting.message;
    assert!(message.id.is_some(), "a repeat would be another message");
    assert!(message.except.is_empty());
    if let To::Rooms(names) | To::Users(names) = &posting.to {
        assert!(names.len() <= RECEIVERS_MAX);
    }
    // As it was written: the very bytes of the frame.
    let (whole, data) = (text.as_bytes().as_ptr_range(), message.data.as_bytes());
    let data = data.as_ptr_range();
    assert!(whole.start <= data.start && data.end <= whole.end);
    is_json(message.data);
}

/// A posting as a gateway keeps it.
fn written(posting: &Posting<'_>) -> String {
    let to = match &posting.to {
        To::Room(room) => json!({ "room": room }),
        To::User(user) => json!({ "user": user }),
        To::Fd(fd) => json!({ "fd": fd }),
        To::All => json!({ "all": true }),
        To::Rooms(rooms) => json!({ "rooms": rooms }),
        To::Users(users) => json!({ "users": users }),
    };
    let message = &posting.message;
    let data = RawValue::from_string(message.data.to_owned()).expect("data is JSON");
    let is_kept = message.keep == Keep::Yes;
    let fields = json!({ "from": message.from, "id": message.id, "store": is_kept });
    let fields = fields.to_string();
    format!(
        "{{\"to\":{to},\"data\":{data},{}",
        fields.trim_start_matches('{')
    )
}

/// What was taken is JSON to anybody else too. What is only passed on need not be something that
/// serde_json makes a tree of: it has bounds for depth and numbers, and wants whole characters.
fn is_json(text: &str) {
    if let Err(error) = serde_json::from_str::<Value>(text) {
        let error = error.to_string();
        let known = ["recursion", "out of range", "surrogate", "hex escape"];
        assert!(
            known.iter().any(|known| error.contains(known)),
            "{error}: {text}"
        );
    }
}

fn read_by_the_sender(text: &str) {
    let Ok(said) = ReceiverFrame::read(text) else {
        return;
    };
    let again = match &said {
        ReceiverFrame::OpenOk { next, refused } => {
            assert!(*next > 0);
            if !refused.is_empty() {
                return;
            }
            wire::open_ok(*next, &[])
        }
        ReceiverFrame::Ack { n } => wire::pub_ack(*n),
        ReceiverFrame::Busy { after_ms } => wire::pub_busy(*after_ms),
        ReceiverFrame::Pong => wire::PONG.to_owned(),
        ReceiverFrame::Refused { .. } | ReceiverFrame::Kick { .. } | ReceiverFrame::Other => return,
    };
    assert_eq!(ReceiverFrame::read(&again), Ok(said));
}
