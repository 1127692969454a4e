//! Replays: who comes back gets what it missed from the disk, a page at a time.
//!
//! One thread reads the pages. A connection gets the next one when its outbox has room, so a slow
//! reader keeps nobody waiting and no memory; a connection's channels take turns one after the
//! other, and of all connections at most `active_max` are served at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use super::services::Services;
use crate::base::Fd;
use crate::chat::{CatchUp, Delivered, MessageContent, Missing, Notice, Position, ReplayPage};
use crate::store::{self, PageRange};

/// Bounds of replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySettings {
    /// Connections that are served at a time; the others wait. Default 256.
    pub active_max: usize,
    /// Replays under way or waiting, over all connections; one more closes its connection with
    /// 1013. Default 1,000,000.
    pub replays_max: usize,
    /// Bytes of a page. Default 262,144.
    pub page_bytes_max: usize,
    /// Bytes waiting for a connection up to which it gets the next page. Default 524,288: half of
    /// what may wait.
    pub outbox_bytes_low: usize,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            active_max: 256,
            replays_max: 1_000_000,
            page_bytes_max: 256 * 1024,
            outbox_bytes_low: 512 * 1024,
        }
    }
}

/// Messages of a page, beside its bound in bytes.
const PAGE_MESSAGES_MAX: usize = 1_000;

/// Replays under way.
#[derive(Debug)]
pub(super) struct Replays {
    settings: ReplaySettings,
    /// Connections whose next page is to be read.
    ready: Sender<Option<Fd>>,
    state: Mutex<State>,
    pages: AtomicU64,
    finished: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// By connection, in the order in which they began.
    replays: HashMap<Fd, VecDeque<Replay>>,
    /// Connections that are served.
    active: usize,
    /// Connections that wait to be served.
    waiting: VecDeque<Fd>,
    /// Replays of all connections.
    total: usize,
    last_id: u64,
}

#[derive(Debug, Clone)]
struct Replay {
    id: u64,
    channel: Arc<str>,
    missing: Missing,
}

/// The numbers of this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplayStats {
    pub(super) under_way: u64,
    pub(super) pages: u64,
    pub(super) finished: u64,
    pub(super) refused: u64,
}

