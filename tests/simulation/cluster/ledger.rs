//! What everybody was told, and what was shown, in the whole cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use tidings::base::Position;
use tidings::chat::{Delivered, Epoch};
use tidings::cluster::model::{Model, ModelValue};
use tidings::cluster::payload::Payload;
use tidings::server::Fd;

use super::node::Node;

/// What a sender is told of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Ok(Option<Position>),
    Repeat(Option<Position>),
    NotTaken,
    Unknown,
}

/// All of it.
#[derive(Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// Channel, place and id of what was answered.
    promised: Vec<(String, Position, String)>,
    /// How often each id was said to a node.
    said: BTreeMap<String, usize>,
    /// What was answered by id, each time; nothing where the node was killed before.
    answers: BTreeMap<String, Vec<Told>>,
    /// Which message was shown where.
    shown: HashMap<(String, Epoch, u64), String>,
    /// Connections that entered, and that were refused, since somebody looked.
    entered: BTreeSet<Fd>,
    refused: Vec<(usize, Fd)>,
    counts: BTreeMap<&'static str, u64>,
}

impl Ledger {
    fn with<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    pub fn count(&self, what: &'static str) {
        self.with(|all| *all.counts.entry(what).or_default() += 1);
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.with(|all| all.counts.clone())
    }

    /// A message is said to a node.
    pub fn said(&self, id: &str) {
        self.with(|all| *all.said.entry(id.into()).or_default() += 1);
    }

    /// A sender was told of a message.
    pub fn told(&self, id: &str, channel: &str, told: Told) {
        self.count(match told {
            Told::Ok(_) => "ok",
            Told::Repeat(_) => "repeats",
            Told::NotTaken => "refused",
            Told::Unknown => "unsettled",
        });
        self.with(|all| {
            all.answers.entry(id.into()).or_default().push(told);
            if let Told::Ok(Some(position)) | Told::Repeat(Some(position)) = told {
                all.promised.push((channel.into(), position, id.into()));
            }
        });
    }

    /// A message is shown to those who hear its channel.
    pub fn shown(&self, node: &Node, message: &Delivered<'_>) {
        let (Some(channel), Some(position)) = (message.channel, message.position) else {
            return;
        };
        let id = message.body.id.to_owned();
        let key = (channel.to_owned(), position.epoch, position.offset);
        let before = self.with(|all| all.shown.entry(key).or_insert_with(|| id.clone()).clone());
        assert_eq!(before, id, "two messages at {channel} {position:?}");
        let _ = node;
        self.count("shown");
    }

    pub fn entered(&self, fd: Fd) {
        self.count("entered");
        self.with(|all| all.entered.insert(fd));
    }

    /// A connection can't get what it asked for, and is to be closed.
    pub fn refused_login(&self, node: &Node, fd: Fd) {
        self.count("refused logins");
        self.with(|all| all.refused.push((node.number, fd)));
    }

    pub fn take_refused(&self) -> Vec<(usize, Fd)> {
        self.with(|all| std::mem::take(&mut all.refused))
    }

    pub fn take_entered(&self) -> BTreeSet<Fd> {
        self.with(|all| std::mem::take(&mut all.entered))
    }

    /// Ids whose last answer wasn't `ok`.
    pub fn open_ids(&self) -> Vec<String> {
        let is_open =
            |told: &Vec<Told>| matches!(told.last(), Some(Told::NotTaken | Told::Unknown));
        self.with(|all| {
            let open = all.answers.iter().filter(|(_, told)| is_open(told));
            open.map(|(id, _)| id.clone()).collect()
        })
    }

    /// What was promised and what was shown stands in the log, once; `may_lose` in an epoch that is over.
    pub fn judge(&self, model: &Model, may_lose: bool) {
        let dump = model.dump();
        let mut logs: BTreeMap<String, (Epoch, BTreeMap<u64, String>)> = BTreeMap::new();
        for channel in model.channels() {
            let Some((epoch, payloads)) = model.log(&channel) else {
                continue;
            };
            let ids = payloads.iter().map(|(offset, payload)| {
                let payload = Payload::decode(payload).expect("a node wrote it");
                (*offset, payload.body.id.to_owned())
            });
            // In an era that is over nothing is believed: the channel is about to begin anew.
            let epoch = match is_over(&dump, &channel) {
                true => Epoch::NONE,
                false => epoch,
            };
            logs.insert(channel.into(), (epoch, ids.collect()));
        }
        self.with(|all| {
            for (channel, (_, ids)) in &logs {
                let each: BTreeSet<&String> = ids.values().collect();
                assert_eq!(each.len(), ids.len(), "{channel} has one twice: {ids:?}");
                for id in each {
                    let told = all.answers.get(id).map(Vec::as_slice);
                    let refused = |told: &[Told]| {
                        told.len() == all.said[id] && told.iter().all(|one| *one == Told::NotTaken)
                    };
                    assert!(
                        !told.is_some_and(refused),
                        "{id} was refused each time, and stands in {channel}"
                    );
                }
            }
            for (channel, position, id) in &all.promised {
                let there = logs.get(channel);
                let there = there.filter(|(epoch, _)| *epoch == position.epoch);
                match there {
                    Some((_, ids)) => {
                        let at = ids.get(&position.offset);
                        assert_eq!(at, Some(id), "lost: {channel} {position:?}");
                    }
                    None => assert!(may_lose, "the epoch is over: {channel} {position:?} {id}"),
                }
            }
            for ((channel, epoch, offset), id) in &all.shown {
                let there = logs.get(channel).filter(|(now, _)| now == epoch);
                match there {
                    Some((_, ids)) => {
                        let at = ids.get(offset);
                        assert_eq!(at, Some(id), "shown, and not there: {channel} {offset}");
                    }
                    None => assert!(may_lose, "shown in {epoch}, which is over: {channel}"),
                }
            }
        });
    }
}

/// Whether the era of a channel is over.
fn is_over(dump: &BTreeMap<String, ModelValue>, channel: &str) -> bool {
    let field = |key: &str, field: &str| match dump.get(key) {
        Some(ModelValue::Hash(fields)) => fields.get(field.as_bytes()).cloned(),
        _ => None,
    };
    field("life", "era") != field(&format!("m:{channel}"), "r")
}
