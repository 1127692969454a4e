//! The thread that writes the bindings.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::compare::differing;
use super::feed::BindingFeed;
use crate::base::vital::{may_die_here, spawn_vital};
use crate::chat::{BindingChange, BindingError, BindingKey, Bindings, GenerationState, TakenRows};
use crate::endpoint::services::Services;

/// Time between two signs of life.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Pause before the store is tried again: short, since what stands there is to be true within a second
/// after it is back.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Time for which the counter of another generation under this server's name has to stand still until that
/// one counts as dead, as readers judge it.
const LEASE: Duration = Duration::from_secs(5);

/// Rows of one write: a millisecond or two of the store, so that it can answer others in between.
const ROWS_A_WRITE_MAX: usize = 500;

/// Bytes of session data after which a write ends: far below the largest statement of a database.
const BYTES_A_WRITE_MAX: usize = 256 * 1024;

/// Starts the thread, which begins with the endpoint.
pub(in crate::endpoint) fn start(
    services: Arc<Services>,
    feed: Arc<BindingFeed>,
) -> io::Result<JoinHandle<()>> {
    let mut writer = BindingWriter {
        is_known: feed.is_known,
        was_connected: true,
        services: Arc::clone(&services),
        feed: Arc::clone(&feed),
        next_beat: Instant::now(),
    };
    let run = move || {
        services.wait_for_begin();
        writer.run();
    };
    spawn_vital("bindings", run, move || {
        // The chat can do without; nobody empties the queue any more.
        feed.queue.pause();
        feed.is_connected.store(false, Relaxed);
        tracing::error!("the thread that writes the bindings has died; they are as old as that");
    })
}

/// Rows that couldn't be written, and why.
struct UnwrittenRows {
    error: BindingError,
    rows: Vec<BindingKey>,
}

/// Whether rows say something new, or what stood in the store before it lost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    News,
    Again,
}

struct BindingWriter {
    services: Arc<Services>,
    feed: Arc<BindingFeed>,
    /// Whether the generation was entered once.
    is_known: bool,
    /// Whether the last line of the log said that the store is there.
    was_connected: bool,
    next_beat: Instant,
}

/// Why a connection to the store isn't used any more, where that is no error.
#[derive(Debug, PartialEq, Eq)]
enum ConnectionEnd {
    /// The endpoint ends.
    Finished,
    /// The generation in the store isn't this server's.
    Displaced,
}

/// Whose the server's name is in the store.
#[derive(Debug, PartialEq, Eq)]
enum NameState {
    /// The server's own generation stands under it.
    Own,
    /// No generation does, or a dead one.
    Free,
    /// The endpoint ends before that is known.
    Ended,
}

impl BindingWriter {
    fn run(&mut self) {
        loop {
            let ended = self.connection();
            self.feed.queue.pause();
            self.feed.is_connected.store(false, Relaxed);
            match ended {
                Ok(ConnectionEnd::Finished) => return,
                Ok(ConnectionEnd::Displaced) => continue,
                Err(error) => self.note_failure(&error),
            }
            if !self.feed.queue.pause_until(Instant::now() + RETRY_AFTER) {
                return;
            }
        }
    }

    /// Uses one connection to the store until it breaks.
    fn connection(&mut self) -> Result<ConnectionEnd, BindingError> {
        let mut store = self.feed.store.open()?;
        let store = &mut *store;
        if !self.stand(store)? {
            return Ok(ConnectionEnd::Finished);
        }
        let ended = self.write_on(store);
        match ended {
            Err(BindingError::Displaced) => Ok(ConnectionEnd::Displaced),
            ended => ended,
        }
    }

    /// Makes sure that the server's generation stands in the store; `false` if the endpoint ends
    /// meanwhile.
    ///
    /// At a start whatever stood under the name is over. Later it is only taken over where its counter
    /// stands still: two servers of one name would take turns for ever.
    fn stand(&mut self, store: &mut dyn Bindings) -> Result<bool, BindingError> {
        if self.is_known {
            match self.await_name(store)? {
                NameState::Own => return Ok(true),
                NameState::Free => {}
                NameState::Ended => return Ok(false),
            }
        }
        store.register(&self.feed.node)?;
        self.is_known = true;
        Ok(true)
    }

    /// Waits until the server's name is its own, or nobody's.
    fn await_name(&self, store: &mut dyn Bindings) -> Result<NameState, BindingError> {
        let mut seen = None;
        loop {
            let (generation, beat) = match store.beat(&self.feed.node)? {
                GenerationState::Own => return Ok(NameState::Own),
                GenerationState::None => return Ok(NameState::Free),
                GenerationState::Other { generation, beat } => (generation, beat),
            };
            let now = Instant::now();
            let (state, since) = *seen.get_or_insert(((generation, beat), now));
            if state != (generation, beat) {
                self.note_displaced(generation);
                seen = Some(((generation, beat), now));
            } else if now.duration_since(since) >= LEASE {
                return Ok(NameState::Free);
            }
            self.feed.is_connected.store(true, Relaxed);
            if !self.feed.queue.pause_until(now + RETRY_AFTER) {
                return Ok(NameState::Ended);
            }
        }
    }

