//! Posts a frame to those who hear its channel: what both threads of the bus do, each in its turn.

use std::sync::Arc;

use super::state::BusState;
use crate::base::Position;
use crate::chat::{Heard, HeardMessage, Hearing};
use crate::cluster::frame::{Frame, Moved};
use crate::cluster::payload::Payload;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Posting {
    /// Nothing is left to do with it.
    Done,
    /// It doesn't follow what was posted in its channel.
    Misfit,
}

/// What the queues have to know of a frame of a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct FramePlace<'a> {
    pub(super) channel: &'a str,
    /// The call that has to be safe before it is shown.
    pub(super) n: u64,
    /// The place in the log behind which it belongs.
    pub(super) after: Option<Position>,
}

/// Returns what the queues have to know of a frame; `None` for one that isn't of a channel.
pub(super) fn place_of<'a>(frame: &Frame<'a>) -> Option<FramePlace<'a>> {
    let (channel, n, after) = match *frame {
        Frame::Message {
            n,
            position,
            channel,
            ..
        } => {
            let after = position.map(|at| Position {
                offset: at.offset.saturating_sub(1),
                ..at
            });
            (channel, n, after)
        }
        Frame::Purged { n, epoch, channel } => (channel, n, Some(Position { epoch, offset: 0 })),
        Frame::Joined(Moved { room, .. })
        | Frame::Left(Moved { room, .. })
        | Frame::Member { room, .. } => (room, 0, None),
        Frame::Safe(_)
        | Frame::Request { .. }
        | Frame::Answer { .. }
        | Frame::Test(_)
        | Frame::Generations => return None,
    };
    Some(FramePlace { channel, n, after })
}

/// Posts a frame of a channel.
pub(super) fn post(state: &BusState, hearing: &dyn Hearing, frame: &Frame<'_>) -> Posting {
    match *frame {
        Frame::Message {
            position,
            channel,
            payload,
            ..
        } => return post_message(state, hearing, channel, position, payload),
        // The log says what is so, whatever the frame says.
        Frame::Purged { epoch, channel, .. } => {
            let posted = hearing.posted(channel);
            if posted.is_some_and(|posted| posted.epoch != epoch) {
                return Posting::Misfit;
            }
        }
        Frame::Joined(Moved { room, uid, users }) => {
            hearing.joined(room, uid, usize::try_from(users).unwrap_or(usize::MAX));
        }
        Frame::Left(Moved { room, uid, users }) => {
            hearing.left(room, uid, usize::try_from(users).unwrap_or(usize::MAX));
        }
        Frame::Member { room, uid, lasting } => hearing.member(room, uid, lasting),
        Frame::Safe(_)
        | Frame::Request { .. }
        | Frame::Answer { .. }
        | Frame::Test(_)
        | Frame::Generations => {}
    }
    Posting::Done
}

fn post_message(
    state: &BusState,
    hearing: &dyn Hearing,
    channel: &str,
    position: Option<Position>,
    payload: &[u8],
) -> Posting {
    let counters = &state.counters;
    let Ok(payload) = Payload::decode(payload) else {
        counters.messages_unreadable.add(1);
        // One with a place is passed over where the log has it.
        return match position {
            Some(_) => Posting::Misfit,
            None => Posting::Done,
        };
    };
    let heard = hearing.message(&HeardMessage {
        channel,
        position,
        message: Arc::new(payload.kept()),
        except: &payload.except,
    });
    match heard {
        Heard::Posted => counters.messages_posted.add(1),
        Heard::Old => counters.messages_old.add(1),
        Heard::Unknown => counters.messages_unheard.add(1),
        Heard::Behind(_) | Heard::OtherEpoch(_) => return Posting::Misfit,
    }
    Posting::Done
}

/// Posts the frames that have no place in the log and could not be kept: at once, so that nobody misses
/// them.
pub(super) fn post_without_place(
    state: &BusState,
    hearing: &dyn Hearing,
    frames: impl IntoIterator<Item = Vec<u8>>,
) {
    for bytes in frames {
        if let Some(frame) = Frame::parse(&bytes) {
            post(state, hearing, &frame);
        }
    }
}
