//! The model of a channel's log.

use std::collections::BTreeMap;

use tidings::chat::{ChatSettings, Position};

/// A life of a channel's log. What the chat calls it is found out at the first sight of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u32);

/// A place in a log.
pub type At = (Life, u64);

/// What somebody asks for, with the life that the epoch stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Now,
    After(Claim, u64),
    Acked,
}

/// Whose epoch somebody shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Known(Life),
    /// Of no channel that there ever was.
    Foreign,
    /// None at all.
    Without,
}

/// A message as it is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    pub id: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub ts: u64,
    pub data: String,
}

impl Words {
    fn size(&self) -> usize {
        160 + self.id.len() + self.data.len()
    }
}

#[derive(Debug)]
pub struct Log {
    pub life: Life,
    pub newest: u64,
    /// Offset and the moment at which it came.
    pub kept: Vec<(u64, u64, Words)>,
    pub acks: BTreeMap<String, u64>,
    /// Something was said in this life.
    spoken: bool,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub recovered: bool,
    pub after: u64,
    pub gap: bool,
}

impl Log {
    pub fn new(life: Life) -> Self {
        Self {
            life,
            newest: 0,
            kept: Vec::new(),
            acks: BTreeMap::new(),
            spoken: false,
        }
    }

    pub fn at(&self) -> At {
        (self.life, self.newest)
    }

    pub fn bytes(&self) -> usize {
        self.kept.iter().map(|(.., words)| words.size()).sum()
    }

    /// Everything up to here isn't kept any more.
    pub fn floor(&self) -> u64 {
        self.newest - self.kept.len() as u64
    }

    /// Adds a message; `elsewhere` is what the other channels keep, in bytes.
    pub fn append(&mut self, now: u64, words: Words, settings: &ChatSettings, elsewhere: usize) {
        self.spoken = true;
        self.newest += 1;
        self.kept.push((self.newest, now, words));
        while !self.kept.is_empty()
            && (self.kept.len() > settings.kept_messages_max
                || self.bytes() > settings.kept_channel_bytes_max
                || self.bytes() + elsewhere > settings.kept_bytes_max)
        {
            self.kept.remove(0);
        }
    }

    pub fn forget_old(&mut self, now: u64, settings: &ChatSettings) {
        self.kept
            .retain(|(_, at, _)| at + settings.kept_ms_max > now);
    }

    pub fn start(&self, uid: &str, wish: Wish) -> Start {
        let floor = self.floor();
        let start = |after, recovered, gap| Start {
            recovered,
            after,
            gap,
        };
        match wish {
            Wish::Now => start(self.newest, true, false),
            Wish::After(claim, 0) => {
                let same = matches!(claim, Claim::Without) || claim == Claim::Known(self.life);
                start(floor, floor == 0 && same, floor > 0)
            }
            Wish::After(claim, offset) => {
                let whole =
                    claim == Claim::Known(self.life) && (floor..=self.newest).contains(&offset);
                start(if whole { offset } else { self.newest }, whole, false)
            }
            Wish::Acked => {
                let acked = self.acks.get(uid).copied().unwrap_or(0);
                start(acked.max(floor), acked >= floor, acked < floor)
            }
        }
    }

    pub fn after(&self, offset: u64) -> impl Iterator<Item = (u64, &Words)> {
        let behind = self.kept.iter().filter(move |(own, ..)| *own > offset);
        behind.map(|(own, _, words)| (*own, words))
    }

    /// Messages of a page, and whether there are more.
    pub fn page(
        &self,
        after: Option<u64>,
        before: Option<u64>,
        limit: usize,
        bytes_max: usize,
    ) -> (Vec<(u64, Words)>, bool) {
        let mut all: Vec<(u64, &Words)> = self.after(after.unwrap_or(0)).collect();
        all.retain(|(offset, _)| before.is_none_or(|before| *offset < before));
        if before.is_some() && after.is_none() {
            all.reverse();
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        for (offset, words) in &all {
            bytes += words.size();
            if page.len() == limit || (!page.is_empty() && bytes > bytes_max) {
                break;
            }
            page.push((*offset, (*words).clone()));
        }
        let more = page.len() < all.len();
        (page, more)
    }

    /// `Err`: the newest message, or that there is no room for another one's.
    pub fn ack(&mut self, uid: &str, offset: u64, max: usize) -> Result<(), Option<u64>> {
        if offset > self.newest {
            return Err(Some(self.newest));
        } else if !self.spoken {
            return Ok(());
        } else if !self.acks.contains_key(uid) && self.acks.len() >= max {
            return Err(None);
        }
        let acked = self.acks.entry(uid.into()).or_default();
        *acked = offset.max(*acked);
        Ok(())
    }
}

/// The chat's own names of the lives.
#[derive(Debug, Default)]
pub struct Epochs(BTreeMap<Life, tidings::chat::Epoch>);

impl Epochs {
    /// Whether a position is the expected one. An epoch that is new stands for the life that is.
    pub fn are_same(&mut self, expected: Option<At>, actual: Option<Position>) -> bool {
        let (Some((life, offset)), Some(actual)) = (expected, actual) else {
            return expected.is_none() && actual.is_none();
        };
        let known = self.0.get(&life).copied();
        let epoch = known.unwrap_or_else(|| {
            let used = self.0.values().any(|used| *used == actual.epoch);
            assert!(!used, "two lives have the epoch {}", actual.epoch);
            self.0.insert(life, actual.epoch);
            actual.epoch
        });
        (epoch, offset) == (actual.epoch, actual.offset)
    }

    pub fn claim_of(&self, epoch: tidings::chat::Epoch) -> Claim {
        if epoch == tidings::chat::Epoch::NONE {
            return Claim::Without;
        }
        let mut known = self.0.iter().filter(|(_, known)| **known == epoch);
        known
            .next()
            .map_or(Claim::Foreign, |(life, _)| Claim::Known(*life))
    }

    pub fn known(&self) -> Vec<tidings::chat::Epoch> {
        self.0.values().copied().collect()
    }
}
