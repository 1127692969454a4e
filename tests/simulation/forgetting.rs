//! A channel is forgotten or purged while a message for it is on its way to the disk.

use std::sync::Arc;

use super::disk::{Disk, Outcome, Task};
use super::reactors::{Poster, Reactors};
use tidings::base::Tick;
use tidings::chat::{
    Actor, ChannelKind, Chat, ChatSettings, Keep, Moment, NewMessage, PendingMessage, Position,
    PurgeOutcome, Recipient, SayOutcome,
};

const ROOM: &str = "tea";

const NOW: Moment = Moment {
    tick: Tick(0),
    unix_ms: 0,
};

struct World {
    disk: Arc<Disk>,
    chat: Chat,
    reactors: Reactors,
}

impl World {
    fn new() -> Self {
        let settings = ChatSettings {
            kind: ChannelKind::Stored,
            ..ChatSettings::default()
        };
        let disk = Arc::new(Disk::default());
        Self {
            chat: Chat::with_stored_index(settings, 1, Arc::clone(&disk) as _, [7, 9]),
            disk,
            reactors: Reactors::new(1),
        }
    }

    fn say(&self, to: Recipient<'_>) -> PendingMessage {
        let say = NewMessage {
            from: Some("ann".into()),
            id: None,
            keep: Keep::Yes,
            except: Vec::new(),
            data: "1",
        };
        let mut sink = Poster::wishing(&self.reactors, &[]);
        match self.chat.say(&mut sink, NOW, Actor::Key("shop"), to, &say) {
            Ok(SayOutcome::Pending(pending)) => pending,
            other => panic!("it is stored: {other:?}"),
        }
    }

    /// Writes a message down and delivers it; gives its places.
    fn store(&self, pending: PendingMessage) -> (Position, Option<Position>) {
        let task = Task::Say(pending);
        let outcome = self.disk.write(&self.chat, &task);
        let (Task::Say(pending), Outcome::Stored(first, second)) = (task, outcome) else {
            panic!("it is no repeat: {outcome:?}");
        };
        let mut sink = Poster::wishing(&self.reactors, &[]);
        let places = (first, second);
        (self.chat).deliver_stored(&mut sink, NOW.tick, &pending, places);
        places
    }

    fn forget(&self, channel: &str) {
        let mut state = self.disk.state();
        state.logs.get_mut(channel).expect("a log").let_go(u64::MAX);
        drop(state);
        self.disk.write(&self.chat, &Task::Forget(channel.into()));
        let mut sink = Poster::wishing(&self.reactors, &[]);
        self.chat.forget_channel(&mut sink, NOW, channel);
    }
}

#[test]
fn a_message_behind_the_end_of_its_channel_begins_another_life() {
    for (to, channel) in [
        (Recipient::Room(ROOM), ROOM),
        (Recipient::User("bob"), "@bob"),
        (Recipient::All, "*"),
    ] {
        let world = World::new();
        let (before, _) = world.store(world.say(to));
        let said_before = world.say(to);
        world.forget(channel);
        let (after, _) = world.store(said_before);
        assert_eq!((before.offset, after.offset), (1, 1), "{channel}");
        assert_ne!(
            before.epoch, after.epoch,
            "{channel}: one place, two messages"
        );
        assert_eq!(world.chat.posted(channel), Some(after));
    }
}

#[test]
fn the_inbox_of_a_sender_that_was_forgotten_begins_another_life_too() {
    let world = World::new();
    let (to_bob, before) = world.store(world.say(Recipient::User("bob")));
    let said_before = world.say(Recipient::User("bob"));
    world.forget("@ann");
    let (next_to_bob, after) = world.store(said_before);
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_ne!(before.epoch, after.epoch);
    assert_eq!((next_to_bob.epoch, next_to_bob.offset), (to_bob.epoch, 2));
}

#[test]
fn a_message_behind_a_purge_is_the_first_of_the_log_that_the_purge_began() {
    let world = World::new();
    world.store(world.say(Recipient::Room(ROOM)));
    let said_before = world.say(Recipient::Room(ROOM));
    let mut sink = Poster::wishing(&world.reactors, &[]);
    let Ok(PurgeOutcome::Stored(epoch)) = world.chat.purge(&mut sink, ROOM) else {
        panic!("it is stored");
    };
    world
        .disk
        .write(&world.chat, &Task::Purge(ROOM.into(), epoch));
    world.chat.purged(&mut sink, ROOM, epoch);
    let (after, _) = world.store(said_before);
    assert_eq!(after, Position { epoch, offset: 1 });
}

#[test]
fn the_first_message_of_a_channel_is_in_the_epoch_that_was_told_before_it() {
    let world = World::new();
    let pending = world.say(Recipient::Room(ROOM));
    let told = world.chat.posted(ROOM).expect("it is there from then on");
    let (first, _) = world.store(pending);
    assert_eq!((first.epoch, first.offset), (told.epoch, 1));
}
