//! People who come to a node, enter rooms, and go.

use std::sync::Arc;

use tidings::chat::{Epoch, Login, Position, Resume, Rights};
use tidings::server::Fd;

use super::super::stored::places_in;
use super::node::Node;
use super::pipe::{self, Entering, Job, owned};
use super::world::{Person, ROOMS, UIDS, World};

/// People who are connected at a time.
const PEOPLE_MAX: usize = 8;

impl World {
    pub(super) fn somebody(&mut self) -> Option<Fd> {
        let entered = self.ledger.take_entered();
        for fd in entered {
            if let Some(person) = self.people.get_mut(&fd) {
                person.is_in = true;
            }
        }
        let inside = self.people.iter().filter(|(_, person)| person.is_in);
        let fds: Vec<Fd> = inside.map(|(fd, _)| *fd).collect();
        self.random.one_of(&fds).copied()
    }

    pub(super) fn come(&mut self) {
        let Some(node) = self.some_node() else { return };
        if self.people.len() >= PEOPLE_MAX {
            return;
        }
        let (fd, uid) = (Fd(self.next_fd), self.random.pick(&UIDS));
        self.next_fd += 1;
        let mut rooms: Vec<&str> = ROOMS.to_vec();
        rooms.retain(|_| self.random.one_in(2));
        let own = format!("@{uid}");
        let channels = rooms.iter().copied().chain([&*own, "*"]);
        let resume: Vec<(String, Resume)> = channels
            .map(|channel| (channel.to_owned(), self.wish(uid, channel)))
            .collect();
        node.reactors.open(fd);
        node.chat.opened(fd);
        let person = Person {
            uid,
            node: node.number,
            is_in: false,
        };
        self.people.insert(fd, person);
        let login = Login {
            fd,
            uid,
            rights: Arc::new(Rights::Open),
            rooms: &rooms,
            resume: &[],
        };
        let channels = node.chat.login_channels(&login).expect("it may come");
        let channels = channels.expect("it is new here");
        node.submit(Job::Enter(Box::new(Entering {
            fd,
            uid,
            joins: false,
            channels: owned(&node, &channels),
            rooms,
            resume,
            tries: 0,
            now_ms: node.moment().unix_ms,
            members_heard: node.chat.members_heard(),
        })));
    }

    /// From where somebody wants to hear a channel: mostly from where it was.
    fn wish(&mut self, uid: &'static str, channel: &str) -> Resume {
        let place = self.places.get(&(uid, channel.to_owned())).copied();
        match (self.random.below(8), place) {
            (0, _) => Resume::Now,
            (1, _) | (_, None) => Resume::After(Position {
                epoch: Epoch::NONE,
                offset: 0,
            }),
            (_, Some(place)) => Resume::After(place),
        }
    }

    pub(super) fn join(&mut self) {
        let Some(fd) = self.somebody() else { return };
        let Some(node) = self.node_of(fd) else { return };
        let (uid, room) = (self.people[&fd].uid, self.random.pick(&ROOMS));
        let from = self.wish(uid, room);
        pipe::enter(
            &node,
            Entering {
                fd,
                uid,
                joins: true,
                channels: Vec::new(),
                rooms: vec![room],
                resume: vec![(room.to_owned(), from)],
                tries: 0,
                now_ms: 0,
                members_heard: 0,
            },
        );
    }

    pub(super) fn leave(&mut self) {
        let Some(fd) = self.somebody() else { return };
        let Some(node) = self.node_of(fd) else { return };
        let room = self.random.pick(&ROOMS);
        let mut sink = node.sink(&[]);
        // Not everybody is in there.
        let _ = node.chat.leave(&mut sink, node.moment(), fd, room);
    }

    pub(super) fn go(&mut self) {
        let Some(fd) = self.somebody() else { return };
        let Some(node) = self.node_of(fd) else { return };
        node.closed(fd);
        self.ended(fd, Some(&node));
    }

    /// Those who can't get what they asked for go.
    pub(super) fn send_away(&mut self) {
        for (number, fd) in self.ledger.take_refused() {
            let node = self.nodes[number].lock().unwrap().clone();
            let is_there = self.people.get(&fd).is_some_and(|one| one.node == number);
            if let (Some(node), true) = (node, is_there) {
                node.closed(fd);
                self.ended(fd, Some(&node));
            }
        }
    }

    /// A connection is no more; where it was is where its user comes back to.
    pub(super) fn ended(&mut self, fd: Fd, node: Option<&Node>) {
        let person = self.people.remove(&fd).expect("it was there");
        let Some(node) = node else { return };
        let inbox = node.reactors.close(fd);
        self.judge(&inbox);
        for (channel, place) in places_in(&inbox) {
            self.places.insert((person.uid, channel), place);
        }
    }
}
