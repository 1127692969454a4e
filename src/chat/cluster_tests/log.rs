//! The log that the nodes share, as far as the tests need it: what stands in each channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sink::Listeners;
use crate::base::{Epoch, MessageBody, Position, Tick};
use crate::chat::{
    Attached, Chat, Delivered, Heard, HeardMessage, KeptMessage, Moment, Notice, PendingMessage,
    ReplayPage,
};

/// A message in its place.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) channel: String,
    pub(super) position: Option<Position>,
    pub(super) message: Arc<KeptMessage>,
}

#[derive(Debug, Clone)]
struct Line {
    epoch: Epoch,
    messages: Vec<Arc<KeptMessage>>,
}

/// The channels of the log, from their first messages on.
#[derive(Debug, Default)]
pub(super) struct SharedLog {
    lines: BTreeMap<String, Line>,
    epochs: u32,
}

impl SharedLog {
    fn line(&mut self, channel: &str) -> &mut Line {
        let epochs = &mut self.epochs;
        self.lines.entry(channel.to_owned()).or_insert_with(|| {
            *epochs += 1;
            Line {
                epoch: Epoch::from_bits(*epochs),
                messages: Vec::new(),
            }
        })
    }

    /// Where the channel ends.
    pub(super) fn newest(&mut self, channel: &str) -> Position {
        let line = self.line(channel);
        Position {
            epoch: line.epoch,
            offset: line.messages.len() as u64,
        }
    }

    /// Begins the channel anew.
    pub(super) fn purge(&mut self, channel: &str) -> Position {
        self.lines.remove(channel);
        self.newest(channel)
    }

    /// Appends a text; the frame that goes to the nodes.
    pub(super) fn say(&mut self, channel: &str, data: &str) -> Frame {
        let body = MessageBody {
            id: "m",
            from: None,
            to: None,
            ts: 1,
            data,
        };
        self.append(channel, Arc::new(KeptMessage::of_body(&body)))
    }

    /// Appends a message; the frame that goes to the nodes.
    pub(super) fn append(&mut self, channel: &str, message: Arc<KeptMessage>) -> Frame {
        self.line(channel).messages.push(Arc::clone(&message));
        Frame {
            channel: channel.into(),
            position: Some(self.newest(channel)),
            message,
        }
    }

    /// Appends what a chat let through to its channels; the frames that go to the nodes.
    pub(super) fn append_pending(&mut self, pending: &PendingMessage) -> Vec<Frame> {
        let (first, second) = pending.channels();
        let channels = std::iter::once(first).chain(second);
        let append = |channel| self.append(channel, Arc::clone(pending.message()));
        channels.map(append).collect()
    }

    /// Attaches a channel to a node as it stands now.
    pub(super) fn attach(&mut self, chat: &Chat, now: Moment, channel: &str) -> Attached {
        let newest = self.newest(channel);
        chat.attach(now.tick, channel, newest, 0)
    }

    /// Has a node catch up with a channel.
    pub(super) fn catch_up(&mut self, chat: &Chat, listeners: &mut Listeners, channel: &str) {
        let newest = self.newest(channel);
        let Some(posted) = chat.posted(channel) else {
            return;
        };
        let mut after = posted.offset;
        if posted.epoch != newest.epoch {
            after = 0;
            let begin = Position {
                offset: 0,
                ..newest
            };
            chat.reset(listeners, channel, begin);
        }
        let missing = self.lines[channel]
            .messages
            .iter()
            .skip(after as usize)
            .cloned();
        for (place, message) in missing.enumerate() {
            let frame = Frame {
                channel: channel.into(),
                position: Some(Position {
                    epoch: newest.epoch,
                    offset: after + 1 + place as u64,
                }),
                message,
            };
            assert_eq!(frame.hear(chat, listeners), Heard::Posted);
        }
    }

    /// Gives those who replay what they miss, a page of three messages at a time.
    pub(super) fn replay(&mut self, chat: &Chat, listeners: &mut Listeners, now: Moment) {
        while let Some((fd, channel, missing)) = listeners.replays.pop() {
            let epoch = missing.after.epoch;
            let after = missing.after.offset;
            let line = self.line(&channel).clone();
            assert_eq!(line.epoch, epoch, "the node is at the same epoch");
            let page = line.messages.iter().zip(1..).skip(after as usize).take(3);
            let mut missing = missing;
            let gap = missing.gap.then_some(Notice::Gap {
                channel: &channel,
                position: missing.after,
            });
            missing.gap = false;
            let mut notices: Vec<Notice<'_>> = gap.into_iter().collect();
            for (message, offset) in page {
                let position = Position { epoch, offset };
                missing.after = position;
                notices.push(Notice::Message(Delivered {
                    channel: Some(&channel),
                    position: Some(position),
                    body: message.body(),
                    deflated: None,
                }));
            }
            let page = ReplayPage {
                fd,
                channel: &channel,
                notices: &notices,
                missing,
            };
            if let crate::chat::CatchUp::Behind(missing) =
                chat.catch_up(listeners, now, page, || true)
            {
                listeners.replays.push((fd, Arc::clone(&channel), missing));
            }
        }
    }
}

impl Frame {
    /// Gives the frame to a node.
    pub(super) fn hear(&self, chat: &Chat, listeners: &mut Listeners) -> Heard {
        let heard = HeardMessage {
            channel: &self.channel,
            position: self.position,
            message: Arc::clone(&self.message),
            except: &[],
        };
        chat.hear(listeners, Tick(1), &heard)
    }
}
