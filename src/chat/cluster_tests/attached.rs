//! A channel is in memory if and only if the node hears it.

use super::log::SharedLog;
use super::sink::Listeners;
use super::*;
use crate::chat::{Actor, Attached, Heard, HistoryRange, Restored};

fn expire(chat: &Chat, listeners: &mut Listeners, ms: u64) {
    while chat.expire(listeners, at(ms)) {}
}

#[test]
fn a_login_names_all_channels_that_are_not_here_and_changes_nothing() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    let ann = login(64, "ann", &["tea", "coffee", "tea"]);
    chat.opened(ann.fd);
    let refused = chat.login(&mut listeners, at(1), &ann).unwrap_err();
    assert_eq!(missing(&refused), ["@ann", "tea", "coffee"]);
    assert!(!chat.is_logged_in(ann.fd) && listeners.welcomes.is_empty());
    let names = chat.login_channels(&ann).unwrap().unwrap();
    assert_eq!(names, ["tea", "coffee", "@ann"].map(Box::from));
    log.attach(&chat, at(1), "tea");
    log.attach(&chat, at(1), "@ann");
    let refused = chat.login(&mut listeners, at(1), &ann).unwrap_err();
    assert_eq!(missing(&refused), ["coffee"]);
    log.attach(&chat, at(1), "coffee");
    chat.login(&mut listeners, at(1), &ann).unwrap();
    assert_eq!(chat.login_channels(&ann), Ok(None), "all of it is here");
    let more = login(64, "ann", &["milk"]);
    let names = chat.login_channels(&more).unwrap().unwrap();
    assert_eq!(names, ["milk", "@ann"].map(Box::from));
    let other = login(64, "bob", &[]);
    assert_eq!(chat.login_channels(&other), Err(ChatError::OtherUser));
}

#[test]
fn who_joins_reads_or_acknowledges_what_is_not_here_is_told_so() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    let key = Arc::new(Rights::ApiKey {
        name: "shop".into(),
    });
    let shop = Login {
        rights: key,
        ..login(64, "shop", &[])
    };
    enter(&chat, &mut listeners, &mut log, &shop);
    let joined = chat.join(&mut listeners, at(1), Fd(64), "tea", Resume::Now);
    assert_eq!(missing(&joined.unwrap_err()), ["tea"]);
    let range = HistoryRange {
        after: None,
        before: None,
        limit: 10,
    };
    let read = chat.history(at(1), Actor::Key("shop"), "@bob", range);
    assert_eq!(missing(&read.unwrap_err()), ["@bob"]);
    let acked = chat.ack(Fd(64), "tea", 1);
    assert_eq!(missing(&acked.unwrap_err()), ["tea"]);
}

#[test]
fn a_channel_goes_after_its_last_listener_and_is_not_back_before_its_route_has_gone() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &["tea"]));
    assert_eq!(
        log.say("tea", "1").hear(&chat, &mut listeners),
        Heard::Posted
    );
    chat.closed(at(1_000), Fd(64));
    expire(&chat, &mut listeners, 1_000 + LINGER_MS - 1);
    assert_eq!(listeners.forgotten, [] as [Arc<str>; 0]);
    expire(&chat, &mut listeners, 1_000 + 2 * LINGER_MS);
    listeners.forgotten.sort();
    assert_eq!(listeners.forgotten, ["@ann", "tea"].map(Arc::from));
    let stats = chat.stats();
    assert_eq!((stats.channels, stats.rooms, stats.inboxes), (0, 0, 0));
    assert_eq!(stats.kept_bytes, 0);
    let again = log.attach(&chat, at(20_000), "tea");
    assert_eq!((again, chat.posted("tea")), (Attached::Leaving, None));
    chat.detached("tea");
    let again = log.attach(&chat, at(20_000), "tea");
    let here = (Attached::Here, Some(log.newest("tea")));
    assert_eq!((again, chat.posted("tea")), here);
}

#[test]
fn a_busy_channel_goes_as_soon_as_a_quiet_one() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(
        &chat,
        &mut listeners,
        &mut log,
        &login(64, "ann", &["tea", "quiet"]),
    );
    for _ in 0..3 {
        assert_eq!(
            log.say("tea", "1").hear(&chat, &mut listeners),
            Heard::Posted
        );
    }
    chat.closed(at(2), Fd(64));
    let left = 2 + chat.settings().left_ms();
    expire(&chat, &mut listeners, left);
    // A sweep that was due for the messages finds it empty, and comes again in time.
    expire(&chat, &mut listeners, LINGER_MS + 1);
    expire(&chat, &mut listeners, left + LINGER_MS);
    listeners.forgotten.sort();
    assert_eq!(listeners.forgotten, ["@ann", "quiet", "tea"].map(Arc::from));
}

