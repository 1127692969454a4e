//! A message of a gateway on its way to the disk, with the number that it settles.

use std::cell::Cell;
use std::sync::Arc;

use crate::api::posting::RECEIVERS_MAX;
use crate::link::Sequenced;

/// A part of what a gateway brought under one number.
pub(super) struct LinkPart {
    sequenced: Sequenced,
    /// What is settled with it.
    settles: Settles,
    /// The attempt was broken off before the part was due, so nothing was written.
    is_passed_over: Cell<bool>,
}

impl LinkPart {
    /// The part for the receiver in this place, from 0, of a number of which others follow; `parts`
    /// keeps how far they are.
    pub(super) fn before(sequenced: &Sequenced, parts: &Arc<str>, place: u64) -> Self {
        let parts = Arc::clone(parts);
        Self {
            sequenced: sequenced.clone(),
            settles: Settles::Part { parts, place },
            is_passed_over: Cell::new(false),
        }
    }

    /// The last one of its number, or the only one.
    pub(super) fn last(sequenced: Sequenced) -> Self {
        Self {
            sequenced,
            settles: Settles::Number,
            is_passed_over: Cell::new(false),
        }
    }

    /// Whether the part may be written now: nothing before it was refused. Asked once, when it is to
    /// be written.
    pub(super) fn may_be_written(&self) -> bool {
        self.is_passed_over.set(self.sequenced.attempt.is_broken());
        !self.is_passed_over.get()
    }

    /// Whether nothing was written, since something before the part was refused.
    pub(super) fn was_passed_over(&self) -> bool {
        self.is_passed_over.get()
    }

    /// Has nothing behind the part be written.
    pub(super) fn break_off(&self) {
        self.sequenced.attempt.break_off();
    }

    /// The producer and the number that the part settles.
    pub(super) fn mark(&self) -> (&str, u64) {
        let Sequenced { producer, n, .. } = &self.sequenced;
        match &self.settles {
            Settles::Number => (producer, *n),
            Settles::Part { parts, place } => {
                (parts, n.saturating_mul(PARTS_MAX).saturating_add(*place))
            }
        }
    }
}

/// The reach of a part: what is settled with it.
enum Settles {
    /// Its number: it is the last one, or the only one.
    Number,
    /// Only this part, so that it isn't stored twice when the number has to come again. As a
    /// producer of its own, whose numbers rise from part to part and from message to message.
    Part { parts: Arc<str>, place: u64 },
}

/// LinkPart numbers that each number of a message has. On disk: another one would pass over messages.
const PARTS_MAX: u64 = 128;
const _: () = assert!(RECEIVERS_MAX as u64 <= PARTS_MAX);

/// The producer that stands for the parts of another one's messages.
pub(super) fn parts_of(producer: &str) -> Arc<str> {
    format!("{producer}\u{1f}parts").into()
}
