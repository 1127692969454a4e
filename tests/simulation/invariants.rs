//! What must be true of everything that is heard, whatever was done: one order for all, no hole, no
//! repeat, and what is missing is told.

use std::collections::HashMap;

use super::reactors::{Heard, Line, Wishes};
use tidings::chat::{Epoch, Position, Resume, Welcome};

/// Which message stands where, by everybody's account.
#[derive(Debug, Default)]
pub struct Record(HashMap<(String, Epoch, u64), Line>);

/// Where somebody is in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The next message is behind this one.
    After(Position),
    /// Anywhere up to this position: only the server knows what was acknowledged.
    UpTo(Position),
    /// Whatever comes first shows it: there was no answer.
    Anywhere,
}

impl Record {
    /// Judges all that one connection got.
    pub fn judge(&mut self, inbox: &[Heard]) {
        let mut places: HashMap<&str, Place> = HashMap::new();
        let mut welcomed: HashMap<&str, Place> = HashMap::new();
        for (at, heard) in inbox.iter().enumerate() {
            match heard {
                Heard::Welcome(channels, wishes) => {
                    // What is heard already goes on as it is.
                    let new = channels
                        .iter()
                        .filter(|welcome| !places.contains_key(&*welcome.channel));
                    welcomed = new
                        .filter_map(|welcome| Some((&*welcome.channel, begin(welcome, wishes)?)))
                        .collect();
                }
                Heard::Subscribed { channel, answered } => {
                    let told = welcomed.remove(&**channel).filter(|_| *answered);
                    let place = told.unwrap_or(Place::Anywhere);
                    let before = places.insert(channel, place);
                    assert_eq!(
                        before,
                        None,
                        "{channel} is heard twice: {:#?}",
                        &inbox[..=at]
                    );
                }
                Heard::Unsubscribed(channel) => drop(places.remove(&**channel)),
                Heard::Gap { channel, position } => {
                    let place = places.get_mut(&**channel).expect("a gap where one hears");
                    *place = Place::After(*position);
                }
                Heard::Message(line) => self.message(&mut places, line, &inbox[..=at]),
                Heard::Joined { room: channel, .. }
                | Heard::Left { room: channel, .. }
                | Heard::Presence { room: channel, .. } => {
                    assert!(places.contains_key(&**channel), "{channel} isn't heard");
                }
            }
        }
    }

    fn message<'a>(
        &mut self,
        places: &mut HashMap<&'a str, Place>,
        line: &'a Line,
        so_far: &[Heard],
    ) {
        let (Some(channel), Some(position)) = (&line.channel, line.position) else {
            return;
        };
        let place = places
            .get_mut(&**channel)
            .unwrap_or_else(|| panic!("{channel} isn't heard: {so_far:?}"));
        let follows = |before: Position| {
            before.epoch == position.epoch && before.offset + 1 == position.offset
        };
        let fits = match *place {
            Place::After(before) => follows(before),
            Place::UpTo(last) => last.epoch == position.epoch && position.offset <= last.offset + 1,
            Place::Anywhere => true,
        };
        assert!(fits, "{place:?}, but then {line:?}: {so_far:?}");
        *place = Place::After(position);
        let key = (channel.clone(), position.epoch, position.offset);
        let first = self.0.entry(key).or_insert_with(|| line.clone());
        assert_eq!(first, line, "two messages in one place");
    }

    /// Says that the offsets of each epoch go from 1 up without a hole, when somebody always heard
    /// it.
    pub fn has_no_holes_in(&self, channel: &str) {
        let mut newest: HashMap<Epoch, (u64, u64)> = HashMap::new();
        for (name, epoch, offset) in self.0.keys() {
            if name == channel {
                let (count, last) = newest.entry(*epoch).or_default();
                *count += 1;
                *last = (*last).max(*offset);
            }
        }
        assert!(
            newest.values().all(|(count, last)| count == last),
            "{newest:?}"
        );
    }

    /// Messages in all.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Where somebody begins who was answered so.
fn begin(welcome: &Welcome, wishes: &Wishes) -> Option<Place> {
    let newest = welcome.position?;
    let wish = wishes.iter().find(|(name, _)| **name == *welcome.channel);
    Some(match wish.map_or(Resume::Now, |(_, wish)| *wish) {
        Resume::Now => Place::After(newest),
        Resume::Acked if welcome.recovered => Place::UpTo(newest),
        Resume::After(at) if welcome.recovered => Place::After(Position {
            epoch: newest.epoch,
            offset: at.offset,
        }),
        // A gap says where it begins, if that isn't behind the newest.
        Resume::After(at) if at.offset == 0 => Place::UpTo(newest),
        Resume::After(_) | Resume::Acked => Place::After(newest),
    })
}
