//! What is done between calls: old messages and idle channels go.

use std::ops::Bound;

use super::super::engine::{CallBounds, Tidied};
use super::state::ModelState;
use crate::cluster::call::Caller;

/// Messages of a channel that a step lets go for their age at the most.
const AGED_MAX: usize = 256;

/// How long one who does the upkeep keeps others from it, in milliseconds.
const TIDIER_MS: u64 = 5_000;

impl ModelState {
    pub(super) fn tidy(
        &mut self,
        caller: &Caller,
        after: Option<&str>,
        channels_max: usize,
        bounds: &CallBounds,
        now_ms: u64,
    ) -> Tidied {
        let stands = self.nodes.get(&caller.node) == Some(&caller.generation);
        let tidier = self.tidier.filter(|(_, until_ms)| *until_ms > now_ms);
        let is_other = tidier.is_some_and(|(other, _)| other != caller.generation);
        if !stands || self.life.is_none() || is_other {
            return Tidied {
                is_other: true,
                ..Tidied::default()
            };
        }
        self.tidier = Some((caller.generation, now_ms + TIDIER_MS));
        if self.open.is_some() {
            self.change_windows(now_ms, bounds.repeat_ms);
        }
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.channels.range::<str, _>((after, Bound::Unbounded));
        let names: Vec<Box<str>> = names.map(|(name, _)| name.clone()).collect();
        let names = &names[..names.len().min(channels_max)];
        let mut tidied = Tidied::default();
        for name in names {
            tidied.trimmed += self.age(name, bounds, now_ms);
            tidied.forgotten += u64::from(self.forget_idle(name, bounds, now_ms));
        }
        if names.len() == channels_max {
            tidied.next = names.last().cloned();
        }
        tidied
    }

    fn age(&mut self, name: &str, bounds: &CallBounds, now_ms: u64) -> u64 {
        let channel = self.channels.get_mut(name).expect("its name was read");
        let age_ms_max = match channel.is_memory {
            true => bounds.memory.age_ms_max,
            false => bounds.stored.age_ms_max,
        };
        let is_old = |payload: &[u8]| age_ms_max > 0 && said_ms(payload) + age_ms_max <= now_ms;
        let messages = channel.messages.iter().take(AGED_MAX);
        let count = messages.take_while(|payload| is_old(payload)).count();
        channel.drop_oldest(count);
        count as u64
    }

    /// Forgets a channel that nobody hears and that has nothing, if it was so all the time of a repeat.
    fn forget_idle(&mut self, name: &str, bounds: &CallBounds, now_ms: u64) -> bool {
        let is_heard = self.routes.contains_key(name) || self.members.contains_key(name);
        let channel = self.channels.get_mut(name).expect("its name was read");
        if is_heard || !channel.messages.is_empty() {
            return false;
        }
        match channel.idle {
            Some((newest, since_ms)) if newest == channel.newest && since_ms <= now_ms => {
                if now_ms - since_ms < bounds.repeat_ms {
                    return false;
                }
                self.channels.remove(name);
                self.acks.remove(name);
                true
            }
            _ => {
                channel.idle = Some((channel.newest, now_ms));
                false
            }
        }
    }
}

/// The time of a message, which stands behind its first byte as a varint.
fn said_ms(payload: &[u8]) -> u64 {
    let mut ms = 0;
    for (at, byte) in payload.iter().skip(1).take(9).enumerate() {
        ms |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            break;
        }
    }
    ms
}
