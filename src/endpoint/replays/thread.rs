//! The thread that reads the pages.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::page::notices_of;
use super::{ReplayTurn, ReplayTurns};
use crate::base::Fd;
use crate::base::vital::{may_die_here, spawn_vital};
use crate::chat::ReplayPage;
use crate::endpoint::server_sink::ServerSink;
use crate::endpoint::services::Services;
use crate::store::{LogPage, PageRange, StoreError};

/// Messages of a page, beside its bound in bytes: short ones shall not fill a worker's turn either.
const PAGE_MESSAGES_MAX: usize = 1_000;

/// Time until a page is read again that couldn't be: the engine of a cluster is back within about a second
/// after a restart.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// Times that a page is tried: some seconds.
const TRIES_MAX: usize = 100;

/// Starts the thread that reads the pages.
pub(in crate::endpoint) fn start(
    services: Arc<Services>,
    turns: ReplayTurns,
) -> io::Result<JoinHandle<()>> {
    let theirs = Arc::clone(&services);
    let run = move || {
        theirs.wait_for_begin();
        let rest = &theirs.replays.rest;
        loop {
            if let Some(number) = rest.ordered() {
                rest.rest(number);
            }
            match turns.0.recv() {
                Ok(ReplayTurn::Page(fd)) => {
                    may_die_here();
                    serve(&theirs, fd);
                }
                Ok(ReplayTurn::Look) => {}
                Ok(ReplayTurn::End) | Err(_) => break,
            }
        }
    };
    spawn_vital("replay", run, move || {
        services.fail("the replay thread has died");
    })
}

/// Reads a page; for a while again and again where the log of a cluster is out of reach.
fn read(services: &Services, channel: &str, range: PageRange) -> Result<LogPage, StoreError> {
    for _ in 1..TRIES_MAX {
        match services.reader.page(channel, range) {
            Err(StoreError::Away(_)) if services.replays.rest.ordered().is_none() => {}
            read => return read,
        }
        thread::sleep(READ_AGAIN);
    }
    services.reader.page(channel, range)
}

/// Gives one connection its next page.
fn serve(services: &Services, fd: Fd) {
    let replays = &services.replays;
    let Some(replay) = replays.current(fd) else {
        return;
    };
    let Some(mut sink) = ServerSink::anywhere(services) else {
        return;
    };
    let after = replay.missing.after;
    let range = PageRange {
        after: Some(after.offset),
        before: None,
        limit: PAGE_MESSAGES_MAX,
        bytes_max: replays.page_bytes_max.load(Relaxed),
    };
    let page = match read(services, &replay.channel, range) {
        Ok(page) => page,
        Err(StoreError::Away(_)) => {
            sink.close(fd, 1013, "the history is out of reach; come back later");
            return;
        }
        Err(error) => {
            services.note_unreadable(&error);
            sink.close(fd, 1011, "the history can't be read");
            return;
        }
    };
    // If there is no such channel any more, nobody hears it either.
    let delivered_to = services.chat.posted(&replay.channel).unwrap_or(after);
    let epoch = page.state.map(|state| state.epoch);
    let is_behind = |epoch| epoch != delivered_to.epoch || after.offset > delivered_to.offset;
    if services.cluster.is_some() && epoch.is_some_and(is_behind) {
        // The node wasn't told yet, or that was lost on its way; others may have heard more.
        services.catch_up(&replay.channel);
        thread::sleep(READ_AGAIN);
    }
    let (notices, missing) = notices_of(&replay, &page, delivered_to);
    replays.pages.fetch_add(1, Relaxed);
    let is_current = || replays.is_current(fd, replay.id);
    let page = ReplayPage {
        fd,
        channel: &replay.channel,
        notices: &notices,
        missing,
    };
    let chat = &services.chat;
    let caught = chat.catch_up(&mut sink, services.now(), page, is_current);
    replays.advance(fd, replay.id, caught);
    sink.await_buffer(fd, replays.outbox_bytes_low.load(Relaxed));
}
