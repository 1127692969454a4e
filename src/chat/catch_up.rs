//! Catching up: somebody who comes back gets what it missed from the disk, page by page, and hears
//! what is new from the moment on in which nothing is missing any more.

use std::sync::Arc;

use super::chat::Chat;
use super::common::Moment;
use super::message::Notice;
use super::name::EVERYONE;
use super::sink::{Missing, Sink};
use crate::base::Fd;
use crate::base::Position;

/// How far somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// Nothing is missing: it hears what is new.
    Subscribed,
    /// More is missing, behind this.
    Behind(Missing),
    /// It isn't there any more, or has begun anew.
    Gone,
}

impl Chat {
    /// The newest message of a channel that was posted; `None` when there is no such channel. A
    /// page for [`Chat::catch_up`] must not have later ones in it: they are stored and about to be
    /// posted, so that who hears the channel from now on would get them twice.
    #[must_use]
    pub fn posted(&self, channel: &str) -> Option<Position> {
        self.with_log(channel, |_, log| Ok(log.position())).ok()
    }

    /// Sends `page` to a connection, which thereby has everything up to `missing.after`, and lets
    /// it hear the channel if the rest is in memory.
    ///
    /// `is_current` is asked under the connection's lock: whether this replay is still the one that
    /// the last [`Sink::replay`] of this connection and channel began.
    pub fn catch_up(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        (fd, channel): (Fd, &Arc<str>),
        page: &[Notice<'_>],
        mut missing: Missing,
        is_current: impl FnOnce() -> bool,
    ) -> CatchUp {
        let mut shard = self.connections.lock_number(fd.0);
        let Ok(own) = shard.login_of(fd) else {
            return CatchUp::Gone;
        };
        let hears =
            **channel == *EVERYONE || **channel == **own.user.line() || own.rooms.contains(channel);
        if !hears || !is_current() {
            return CatchUp::Gone;
        }
        let Ok(newest) = self.with_log(channel, |_, log| Ok(log.position())) else {
            return CatchUp::Gone;
        };
        // The disk may be ahead: what isn't said yet will be, and must not come twice.
        let is_ahead = |at: Position| at.epoch == newest.epoch && at.offset > newest.offset;
        for frame in page {
            match frame {
                Notice::Message(posted) if posted.position.is_some_and(is_ahead) => break,
                frame if post.push(fd, frame) => {}
                _ => return CatchUp::Gone,
            }
        }
        if is_ahead(missing.after) {
            missing.after = newest;
        }
        let caught = self.with_log(channel, |name, log| {
            log.forget_old(now.tick, &self.common.settings, &self.common.totals);
            let start = log.start_after(missing);
            Ok(match log.missing(start) {
                Some(missing) => CatchUp::Behind(missing),
                None => {
                    post.subscribe(fd, name, &log.rest(name, start));
                    CatchUp::Subscribed
                }
            })
        });
        caught.unwrap_or(CatchUp::Gone)
    }
}
