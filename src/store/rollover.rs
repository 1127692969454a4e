//! Rollover: a new segment becomes the active one, and those that nobody needs then are removed.

use super::error::StoreError;
use super::identity::StoreIdentity;
use super::journal::{Journal, SEGMENT_SIZE_MAX};
use super::names;
use super::segment::{self, SealedSegment};
use super::segment_head::SegmentHead;
use super::settings::WhenFull;

impl Journal {
    /// Returns the number of bytes after which a segment is full: an eighth of the store at the
    /// most, since room comes back by whole segments.
    pub(super) fn segment_bytes_max(&self) -> u64 {
        let share = self.settings.bytes_max / 8;
        let bound = share.clamp(1, SEGMENT_SIZE_MAX / 3);
        self.settings.segment_bytes_max.min(bound)
    }

    /// Makes a new segment the active one, and removes those that nobody needs then.
    pub(super) fn roll_segment(&mut self) -> Result<(), StoreError> {
        if self.active.durable < self.active.end {
            let end = self.active.end;
            self.sync_to(end).map_err(|error| self.fail(error))?;
        }
        if self.settings.when_full == WhenFull::DropOldest {
            self.drop_oldest();
        }
        let mut needed = self.sealed.clone();
        needed.insert(
            self.active.head.number,
            SealedSegment {
                size: self.active.end,
                repeatable_ms: self.active.repeatable_ms,
            },
        );
        needed.retain(|number, _| !self.is_dead(*number));
        let head = SegmentHead {
            number: self.active.head.number + 1,
            ..self.active.head
        };
        let begun = segment::create(
            &*self.files,
            &self.settings.directory,
            head,
            &self.view.state(),
            &needed,
        );
        let active = match begun {
            Ok(active) => active,
            Err(not_created) if not_created.is_named => {
                let StoreError::Failed { source, .. } = not_created.error else {
                    return Err(not_created.error);
                };
                return Err(self.fail(source));
            }
            Err(not_created) => return Err(not_created.error),
        };
        let identity = StoreIdentity {
            key: head.key,
            newest: head.number,
        };
        // An identity that isn't written names an older segment; a start asks for no more than that.
        if let Err(error) = identity.write(&*self.lock) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the newest segment isn't noted in the lock file"
            );
        }
        let was = std::mem::replace(&mut self.active, active).head.number;
        let gone: Vec<u32> = (self.sealed.keys().copied().chain([was]))
            .filter(|number| !needed.contains_key(number))
            .collect();
        self.sealed = needed;
        for number in gone {
            self.remove(number);
        }
        self.count_files();
        Ok(())
    }

    /// Removes a segment that the newest checkpoint doesn't name; a start would do so as well.
    fn remove(&mut self, number: u32) {
        let path = self.settings.directory.join(names::segment(number));
        if let Err(error) = self.files.remove(&path) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                file = %path.display(),
                "a segment that isn't needed can't be removed"
            );
        }
        self.view.close(number);
        self.view.state_mut().usage.live.remove(&number);
    }

    /// Lets go of the messages in the oldest segments until a new segment fits.
    fn drop_oldest(&mut self) {
        let room = self.segment_bytes_max();
        let mut bytes = self.bytes() + room;
        let mut through = None;
        for (&number, segment) in &self.sealed {
            if bytes <= self.settings.bytes_max {
                break;
            }
            bytes -= segment.size;
            through = Some(number);
        }
        if let Some(through) = through {
            self.view.state_mut().drop_through(through);
            // Their repeats go with them.
            for (_, segment) in self.sealed.range_mut(..=through) {
                segment.repeatable_ms = None;
            }
        }
    }
}