#[test]
fn one_that_somebody_hears_stays_and_its_old_messages_go() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &["tea"]));
    log.say("tea", "1").hear(&chat, &mut listeners);
    let mut ms = 1;
    while ms < 2 * chat.settings().kept_ms_max() {
        ms += LINGER_MS;
        expire(&chat, &mut listeners, ms);
    }
    assert_eq!(listeners.forgotten, [] as [Arc<str>; 0]);
    assert_eq!(chat.stats().kept_bytes, 0);
    assert_eq!(
        log.say("tea", "2").hear(&chat, &mut listeners),
        Heard::Posted
    );
}

#[test]
fn what_came_before_its_channel_was_here_is_read_from_the_log() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    log.say("tea", "1");
    let newest = log.newest("tea");
    let early = log.say("tea", "2");
    assert_eq!(early.hear(&chat, &mut listeners), Heard::Unknown);
    let attached = chat.attach(Tick(1), "tea", newest, 0);
    assert_eq!(attached, Attached::Behind);
    log.catch_up(&chat, &mut listeners, "tea");
    assert_eq!(chat.posted("tea"), early.position);
    let known = log.say("coffee", "1");
    assert_eq!(known.hear(&chat, &mut listeners), Heard::Unknown);
    assert_eq!(log.attach(&chat, at(1), "coffee"), Attached::Here);
}

#[test]
fn a_channel_that_is_here_stays_as_it_is() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    let before = log.newest("tea");
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &["tea"]));
    log.say("tea", "1").hear(&chat, &mut listeners);
    assert_eq!(chat.attach(Tick(1), "tea", before, 0), Attached::Here);
    assert_eq!(chat.posted("tea"), Some(log.newest("tea")));
}

#[test]
fn who_resumes_is_told_what_the_log_does_not_keep_any_more() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &[]));
    (0..9).for_each(|_| drop(log.say("tea", "1")));
    let newest = log.newest("tea");
    chat.attach(Tick(1), "tea", newest, 6);
    let after = |offset| Resume::After(crate::base::Position { offset, ..newest });
    let join = |listeners: &mut Listeners, fd, offset| {
        chat.opened(Fd(fd));
        chat.login(listeners, at(1), &login(fd, "ann", &[]))
            .unwrap();
        chat.join(listeners, at(1), Fd(fd), "tea", after(offset))
            .unwrap();
        (listeners.welcomes[0].recovered, listeners.replays.len())
    };
    assert_eq!(join(&mut listeners, 128, 3), (false, 0));
    assert_eq!(join(&mut listeners, 192, 6), (true, 1), "from the log");
    log.replay(&chat, &mut listeners, at(1));
    assert_eq!(listeners.take_texts(192).len(), 3);
}

#[test]
fn acknowledgements_come_with_the_channel_and_never_go_beyond_it() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &[]));
    (0..5).for_each(|_| drop(log.say("tea", "1")));
    log.attach(&chat, at(1), "tea");
    for (offset, missed) in [(3, 2), (99, 0)] {
        chat.restore(Restored::Ack {
            channel: "tea",
            uid: "ann",
            offset,
        });
        chat.join(&mut listeners, at(1), Fd(64), "tea", Resume::Acked)
            .unwrap();
        log.replay(&chat, &mut listeners, at(1));
        assert_eq!(listeners.take_texts(64).len(), missed, "behind {offset}");
        chat.leave(&mut listeners, at(1), Fd(64), "tea").unwrap();
    }
}

#[test]
fn a_node_hears_no_more_channels_than_it_may_but_never_refuses_a_users_own() {
    let settings = ChatSettings {
        channels_max: 2,
        ..settings()
    };
    let chat = Chat::new(settings, 1);
    let (mut listeners, mut log) = (Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &["tea"]));
    let joined = chat.join(&mut listeners, at(1), Fd(64), "milk", Resume::Now);
    assert_eq!(joined, Err(ChatError::ChannelsFull(2)));
    let bob = login(128, "bob", &["milk"]);
    chat.opened(bob.fd);
    assert_eq!(chat.login_channels(&bob), Err(ChatError::ChannelsFull(2)));
    enter(
        &chat,
        &mut listeners,
        &mut log,
        &login(128, "bob", &["tea"]),
    );
    assert_eq!(chat.stats().refused_full, 2);
}

#[test]
fn a_purge_is_left_to_the_log() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &["tea"]));
    log.say("tea", "1").hear(&chat, &mut listeners);
    let posted = chat.posted("tea");
    for channel in ["tea", "mem-1", "@nobody"] {
        let purged = chat.purge(&mut listeners, channel).unwrap();
        let crate::chat::PurgeOutcome::Stored(epoch) = purged else {
            panic!("{channel} is purged here");
        };
        assert_eq!(chat.purged(&mut listeners, channel, epoch).epoch, epoch);
    }
    assert_eq!(chat.posted("tea"), posted, "until the log says so");
    let unkept = chat.purge(&mut listeners, "none-1");
    assert_eq!(unkept, Err(ChatError::NotKept));
}
