//! A connection as it stands in a handover: with the number of its socket, and without a slot.

use std::os::fd::{AsRawFd, RawFd};

use super::command::AwaitedBy;
use super::directory::{DirectoryEntry, HandedUsers};
use super::frame_table::{FrameTable, HandedFrames};
use super::outbox::{Arena, HandedOutbox};
use super::preface::Preface;
use super::slots::{KnownAs, ReadState, Slot, SlotPhase, WriteTurn};
use super::topics::{TopicNumbers, Topics};
use crate::base::{Fd, Tick};
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::proto::connection::Connection;

/// What is yes or no, as bits.
const PEER_ENDED: u64 = 1;
const GONE: u64 = 2;
const BACKLOGGED: u64 = 4;
const WRITTEN_LATER: u64 = 8;
const STRANGER: u64 = 16;

/// A wait for an outbox to become as small as this.
pub(super) type HandedWait = (usize, AwaitedBy);

/// What a slot's connection is in other tables of its reactor.
#[derive(Debug)]
pub(super) struct AroundSlot<'a> {
    pub(super) arena: &'a Arena,
    pub(super) frames: &'a FrameTable,
    pub(super) topics: &'a Topics,
    pub(super) numbers: &'a TopicNumbers,
    pub(super) entry: Option<&'a DirectoryEntry>,
    /// Whether its peer hasn't shown yet who that is.
    pub(super) is_stranger: bool,
    pub(super) waits: &'a [HandedWait],
}

/// A connection to adopt.
#[derive(Debug)]
pub(super) struct HandedSlot {
    pub(super) socket: RawFd,
    pub(super) fd: Fd,
    pub(super) connection: Connection,
    pub(super) outbox: HandedOutbox,
    pub(super) preface: Option<Box<Preface>>,
    pub(super) stalled: Tick,
    pub(super) cut_at: Tick,
    pub(super) phase: SlotPhase,
    pub(super) reading: ReadState,
    pub(super) write: WriteTurn,
    pub(super) known_as: KnownAs,
    pub(super) peer_ended: bool,
    pub(super) gone: bool,
    pub(super) backlogged: bool,
    pub(super) is_stranger: bool,
    pub(super) entry: Option<DirectoryEntry>,
    pub(super) heard: Vec<u32>,
    pub(super) waits: Vec<HandedWait>,
}

impl Slot {
    /// Writes the connection down. What asked for an answer has one, so `asked` and `handed_in` begin
    /// anew; timers and lists follow from the rest.
    pub(super) fn hand_over(
        &self,
        index: u32,
        around: &AroundSlot<'_>,
        record: &mut RecordWriter<'_>,
    ) {
        record.u64(self.socket.as_raw_fd() as u64);
        record.u64(self.fd.0);
        let bits = [
            (self.peer_ended, PEER_ENDED),
            (self.gone, GONE),
            (self.backlogged, BACKLOGGED),
            (self.write == Some(WriteTurn::Later), WRITTEN_LATER),
            (around.is_stranger, STRANGER),
        ];
        let set = bits.into_iter().filter(|(is_set, _)| *is_set);
        record.u64(set.map(|(_, bit)| bit).sum());
        record.u64(match self.phase {
            SlotPhase::Live => 0,
            SlotPhase::Flushing => 1,
            SlotPhase::Lingering => 2,
        });
        record.u64(match self.reading {
            ReadState::Drained => 0,
            ReadState::Queued => 1,
            ReadState::Paused => 2,
            ReadState::Stopped => 3,
        });
        record.u64(match self.known_as {
            KnownAs::Nothing => 0,
            KnownAs::Http => 1,
            KnownAs::WebSocket | KnownAs::DeflatingWebSocket | KnownAs::EventStream => 2,
        });
        record.tick(self.stalled);
        record.tick(self.cut_at);
        record.optional(around.entry, |record, entry| entry.hand_over(record));
        self.connection.hand_over(record);
        self.outbox
            .hand_over(around.arena, around.frames, around.numbers, record);
        around.topics.hand_over_of(index, around.numbers, record);
        record.list(around.waits, |record, (bytes_max, by)| {
            record.size(*bytes_max);
            record.u64(match by {
                AwaitedBy::User => 0,
                AwaitedBy::Worker => 1,
            });
        });
        let preface = self.preface.as_ref().map(|preface| &*preface.bytes);
        record.optional(preface, RecordWriter::bytes);
    }
}

impl HandedSlot {
    pub(super) fn read(
        record: &mut RecordReader<'_>,
        frames: &HandedFrames,
        users: &mut HandedUsers,
    ) -> Result<Self, HandoverError> {
        let socket = record.u32()?;
        let socket =
            RawFd::try_from(socket).map_err(|_| record.refuse("a socket has no number"))?;
        let (fd, bits) = (Fd(record.u64()?), record.u64()?);
        let is_set = |bit| bits & bit != 0;
        let slot = Self {
            socket,
            fd,
            peer_ended: is_set(PEER_ENDED),
            gone: is_set(GONE),
            backlogged: is_set(BACKLOGGED),
            write: match is_set(WRITTEN_LATER) {
                true => WriteTurn::Later,
                false => WriteTurn::This,
            },
            is_stranger: is_set(STRANGER),
            phase: match record.u8()? {
                0 => SlotPhase::Live,
                1 => SlotPhase::Flushing,
                2 => SlotPhase::Lingering,
                _ => return Err(record.refuse("a connection is in an unknown phase")),
            },
            reading: match record.u8()? {
                0 => ReadState::Drained,
                1 => ReadState::Queued,
                2 => ReadState::Paused,
                _ => return Err(record.refuse("a connection is read in an unknown way")),
            },
            known_as: match record.u8()? {
                0 => KnownAs::Nothing,
                1 => KnownAs::Http,
                2 => KnownAs::WebSocket,
                _ => return Err(record.refuse("a connection is known as nothing known")),
            },
            stalled: record.tick()?,
            cut_at: record.tick()?,
            entry: record.optional(|record| DirectoryEntry::take_over(record, users))?,
            connection: Connection::take_over(record)?,
            outbox: HandedOutbox::read(record, frames)?,
            heard: record.list(RecordReader::u32)?,
            waits: record.list(wait)?,
            preface: record.or(None, |record| record.optional(Preface::take_over))?,
        };
        match slot.is_possible() {
            true => Ok(slot),
            false => Err(record.refuse("a connection contradicts itself")),
        }
    }

    /// Whether the parts belong together: else the end of the connection would be told to nobody, or
    /// never come.
    fn is_possible(&self) -> bool {
        let is_websocket = self.connection.is_websocket();
        match self.phase {
            SlotPhase::Live => {
                !self.connection.is_closed()
                    && self.entry.is_some()
                    && is_websocket == self.known_as.is_websocket()
            }
            SlotPhase::Flushing | SlotPhase::Lingering => {
                self.connection.is_closed()
                    && self.entry.is_none()
                    && self.heard.is_empty()
                    && self.cut_at != Tick::NEVER
                    && self.known_as == KnownAs::Nothing
                    && self.reading != ReadState::Paused
            }
        }
    }
}

fn wait(record: &mut RecordReader<'_>) -> Result<HandedWait, HandoverError> {
    let bytes_max = record.size()?;
    match record.u8()? {
        0 => Ok((bytes_max, AwaitedBy::User)),
        1 => Ok((bytes_max, AwaitedBy::Worker)),
        _ => Err(record.refuse("nobody known waits for an outbox")),
    }
}
