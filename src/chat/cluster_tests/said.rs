//! What is said on a node goes to the log alone, and is heard from there.

use super::log::{Frame, SharedLog};
use super::sink::{Listeners, Sent};
use super::*;
use crate::base::Position;
use crate::chat::{Actor, Epoch, Heard, HeardMessage, PendingMessage, Recipient, SayOutcome};

/// Says something that has to become a message for the log.
fn pending(
    chat: &Chat,
    actor: Actor<'_>,
    to: Recipient<'_>,
    message: &NewMessage<'_>,
) -> PendingMessage {
    let mut nobody = Listeners::default();
    let said = chat.say(&mut nobody, at(1), actor, to, message);
    assert!(
        nobody.sent.is_empty(),
        "nobody hears it before the log has it"
    );
    match said.unwrap() {
        SayOutcome::Pending(pending) => pending,
        SayOutcome::Said(receipt) => panic!("{receipt:?}"),
    }
}

#[test]
fn whatever_is_said_is_pending_and_opens_no_channel_here() {
    let chat = chat();
    let shop = Actor::Key("shop");
    for to in [
        Recipient::Room("tea"),
        Recipient::Room("mem-1"),
        Recipient::Room("none-1"),
        Recipient::User("ann"),
        Recipient::All,
    ] {
        pending(&chat, shop, to, &message("1"));
    }
    let all = [Recipient::Room("a"), Recipient::User("b")];
    let said = chat.say_to_each(&mut Listeners::default(), at(1), shop, &all, &message("1"));
    for outcome in said.unwrap() {
        assert!(matches!(outcome, Ok(SayOutcome::Pending(_))));
    }
    let stats = chat.stats();
    assert_eq!((stats.channels, stats.rooms, stats.inboxes), (0, 0, 0));
}

#[test]
fn a_record_says_what_the_log_keeps_of_each_channel() {
    let chat = chat();
    let ann = NewMessage {
        from: Some("ann".into()),
        ..message("1")
    };
    let kinds = |to, message: &NewMessage<'_>| {
        let pending = pending(&chat, Actor::Key("shop"), to, message);
        let (first, second) = pending.channels();
        let kind = |name: &str| (name.to_owned(), chat.kind_in_log(&pending, name));
        (kind(first), second.map(kind))
    };
    let named = |name: &str, kind| (name.to_owned(), kind);
    use ChannelKind::{Memory, None as Unkept, Stored};
    for (room, kind) in [("tea", Stored), ("mem-1", Memory), ("none-1", Unkept)] {
        let kinds = kinds(Recipient::Room(room), &ann);
        assert_eq!(kinds, (named(room, kind), None));
    }
    let private = kinds(Recipient::User("bob"), &ann);
    assert_eq!(
        private,
        (named("@bob", Stored), Some(named("@ann", Stored)))
    );
    let to_herself = kinds(Recipient::User("ann"), &ann);
    assert_eq!(to_herself, (named("@ann", Stored), None));
    let unkept = NewMessage {
        keep: Keep::No,
        except: vec![Fd(7)],
        ..ann
    };
    let private = kinds(Recipient::User("bob"), &unkept);
    assert_eq!(
        private,
        (named("@bob", Unkept), Some(named("@ann", Unkept)))
    );
    let pending = pending(&chat, Actor::Key("shop"), Recipient::All, &unkept);
    assert_eq!(pending.except(), [Fd(7)]);
}

#[test]
fn rights_are_judged_as_on_a_single_server() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    let rights = Arc::new(Rights::Token {
        rooms: Box::new([Pattern::new("tea")]),
    });
    let ann = Login {
        rights,
        ..login(64, "ann", &["tea"])
    };
    enter(&chat, &mut listeners, &mut log, &ann);
    let mut say = |to, message: &NewMessage<'_>| {
        chat.say(
            &mut listeners,
            at(1),
            Actor::Connection(Fd(64)),
            to,
            message,
        )
        .map(drop)
    };
    assert_eq!(say(Recipient::Room("tea"), &message("1")), Ok(()));
    let elsewhere = say(Recipient::Room("coffee"), &message("1"));
    assert_eq!(elsewhere, Err(ChatError::NotJoined("coffee".into())));
    let all = say(Recipient::All, &message("1"));
    assert_eq!(all, Err(ChatError::KeyNeeded("to")));
    let except = NewMessage {
        except: vec![Fd(1)],
        ..message("1")
    };
    let stored = say(Recipient::Room("tea"), &except);
    assert_eq!(stored, Err(ChatError::ExceptOfStored));
}

