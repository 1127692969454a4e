//! What is said, said again, and taken back.

use tidings::chat::{Actor, Keep, NewMessage, PurgeOutcome, Recipient, SayOutcome};

use super::pipe::Job;
use super::world::{ROOMS, UIDS, World};

impl World {
    pub(super) fn say(&mut self) {
        let from = self.random.pick(&UIDS);
        let to = self
            .random
            .pick(&["tea", "nut", "pub", "tea", "@ann", "@bob", "*"]);
        if self.random.one_in(3) {
            // Only the node itself sees to it that this one stands once.
            return self.say_it(from, to, None);
        }
        let id = format!("i{}", self.next_id);
        self.next_id += 1;
        self.said.push((from, to, id.clone()));
        self.say_it(from, to, Some(&id));
    }

    /// Something that wasn't answered `ok`, or that was, is said again, anywhere.
    pub(super) fn say_again(&mut self) {
        let open = self.ledger.open_ids();
        let is_open = |id: &String| open.contains(id);
        let mut again: Vec<_> = self.said.iter().filter(|(.., id)| is_open(id)).collect();
        if again.is_empty() || self.random.one_in(4) {
            again = self.said.iter().collect();
        }
        let Some((from, to, id)) = self.random.one_of(&again).map(|one| (*one).clone()) else {
            return;
        };
        self.say_it(from, to, Some(&id));
    }

    fn say_it(&mut self, from: &'static str, to: &'static str, id: Option<&str>) {
        let Some(node) = self.some_node() else { return };
        let recipient = match to.strip_prefix('@') {
            _ if to == "*" => Recipient::All,
            Some(uid) => Recipient::User(uid),
            None => Recipient::Room(to),
        };
        let say = NewMessage {
            from: Some(from.into()),
            id: id.map(Into::into),
            keep: Keep::Yes,
            except: Vec::new(),
            data: "1",
        };
        let mut sink = node.sink(&[]);
        let said = (node.chat).say(
            &mut sink,
            node.moment(),
            Actor::Key("shop"),
            recipient,
            &say,
        );
        match said.expect("it may be said") {
            SayOutcome::Pending(pending) => node.submit(Job::Say(pending)),
            SayOutcome::Said(said) => panic!("nobody but the log says it: {said:?}"),
        }
    }

    pub(super) fn purge(&mut self) {
        let Some(node) = self.some_node() else { return };
        let room = self.random.pick(&ROOMS);
        let mut sink = node.sink(&[]);
        if let Ok(PurgeOutcome::Stored(epoch)) = node.chat.purge(&mut sink, room) {
            self.may_lose = true;
            self.ledger.count("purges");
            node.submit(Job::Purge(room.into(), epoch));
        }
    }

    pub(super) fn change_member(&mut self) {
        let Some(node) = self.some_node() else { return };
        node.submit(Job::Member {
            room: self.random.pick(&ROOMS).into(),
            uid: self.random.pick(&UIDS).into(),
            lasting: self.random.one_in(2),
        });
    }
}
