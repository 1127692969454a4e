//! Catching up: a client that comes back gets what it missed from the disk, page by page, and hears
//! what is new from the moment on in which nothing is missing any more.

use std::sync::Arc;

use super::Chat;
use super::moment::Moment;
use super::name::EVERYONE;
use super::notice::Notice;
use super::sink::{Missing, Sink};
use crate::base::{Fd, Position};

/// The progress of a connection that catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// Nothing is missing: the connection hears what is new.
    Subscribed,
    /// More messages are missing, from this place on.
    Behind(Missing),
    /// The connection doesn't hear the channel any more, or began again to catch up.
    Gone,
}

/// A page of a channel for one connection.
#[derive(Debug, Clone, Copy)]
pub struct ReplayPage<'a> {
    /// The connection that gets the page.
    pub fd: Fd,
    /// The channel of the messages.
    pub channel: &'a Arc<str>,
    /// The messages of the page.
    pub notices: &'a [Notice<'a>],
    /// The messages that are missing once the connection has the page.
    pub missing: Missing,
}

impl Chat {
    /// The newest message of a channel that was delivered; `None` when there is no such channel. A
    /// page for [`Chat::catch_up`] must not have later ones in it: they are stored and about to be
    /// delivered, so a client that hears the channel from now on would get them twice.
    #[must_use]
    pub fn posted(&self, channel: &str) -> Option<Position> {
        self.with_log(channel, |_, log| Ok(log.position())).ok()
    }

    /// Sends a page to a connection, which thereby has everything up to `missing.after`, and lets
    /// it hear the channel if the rest is in memory.
    ///
    /// `is_current` is asked under the connection's lock: whether this replay is still the one that
    /// the last [`Sink::replay`] of this connection and channel began.
    pub fn catch_up(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        page: ReplayPage<'_>,
        is_current: impl FnOnce() -> bool,
    ) -> CatchUp {
        let ReplayPage { fd, channel, .. } = page;
        let mut missing = page.missing;
        let mut shard = self.connections.lock_number(fd.0);
        let Ok(own) = shard.login_of(fd) else {
            return CatchUp::Gone;
        };
        let hears = **channel == *EVERYONE
            || **channel == **own.user.inbox()
            || own.rooms.contains(channel);
        if !hears || !is_current() {
            return CatchUp::Gone;
        }
        let Ok(newest) = self.with_log(channel, |_, log| Ok(log.position())) else {
            return CatchUp::Gone;
        };
        // The disk may be ahead: what isn't said yet will be, and must not come twice.
        let is_ahead = |at: Position| at.epoch == newest.epoch && at.offset > newest.offset;
        for notice in page.notices {
            match notice {
                Notice::Message(delivered) if delivered.position.is_some_and(is_ahead) => break,
                notice if sink.push(fd, notice) => {}
                _ => return CatchUp::Gone,
            }
        }
        if is_ahead(missing.after) {
            if self.common.in_cluster() {
                // The client heard more on another node than this one has so far.
                return CatchUp::Behind(missing);
            }
            missing.after = newest;
        }
        let caught = self.with_log(channel, |name, log| {
            log.forget_old(self.scope(now.tick));
            let start = log.start_after(missing);
            Ok(match log.missing(start) {
                Some(missing) => CatchUp::Behind(missing),
                None => {
                    sink.subscribe(fd, name, &log.rest(name, start));
                    CatchUp::Subscribed
                }
            })
        });
        caught.unwrap_or(CatchUp::Gone)
    }
}