#[test]
fn a_private_message_is_heard_in_both_lines_and_answered_from_the_log() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &[]));
    enter(&chat, &mut listeners, &mut log, &login(128, "bob", &[]));
    let ann = Actor::Connection(Fd(64));
    let pending = pending(&chat, ann, Recipient::User("bob"), &message("\"hi\""));
    let frames = log.append_pending(&pending);
    let first = frames[0].position;
    for frame in frames {
        assert_eq!(frame.hear(&chat, &mut listeners), Heard::Posted);
    }
    assert_eq!(listeners.take_texts(64), ["\"hi\""]);
    assert_eq!(listeners.take_texts(128), ["\"hi\""]);
    let receipt = chat.answer_sent(&pending, first, 3);
    assert_eq!((receipt.position, receipt.receivers), (first, 3));
    assert_eq!(receipt.channel.as_deref(), Some("@bob"));
    let stats = chat.stats();
    assert_eq!((stats.messages, stats.deliveries), (1, 2));
}

#[test]
fn a_message_that_is_not_kept_is_heard_by_all_but_those_left_out() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &["tea"]));
    enter(
        &chat,
        &mut listeners,
        &mut log,
        &login(128, "bob", &["tea"]),
    );
    let frame = log.say("elsewhere", "1");
    for channel in ["tea", "*"] {
        let heard = HeardMessage {
            channel,
            position: None,
            message: Arc::clone(&frame.message),
            except: &[Fd(64)],
        };
        assert_eq!(chat.hear(&mut listeners, Tick(1), &heard), Heard::Posted);
    }
    assert_eq!(listeners.take_texts(64), [""; 0]);
    assert_eq!(listeners.take_texts(128), ["1", "1"]);
    assert_eq!(chat.posted("tea"), Some(log.newest("tea")));
}

#[test]
fn a_repeat_of_what_is_not_kept_has_no_position() {
    let chat = chat();
    let pending = pending(
        &chat,
        Actor::Key("shop"),
        Recipient::Room("none-1"),
        &message("1"),
    );
    let nowhere = Position {
        epoch: Epoch::NONE,
        offset: 0,
    };
    let receipt = chat.answer_repeat(&pending, nowhere);
    assert!(receipt.duplicate && receipt.position.is_none());
}

#[test]
fn what_comes_twice_too_early_or_of_another_epoch_is_not_posted() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &["tea"]));
    let frames: Vec<Frame> = ["1", "2", "3"].map(|text| log.say("tea", text)).into();
    let mut hear = |frame: &Frame| frame.hear(&chat, &mut listeners);
    assert_eq!(hear(&frames[0]), Heard::Posted);
    let first = frames[0].position.unwrap();
    assert_eq!(hear(&frames[2]), Heard::Behind(first));
    assert_eq!(hear(&frames[0]), Heard::Old);
    assert_eq!(hear(&frames[1]), Heard::Posted);
    let second = frames[1].position.unwrap();
    log.purge("tea");
    let anew = log.say("tea", "4");
    assert_eq!(hear(&anew), Heard::OtherEpoch(second));
    assert_eq!(hear(&log.say("coffee", "5")), Heard::Unknown);
    assert_eq!(listeners.take_texts(64), ["1", "2"]);
    log.catch_up(&chat, &mut listeners, "tea");
    let sent = listeners.take(64);
    let begin = Position {
        offset: 0,
        ..log.newest("tea")
    };
    assert_eq!(sent[0], Sent::Gap("tea".into(), begin));
    assert!(matches!(&sent[1], Sent::Message { data, .. } if data == "4"));
}

#[test]
fn a_reset_never_takes_a_log_back() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &["tea"]));
    for text in ["1", "2"] {
        assert_eq!(
            log.say("tea", text).hear(&chat, &mut listeners),
            Heard::Posted
        );
    }
    let newest = log.newest("tea");
    listeners.take(64);
    let to = |offset| Position { offset, ..newest };
    for offset in [0, 1, 2] {
        chat.reset(&mut listeners, "tea", to(offset));
    }
    assert_eq!(chat.posted("tea"), Some(newest));
    assert_eq!(listeners.take(64), []);
    chat.reset(&mut listeners, "tea", to(9));
    assert_eq!(chat.posted("tea"), Some(to(9)));
    assert_eq!(listeners.take(64), [Sent::Gap("tea".into(), to(9))]);
}
