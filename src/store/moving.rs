//! Moving the last live records out of nearly dead files, so that those can go.

use super::channel::Slot;
use super::entry::{Entry, Place, Placed};
use super::error::StoreError;
use super::files::Access;
use super::frame::{BATCH_SIZE, Batch, frames};
use super::journal::Journal;
use super::names;
use super::scan::{Scan, Step};
use super::settings::WhenFull;
use super::state::State;
use super::view::Counters;

/// Bytes that are looked through in one go, nearly.
const READ_MAX: u64 = 2 << 20;
/// Bytes that are moved in one go, nearly.
const MOVED_MAX: usize = 256 << 10;
/// A file is nearly dead when less than one part of so many is live.
const PARTS: u64 = 8;
/// The same for a store that is full and may let nothing go.
const PARTS_WHEN_FULL: u64 = 2;

/// A file that is being emptied.
pub(super) struct Moving {
    number: u32,
    scan: Scan,
}

impl std::fmt::Debug for Moving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moving")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Moves a piece of the oldest file that is nearly dead.
    pub(super) fn move_on(&mut self) -> Result<(), StoreError> {
        let moving = match self.upkeep.moving.take() {
            Some(moving) if self.olds.contains_key(&moving.number) => moving,
            _ => match self.find_nearly_dead() {
                Some(number) => self.begin_moving(number)?,
                None => return Ok(()),
            },
        };
        let number = moving.number;
        self.move_piece(moving).inspect_err(|error| {
            if let StoreError::Damaged { .. } = error {
                self.upkeep.unmovable.insert(number);
            }
        })
    }

    fn find_nearly_dead(&self) -> Option<u32> {
        let is_full = self.settings.when_full == WhenFull::Refuse
            && self.bytes() + 2 * self.segment_bytes_max() >= self.settings.bytes_max;
        let parts = if is_full { PARTS_WHEN_FULL } else { PARTS };
        let state = self.view.state();
        let mut olds = self.olds.iter();
        let (&number, _) = olds.find(|(number, old)| {
            let live = state.usage.live.get(number).copied().unwrap_or(0);
            live > 0
                && live * parts < old.size
                && !self.knows_repeats_of(old.repeatable_ms)
                && !self.upkeep.unmovable.contains(number)
        })?;
        Some(number)
    }

    fn begin_moving(&self, number: u32) -> Result<Moving, StoreError> {
        let path = self.settings.directory.join(names::segment(number));
        let file = (self.files.open(&path, Access::Read))
            .map_err(|source| StoreError::io("open", &path, source))?;
        let mut scan = Scan::begin(file, &path, number)?;
        scan.end_at(self.olds[&number].size);
        Ok(Moving { number, scan })
    }

    fn move_piece(&mut self, mut moving: Moving) -> Result<(), StoreError> {
        let (mut batch, mut read) = (Batch::default(), 0);
        let has_more = loop {
            let state = self.view.state();
            match moving.scan.step()? {
                Step::Batch { at, head, body } => {
                    for (start, frame) in frames(body) {
                        let here = at + (BATCH_SIZE + start) as u64;
                        if let Ok(Entry::Message(message)) = Entry::read(frame)
                            && let Some(message) = alive(&state, moving.number, here, message)
                        {
                            Entry::Message(message).write(&mut batch);
                        }
                    }
                    read += u64::from(head.size);
                }
                Step::End => break false,
                Step::Bad { at, flaw, .. } => {
                    return Err(StoreError::damaged(moving.scan.path(), at, flaw));
                }
            }
            if read >= READ_MAX || batch.size() >= MOVED_MAX {
                break true;
            }
        };
        if !batch.is_empty() {
            self.write_and_publish(&mut batch, &[])?;
            Counters::add(&self.view.counters.moved, batch.records().into());
        }
        if has_more {
            self.upkeep.moving = Some(moving);
        }
        Ok(())
    }
}

/// The message with those places where it is still kept, if there are any.
fn alive<'a>(state: &State, segment: u32, at: u64, message: Placed<'a>) -> Option<Placed<'a>> {
    let is_alive = |place: &Place<'_>| {
        let channel = state.channel(place.channel);
        let kept = channel.map(|channel| &channel.kept);
        kept.filter(|kept| kept.epoch == place.epoch)
            .and_then(|kept| kept.slot(place.offset))
            .is_some_and(|slot: Slot| slot.is_at(segment, at))
    };
    let mut places = message.places().filter(is_alive);
    Some(Placed {
        first: places.next()?,
        second: places.next(),
        is_moved: true,
        sameness: None,
        mark: None,
        ..message
    })
}
