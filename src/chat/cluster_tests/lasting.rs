//! Lasting memberships that begin and end anywhere.

use super::log::SharedLog;
use super::sink::Listeners;
use super::*;
use crate::chat::Actor;

fn rooms_of(chat: &Chat, fd: u64) -> Vec<String> {
    let rooms = chat.connection(Fd(fd)).unwrap().rooms;
    rooms.iter().map(|room| room.to_string()).collect()
}

fn set(
    chat: &Chat,
    listeners: &mut Listeners,
    rooms: &[&str],
    heard: u64,
) -> Result<(), ChatError> {
    let rooms: Vec<Box<str>> = rooms.iter().map(|room| Box::from(*room)).collect();
    chat.set_lasting_rooms(listeners, at(1), "ann", &rooms, heard)
}

#[test]
fn connections_enter_and_leave_a_room_by_what_other_nodes_say() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    enter(&chat, &mut listeners, &mut log, &login(64, "ann", &[]));
    enter(&chat, &mut listeners, &mut log, &login(128, "ann", &[]));
    let member = |listeners: &mut Listeners, lasting| {
        chat.hear_member(listeners, at(1), ("team", "ann"), lasting)
    };
    let refused = member(&mut listeners, true).unwrap_err();
    assert_eq!(missing(&refused), ["team"]);
    log.attach(&chat, at(1), "team");
    assert_eq!(
        member(&mut listeners, true),
        Ok(()),
        "it is followed the second time"
    );
    for fd in [64, 128] {
        assert_eq!(rooms_of(&chat, fd), ["team"]);
    }
    log.say("team", "1").hear(&chat, &mut listeners);
    assert_eq!(listeners.take_texts(128), ["1"]);
    assert_eq!(member(&mut listeners, false), Ok(()));
    assert_eq!(rooms_of(&chat, 64), [""; 0]);
    assert_eq!(chat.stats().lasting, 0);
    assert_eq!(chat.who(Actor::Key("shop"), "team").unwrap().connections, 0);
}

#[test]
fn a_login_joins_what_the_log_says_and_asks_for_what_is_not_here() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    let ann = login(64, "ann", &[]);
    chat.opened(ann.fd);
    log.attach(&chat, at(1), "@ann");
    assert_eq!(set(&chat, &mut listeners, &["team", "club"], 0), Ok(()));
    let refused = chat.login(&mut listeners, at(1), &ann).unwrap_err();
    assert_eq!(missing(&refused), ["team", "club"]);
    log.attach(&chat, at(1), "team");
    log.attach(&chat, at(1), "club");
    chat.login(&mut listeners, at(1), &ann).unwrap();
    assert_eq!(rooms_of(&chat, 64), ["team", "club"]);
    assert_eq!(set(&chat, &mut listeners, &["club"], 0), Ok(()));
    assert_eq!(
        rooms_of(&chat, 64),
        ["club"],
        "another login knew of the end"
    );
}

#[test]
fn what_was_heard_while_a_login_was_on_its_way_counts_more_than_its_answer() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    let mut member =
        |room, lasting| chat.hear_member(&mut listeners, at(1), (room, "ann"), lasting);
    member("old", true).unwrap();
    let heard = chat.members_heard();
    member("new", true).unwrap();
    member("ended", false).unwrap();
    log.attach(&chat, at(1), "@ann");
    set(&chat, &mut listeners, &["old", "ended"], heard).unwrap();
    let rooms = chat.user("ann").unwrap().rooms;
    assert_eq!(rooms, ["new", "old"].map(Arc::from));
}

#[test]
fn memberships_go_with_the_users_line() {
    let (chat, mut listeners, mut log) = (chat(), Listeners::default(), SharedLog::default());
    log.attach(&chat, at(1), "@ann");
    set(&chat, &mut listeners, &["team"], 0).unwrap();
    assert_eq!(chat.stats().lasting, 1);
    while chat.expire(&mut listeners, at(2 * LINGER_MS)) {}
    assert_eq!(listeners.forgotten, ["@ann"].map(Arc::from));
    assert_eq!((chat.stats().lasting, chat.user("ann")), (0, None));
}