    /// Compares all rows, then writes those that change.
    fn write_on(&mut self, store: &mut dyn Bindings) -> Result<ConnectionEnd, BindingError> {
        self.note_connected();
        self.next_beat = Instant::now();
        self.compare(store)?;
        loop {
            may_die_here();
            self.beat_if_due(store)?;
            match self.feed.queue.take(self.next_beat) {
                TakenRows::Whole => self.compare(store)?,
                TakenRows::Rows(rows) if rows.is_empty() => continue,
                TakenRows::Rows(rows) => self.write(store, rows)?,
                TakenRows::Last(rows) => {
                    self.write(store, rows)?;
                    store.leave(&self.feed.node)?;
                    return Ok(ConnectionEnd::Finished);
                }
            }
            // Whatever changes meanwhile goes with the next write.
            _ = self
                .feed
                .queue
                .pause_until(Instant::now() + self.feed.gather);
        }
    }

    fn compare(&mut self, store: &mut dyn Bindings) -> Result<(), BindingError> {
        // First: what changes from now on is noted.
        self.feed.queue.begin();
        self.feed.compared.fetch_add(1, Relaxed);
        let rows = differing(
            &self.services.chat,
            self.feed.store.scope(),
            store,
            &self.feed.node,
        )?;
        let untold = self.feed.queue.untold();
        let (again, rows) = match untold {
            Some(untold) if store.has_lost_rows()? => rows
                .into_iter()
                .partition(|row| matches!(row, BindingKey::Member(..)) && !untold.contains(row)),
            _ => (Vec::new(), rows),
        };
        // What can't be written is compared once more.
        for (rows, writing) in [(again, Writing::Again), (rows, Writing::News)] {
            let written = self.write_rows(store, rows, writing);
            written.map_err(|unwritten| unwritten.error)?;
        }
        self.feed.queue.told_all();
        Ok(())
    }

    /// Writes what is so about rows by now.
    fn write(
        &mut self,
        store: &mut dyn Bindings,
        rows: Vec<BindingKey>,
    ) -> Result<(), BindingError> {
        let written = self.write_rows(store, rows, Writing::News);
        written.map_err(|UnwrittenRows { error, rows }| {
            self.feed.queue.keep_untold(rows);
            error
        })
    }

    /// Writes what is so about rows by now, as something new or not.
    fn write_rows(
        &mut self,
        store: &mut dyn Bindings,
        rows: Vec<BindingKey>,
        writing: Writing,
    ) -> Result<(), UnwrittenRows> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let (mut changes, mut bytes) = (Vec::new(), 0);
            while changes.len() < ROWS_A_WRITE_MAX
                && bytes < BYTES_A_WRITE_MAX
                && let Some(row) = rows.next()
            {
                let change = self.services.chat.binding(row);
                bytes += change.session_bytes();
                changes.push(change);
            }
            let node = &self.feed.node;
            let written = match writing {
                Writing::News => store.write(node, &changes),
                Writing::Again => store.write_again(node, &changes),
            };
            if let Err(error) = written {
                let rows = changes.iter().map(BindingChange::key).chain(rows);
                let rows = rows.collect();
                return Err(UnwrittenRows { error, rows });
            }
            self.feed.written.fetch_add(changes.len() as u64, Relaxed);
            if let Err(error) = self.beat_if_due(store) {
                let rows = rows.collect();
                return Err(UnwrittenRows { error, rows });
            }
        }
        Ok(())
    }

    fn beat_if_due(&mut self, store: &mut dyn Bindings) -> Result<(), BindingError> {
        let now = Instant::now();
        if now < self.next_beat {
            return Ok(());
        }
        self.next_beat = now + BEAT_EVERY;
        match store.beat(&self.feed.node)? {
            GenerationState::Own => {
                self.feed.beats.fetch_add(1, Relaxed);
                Ok(())
            }
            _ => Err(BindingError::Displaced),
        }
    }

    fn note_connected(&mut self) {
        self.feed.is_connected.store(true, Relaxed);
        self.feed.is_displaced.store(false, Relaxed);
        if !self.was_connected {
            tracing::info!("the store of the bindings is there again");
            self.was_connected = true;
        }
    }

    fn note_failure(&mut self, error: &BindingError) {
        self.feed.failures.fetch_add(1, Relaxed);
        if self.was_connected {
            let error = error as &dyn std::error::Error;
            tracing::error!(
                error,
                "the bindings can't be written; they are as old as that"
            );
            self.was_connected = false;
        }
    }

    fn note_displaced(&self, generation: u64) {
        if !self.feed.is_displaced.swap(true, Relaxed) {
            let node = &self.feed.node.name;
            tracing::error!(
                node,
                generation,
                "another server has this one's name in the store of the bindings, and is alive: \
                 nothing is written"
            );
        }
    }
}
