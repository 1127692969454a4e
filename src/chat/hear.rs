//! What a node of a cluster hears: messages, logs that begin anew, lasting memberships. Decided and sent
//! under the lock of the channel's shard.

use std::sync::Arc;

use super::Chat;
use super::call::Call;
use super::channels::{Audience, ChannelKey, Channels, LiveChannel};
use super::hearing::{Heard, HeardMessage};
use super::log::MessageLog;
use super::message::KeptMessage;
use super::name::EVERYONE;
use super::notice::Notice;
use super::placement::{Placement, UnkeptMessage};
use super::sink::Sink;
use crate::base::sync::lock;
use crate::base::{Position, Tick};

impl Chat {
    /// Sends a message that came to this node to those who hear its channel, if it is the next one.
    pub fn hear(&self, sink: &mut dyn Sink, now: Tick, heard: &HeardMessage<'_>) -> Heard {
        // Once for this node, whoever here understands it.
        let deflated = sink.deflate(heard.message.data());
        let with_deflated = deflated.map(|deflated| {
            let message = KeptMessage::clone(&heard.message).with_deflated(Some(deflated));
            HeardMessage {
                message: Arc::new(message),
                ..*heard
            }
        });
        let heard = with_deflated.as_ref().unwrap_or(heard);
        let call = &mut self.call(sink, now);
        let name = heard.channel;
        if name == EVERYONE {
            return self.hear_everyone(call, heard);
        }
        let judged = match name.strip_prefix('@') {
            Some(uid) => {
                let channels = &mut self.inboxes.lock(uid).channels;
                channels.hear(call, uid, heard)
            }
            None => {
                let channels = &mut self.rooms.lock(name).channels;
                channels.hear(call, name, heard)
            }
        };
        match judged {
            Ok(receivers) => {
                self.common.totals.deliveries.add(receivers as u64);
                Heard::Posted
            }
            Err(not_posted) => not_posted,
        }
    }

    fn hear_everyone(&self, call: &mut Call<'_>, heard: &HeardMessage<'_>) -> Heard {
        let fds = match heard.except {
            [] => Vec::new(),
            _ => self.logged_in(),
        };
        let everyone = &mut *lock(&self.everyone);
        let placement = match placement(&everyone.log, heard) {
            Ok(placement) => placement,
            Err(not_posted) => return not_posted,
        };
        let (_, receivers) = everyone.say(call, &self.everyone_name, &placement, fds);
        self.common.totals.deliveries.add(receivers as u64);
        Heard::Posted
    }

    /// Has the log of a channel go on behind `position`, and tells those who hear it. A log that is there
    /// already, or further in the same epoch, stays.
    pub fn reset(&self, sink: &mut dyn Sink, channel: &str, position: Position) {
        let totals = &self.common.totals;
        let mut tell = |name: &Arc<str>, log: &mut MessageLog, connections: usize| {
            let at = log.position();
            if at.epoch == position.epoch && at.offset >= position.offset {
                return;
            }
            log.attach(position, position.offset, totals);
            if connections > 0 {
                let channel = name;
                sink.publish(name, &Notice::Gap { channel, position });
            }
        };
        if channel == EVERYONE {
            let everyone = &mut *lock(&self.everyone);
            tell(&self.everyone_name, &mut everyone.log, everyone.connections);
        } else if let Some(uid) = channel.strip_prefix('@') {
            let mut inboxes = self.inboxes.lock(uid);
            if let Some((user, LiveChannel { log, audience })) = inboxes.channels.find(uid) {
                tell(user.inbox(), log, audience.connections());
            }
        } else {
            let mut rooms = self.rooms.lock(channel);
            if let Some((name, LiveChannel { log, audience })) = rooms.channels.find(channel) {
                tell(name, log, audience.connections());
            }
        }
    }

    /// Shows the channels that this node hears, with the newest position that was sent in each; a shard's
    /// names are copied before they are shown.
    pub fn attached_channels(&self, visit: &mut dyn FnMut(&Arc<str>, Position)) {
        let everyone = lock(&self.everyone).log.position();
        visit(&self.everyone_name, everyone);
        for part in 0..self.inboxes.len() {
            let of_part = self.inboxes.lock_part(part).channels.positions();
            of_part.iter().for_each(|(name, at)| visit(name, *at));
        }
        for part in 0..self.rooms.len() {
            let of_part = self.rooms.lock_part(part).channels.positions();
            of_part.iter().for_each(|(name, at)| visit(name, *at));
        }
    }
}

/// Decides how a message is placed in the log of its channel, if it is the next one there.
fn placement<'a>(log: &MessageLog, heard: &'a HeardMessage<'_>) -> Result<Placement<'a>, Heard> {
    let Some(position) = heard.position else {
        let message = UnkeptMessage::of(&heard.message);
        return Ok(Placement::Unkept(message, heard.except));
    };
    let at = log.position();
    if position.epoch != at.epoch {
        Err(Heard::OtherEpoch(at))
    } else if position.offset <= at.offset {
        Err(Heard::Old)
    } else if position.offset > at.offset + 1 {
        Err(Heard::Behind(at))
    } else {
        Ok(Placement::Stored(position, &heard.message))
    }
}

impl<K: ChannelKey, A: Audience> Channels<K, A> {
    /// Places a message in its channel and sends it, if it is the next one there; gives the number of
    /// receivers.
    fn hear(
        &mut self,
        call: &mut Call<'_>,
        name: &str,
        heard: &HeardMessage<'_>,
    ) -> Result<usize, Heard> {
        let Some(place) = self.by_name.place_of(name) else {
            if let (Some(position), Some(cluster)) = (heard.position, &call.scope.common.cluster) {
                cluster.note_early(heard.channel, position);
            }
            return Err(Heard::Unknown);
        };
        let (key, LiveChannel { log, .. }) = self.by_name.at(place);
        let placement = placement(log, heard)?;
        // Sooner than what is kept becomes too old: nobody may hear it by then.
        let sweep_at = call
            .scope
            .now
            .after(call.scope.common.settings.channel_ttl_ms());
        self.expiry.schedule(sweep_at, key, log);
        let (_, _, receivers) = self.say_at(call, place, &placement);
        Ok(receivers)
    }

    /// Lists the channels with the newest position of each.
    fn positions(&self) -> Vec<(Arc<str>, Position)> {
        let channels = self.by_name.in_order();
        channels
            .map(|(key, channel)| (Arc::clone(key.channel()), channel.log.position()))
            .collect()
    }
}
