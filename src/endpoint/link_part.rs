//! A message of a gateway on its way to the disk, with the number that it settles.

use std::cell::Cell;
use std::sync::Arc;

use crate::api::posting::RECEIVERS_MAX;
use crate::link::Sequenced;

/// A part of a gateway's message: one number may have several receivers, each a part.
pub(super) struct LinkPart {
    sequenced: Sequenced,
    /// The number, or the part of it, that is settled with this part.
    settles: Settles,
    /// The attempt was broken off before the part was due, so nothing was written.
    is_passed_over: Cell<bool>,
}

impl LinkPart {
    /// Makes the part of one receiver, by its place from 0, where other parts of the number follow;
    /// the store keeps under the name `parts` which of them are written.
    pub(super) fn before(sequenced: &Sequenced, parts: &Arc<str>, place: u64) -> Self {
        let parts = Arc::clone(parts);
        Self {
            sequenced: sequenced.clone(),
            settles: Settles::Part { parts, place },
            is_passed_over: Cell::new(false),
        }
    }

    /// Makes the last part of a number, or the only one.
    pub(super) fn last(sequenced: Sequenced) -> Self {
        Self {
            sequenced,
            settles: Settles::Number,
            is_passed_over: Cell::new(false),
        }
    }

    /// Whether the part may be written now, since nothing before the part was refused. Asked once,
    /// when the part is to be written.
    pub(super) fn may_be_written(&self) -> bool {
        self.is_passed_over.set(self.sequenced.attempt.is_broken());
        !self.is_passed_over.get()
    }

    /// Whether nothing was written, since something before the part was refused.
    pub(super) fn was_passed_over(&self) -> bool {
        self.is_passed_over.get()
    }

    /// Stops everything behind the part from being written.
    pub(super) fn break_off(&self) {
        self.sequenced.attempt.break_off();
    }

    /// Returns the producer and the number that the part settles.
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

/// The reach of a part.
enum Settles {
    /// The part settles the whole number, since it is the last part or the only one.
    Number,
    /// The part settles only itself, so that it isn't stored twice when the number has to come
    /// again. Parts count as those of a producer of their own, whose numbers rise from part to part
    /// and from message to message.
    Part { parts: Arc<str>, place: u64 },
}

/// Numbers of parts that each number of a message has: more than a message may have receivers. The
/// store keeps numbers made with this one, so another one would pass over messages.
const PARTS_MAX: u64 = 128;
const _: () = assert!(RECEIVERS_MAX as u64 <= PARTS_MAX);

/// Returns the producer that stands for the parts of another one's messages.
pub(super) fn parts_of(producer: &str) -> Arc<str> {
    format!("{producer}\u{1f}parts").into()
}