impl Replays {
    /// None yet; what is to be read comes out of the receiver.
    pub(super) fn new(settings: ReplaySettings) -> (Self, Receiver<Option<Fd>>) {
        // Bounded by `active_max`: only those that are served are in it.
        let (ready, receiver) = crossbeam_channel::unbounded();
        let replays = Self {
            settings,
            ready,
            state: Mutex::default(),
            pages: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        (replays, receiver)
    }

    /// Begins a replay; one of the same channel that is under way ends. `false`: there are too many.
    pub(super) fn begin(&self, fd: Fd, channel: &Arc<str>, missing: Missing) -> bool {
        let state = &mut *self.lock();
        if state.total >= self.settings.replays_max {
            self.refused.fetch_add(1, Relaxed);
            return false;
        }
        state.total += 1;
        state.last_id += 1;
        let replay = Replay {
            id: state.last_id,
            channel: Arc::clone(channel),
            missing,
        };
        if let Some(own) = state.replays.get_mut(&fd) {
            let before = own.len();
            own.retain(|other| other.channel != *channel);
            state.total -= before - own.len();
            own.push_back(replay);
            return true;
        }
        state.replays.insert(fd, VecDeque::from([replay]));
        if state.active < self.settings.active_max {
            state.active += 1;
            self.next_page(fd);
        } else {
            state.waiting.push_back(fd);
        }
        true
    }

    /// Ends the replay of a channel, if there is one.
    pub(super) fn end(&self, fd: Fd, channel: &str) {
        let state = &mut *self.lock();
        if let Some(own) = state.replays.get_mut(&fd) {
            let before = own.len();
            // An empty list stays until its connection's turn comes, which finds nothing to do.
            own.retain(|replay| *replay.channel != *channel);
            state.total -= before - own.len();
        }
    }

    /// A connection has ended, and its replays with it.
    pub(super) fn forget(&self, fd: Fd) {
        let state = &mut *self.lock();
        let Some(own) = state.replays.remove(&fd) else {
            return;
        };
        state.total -= own.len();
        match state.waiting.iter().position(|waiting| *waiting == fd) {
            Some(place) => drop(state.waiting.remove(place)),
            None => self.serve_next(state),
        }
    }

    /// A connection's outbox has room again.
    pub(super) fn next_page(&self, fd: Fd) {
        // The thread ends after all connections.
        self.ready.send(Some(fd)).ok();
    }

    /// The thread ends.
    pub(super) fn stop(&self) {
        self.ready.send(None).ok();
    }

    pub(super) fn stats(&self) -> ReplayStats {
        ReplayStats {
            under_way: self.lock().total as u64,
            pages: self.pages.load(Relaxed),
            finished: self.finished.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    /// What a connection that is served gets next. One without anything makes room for another.
    fn current(&self, fd: Fd) -> Option<Replay> {
        let state = &mut *self.lock();
        let first = state.replays.get(&fd)?.front().cloned();
        if first.is_none() {
            state.replays.remove(&fd);
            self.serve_next(state);
        }
        first
    }

    fn serve_next(&self, state: &mut State) {
        match state.waiting.pop_front() {
            Some(fd) => self.next_page(fd),
            None => state.active -= 1,
        }
    }

    fn is_current(&self, fd: Fd, id: u64) -> bool {
        let state = self.lock();
        let own = state.replays.get(&fd);
        own.is_some_and(|own| own.iter().any(|replay| replay.id == id))
    }

    /// A replay is so far, or done.
    fn note(&self, fd: Fd, id: u64, caught: CatchUp) {
        let state = &mut *self.lock();
        let Some(own) = state.replays.get_mut(&fd) else {
            return;
        };
        let Some(place) = own.iter().position(|replay| replay.id == id) else {
            return;
        };
        match caught {
            CatchUp::Behind(missing) => own[place].missing = missing,
            CatchUp::Subscribed | CatchUp::Gone => {
                own.remove(place);
                state.total -= 1;
                self.finished.fetch_add(1, Relaxed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread that reads the pages.
pub(super) fn start(
    services: Arc<Services>,
    ready: Receiver<Option<Fd>>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("replay".into())
        .spawn(move || {
            while let Ok(Some(fd)) = ready.recv() {
                turn(&services, fd);
            }
        })
}

/// Gives one connection its next page.
fn turn(services: &Arc<Services>, fd: Fd) {
    let replays = &services.replays;
    let Some(replay) = replays.current(fd) else {
        return;
    };
    let Some(mut post) = services.sink() else {
        return;
    };
    let after = replay.missing.after;
    let range = PageRange {
        after: Some(after.offset),
        before: None,
        limit: PAGE_MESSAGES_MAX,
        bytes_max: replays.settings.page_bytes_max,
    };
    let page = match services.reader.page(&replay.channel, range) {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(
                fd = fd.0,
                error = &error as &dyn std::error::Error,
                "a replay failed"
            );
            post.close(fd, 1011, "the history can't be read");
            return;
        }
    };
    // Where there is no such channel any more, nobody hears it either.
    let posted = services.chat.posted(&replay.channel).unwrap_or(after);
    let (frames, missing) = frames_of(&replay, &page, posted);
    replays.pages.fetch_add(1, Relaxed);
    let is_current = || replays.is_current(fd, replay.id);
    let page = ReplayPage {
        fd,
        channel: &replay.channel,
        notices: &frames,
        missing,
    };
    let caught = (services.chat).catch_up(&mut post, services.now(), page, is_current);
    replays.note(fd, replay.id, caught);
    post.await_buffer(fd, replays.settings.outbox_bytes_low);
}

/// A page up to what is posted as frames, told by a gap where the log has begun anew or let go of
/// something; and where it goes on.
fn frames_of<'a>(
    replay: &'a Replay,
    page: &'a store::LogPage,
    posted: Position,
) -> (Vec<Notice<'a>>, Missing) {
    let channel = &*replay.channel;
    let mut missing = replay.missing;
    let mut frames = Vec::with_capacity(page.messages.len() + 1);
    if let Some(state) = page.state {
        let epoch = state.epoch;
        if epoch != posted.epoch {
            // A new log is on disk, and about to be posted; or was, since it was asked for.
            return (frames, missing);
        }
        if epoch != missing.after.epoch {
            // The page was asked for behind an offset of the log that is gone.
            let after = Position { epoch, offset: 0 };
            return (frames, Missing { after, gap: true });
        }
        let floor = state.floor.min(posted.offset);
        if floor > missing.after.offset {
            missing.after.offset = floor;
            missing.gap = true;
        }
    }
    if missing.gap {
        let position = missing.after;
        frames.push(Notice::Gap { channel, position });
        missing.gap = false;
    }
    let messages = page.messages.iter();
    for message in messages.take_while(|message| message.position.offset <= posted.offset) {
        let position = message.position;
        missing.after = position;
        frames.push(Notice::Message(Delivered {
            channel: Some(channel),
            position: Some(position),
            content: MessageContent {
                id: &message.body.id,
                from: message.body.from.as_deref(),
                to: message.body.to.as_deref(),
                ts: message.body.ts,
                data: &message.body.data,
            },
        }));
    }
    (frames, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;
    use crate::store::{ChannelState, MessageBody, StoredMessage};

    const OLD: Epoch = Epoch::from_bits(1);
    const NEW: Epoch = Epoch::from_bits(2);

    fn at(epoch: Epoch, offset: u64) -> Position {
        Position { epoch, offset }
    }

    fn behind(after: Position) -> Replay {
        Replay {
            id: 1,
            channel: "tea".into(),
            missing: Missing { after, gap: false },
        }
    }

    /// A page of a log that has these messages.
    fn page(epoch: Epoch, offsets: std::ops::RangeInclusive<u64>) -> store::LogPage {
        let state = ChannelState {
            epoch,
            floor: offsets.start() - 1,
            newest: *offsets.end(),
        };
        let messages = offsets.map(|offset| StoredMessage {
            position: Position { epoch, offset },
            body: MessageBody {
                id: "m".into(),
                from: None,
                to: None,
                ts: 0,
                data: "1".into(),
            },
        });
        store::LogPage {
            state: Some(state),
            messages: messages.collect(),
            more: false,
        }
    }

    /// What is sent, and from where it goes on.
    fn sent(after: Position, page: &store::LogPage, posted: Position) -> (Vec<Position>, Missing) {
        let replay = behind(after);
        let (frames, missing) = frames_of(&replay, page, posted);
        let places = frames.iter().map(|frame| match frame {
            Notice::Gap { position, .. } => *position,
            Notice::Message(posted) => posted.position.expect("a place"),
            other => panic!("{other:?}"),
        });
        (places.collect(), missing)
    }

    fn on(after: Position) -> Missing {
        Missing { after, gap: false }
    }

    #[test]
    fn what_is_stored_but_not_yet_posted_is_left_to_the_post() {
        let page = page(OLD, 1..=9);
        let (places, missing) = sent(at(OLD, 0), &page, at(OLD, 6));
        assert_eq!(
            places,
            (1..=6).map(|offset| at(OLD, offset)).collect::<Vec<_>>()
        );
        assert_eq!(missing, on(at(OLD, 6)));
    }

    #[test]
    fn a_log_that_began_anew_is_replayed_once_that_is_posted() {
        let page = page(NEW, 1..=3);
        let still = sent(at(OLD, 5), &page, at(OLD, 7));
        assert_eq!(still, (vec![], on(at(OLD, 5))));
        let (places, missing) = sent(at(OLD, 5), &page, at(NEW, 3));
        let from_its_start = Missing {
            after: at(NEW, 0),
            gap: true,
        };
        assert_eq!((places, missing), (vec![], from_its_start));
    }

    #[test]
    fn what_was_let_go_of_is_told_but_not_beyond_what_is_posted() {
        let page = page(OLD, 8..=9);
        assert_eq!(
            sent(at(OLD, 2), &page, at(OLD, 9)),
            (vec![at(OLD, 7), at(OLD, 8), at(OLD, 9)], on(at(OLD, 9)))
        );
        assert_eq!(
            sent(at(OLD, 2), &page, at(OLD, 5)),
            (vec![at(OLD, 5)], on(at(OLD, 5)))
        );
    }
}
