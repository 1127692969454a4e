//! What has to hold of everything that was heard, and of nodes and people in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings::chat::{Position, Resume, Welcome};

use super::super::reactors::{Heard, Wishes};
use super::super::stored::places_in;
use super::world::World;

impl World {
    /// Nobody hears a hole, and where one is told, the epoch is another.
    pub(super) fn judge(&mut self, inbox: &[Heard]) {
        self.record.judge(inbox);
        let mut at: BTreeMap<&str, Position> = BTreeMap::new();
        for heard in inbox {
            match heard {
                Heard::Welcome(channels, wishes) => self.judge_welcome(channels, wishes),
                Heard::Message(line) => {
                    at.extend(line.channel.as_deref().zip(line.position));
                }
                Heard::Gap { channel, position } => {
                    self.ledger.count("gaps");
                    let before = at.insert(channel, *position);
                    let same = before.is_some_and(|before| before.epoch == position.epoch);
                    assert!(
                        !same,
                        "{channel}: a gap from {before:?} to {position:?}: {inbox:#?}"
                    );
                }
                Heard::Unsubscribed(channel) => drop(at.remove(&**channel)),
                _ => {}
            }
        }
    }

    /// Nothing is said to be missing for one who comes with a position of the present epoch.
    fn judge_welcome(&self, channels: &[Welcome], wishes: &Wishes) {
        for welcome in channels {
            let wish = wishes.iter().find(|(name, _)| **name == *welcome.channel);
            let (Some((_, Resume::After(at))), Some(now)) = (wish, welcome.position) else {
                continue;
            };
            let same = at.epoch == now.epoch;
            assert!(
                welcome.recovered || !same,
                "{at:?} isn't missing: {welcome:?}"
            );
            self.ledger.count(match welcome.recovered {
                true => "recovered",
                false => "unrecovered",
            });
        }
    }

    /// Every channel that a node has is where the log is.
    pub(super) fn judge_nodes(&self) {
        for place in &self.nodes {
            let node = place
                .lock()
                .unwrap()
                .clone()
                .expect("every node has joined");
            let mut channels = Vec::new();
            (node.chat).attached_channels(&mut |name, at| channels.push((Arc::clone(name), at)));
            for (channel, at) in channels {
                let Some((epoch, payloads)) = self.model.log(&channel) else {
                    panic!("{channel} is heard by n{}, and isn't there", node.number);
                };
                let newest = payloads.last().map_or(0, |(offset, _)| *offset);
                let is = Position {
                    epoch,
                    offset: newest,
                };
                assert_eq!(at, is, "n{} isn't where {channel} is", node.number);
            }
        }
    }

    /// Everybody is where the node is.
    pub(super) fn judge_people(&mut self) {
        self.somebody();
        for fd in self.people.keys().copied().collect::<Vec<_>>() {
            let person = &self.people[&fd];
            assert!(person.is_in, "{fd} of {} waits still", person.uid);
            let node = self.nodes[person.node].lock().unwrap().clone();
            let node = node.expect("every node has joined");
            let inbox = node.reactors.inbox(fd);
            let places = places_in(&inbox);
            let own = format!("@{}", person.uid);
            let rooms = node.chat.connection(fd).expect("it is open").rooms;
            let heard = rooms.iter().map(|room| &**room).chain([&*own, "*"]);
            for channel in heard {
                let Some(place) = places.get(channel).copied() else {
                    // It came by a membership, and nothing has come since.
                    continue;
                };
                let posted = node.chat.posted(channel);
                assert_eq!(
                    Some(place),
                    posted,
                    "{fd} isn't where {channel} is on n{}: {inbox:?}",
                    node.number
                );
            }
            node.closed(fd);
            self.ended(fd, Some(&node));
        }
    }
}
