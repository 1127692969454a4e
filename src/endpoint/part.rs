//! A message of a gateway on its way to the disk, with the number that it settles.

use std::cell::Cell;
use std::sync::Arc;

use super::link::Turn;
use crate::api::posting::RECEIVERS_MAX;

/// A part of what a gateway brought under one number.
pub(super) struct Part {
    pub(super) turn: Turn,
    /// What is settled with it.
    settles: Settles,
    /// Its stretch was broken off before its turn came, so nothing was written.
    pub(super) is_passed_over: Cell<bool>,
}

impl Part {
    /// The part for the receiver in this place, from 0, of a number of which others follow; `parts`
    /// keeps how far they are.
    pub(super) fn before(turn: &Turn, parts: &Arc<str>, place: u64) -> Self {
        let parts = Arc::clone(parts);
        Self {
            turn: turn.clone(),
            settles: Settles::Part { parts, place },
            is_passed_over: Cell::new(false),
        }
    }

    /// The last one of its number, or the only one.
    pub(super) fn last(turn: Turn) -> Self {
        Self {
            turn,
            settles: Settles::Number,
            is_passed_over: Cell::new(false),
        }
    }

    /// Whether it is its turn; asked once, when it is to be written.
    pub(super) fn has_turn(&self) -> bool {
        self.is_passed_over.set(self.turn.stretch.is_broken());
        !self.is_passed_over.get()
    }

    /// The number that it settles, and of which producer.
    pub(super) fn mark(&self) -> (&str, u64) {
        let Turn { producer, n, .. } = &self.turn;
        match &self.settles {
            Settles::Number => (producer, *n),
            Settles::Part { parts, place } => (parts, n.saturating_mul(PARTS_MAX) + place),
        }
    }
}

/// What is settled with a part.
enum Settles {
    /// Its number: it is the last one, or the only one.
    Number,
    /// Only this part, so that it isn't stored twice when the number has to come again. As a
    /// producer of its own, whose numbers rise from part to part and from message to message.
    Part { parts: Arc<str>, place: u64 },
}

/// Part numbers that each number of a message has. On disk: another one would pass over messages.
const PARTS_MAX: u64 = 128;
const _: () = assert!(RECEIVERS_MAX as u64 <= PARTS_MAX);

/// The producer that stands for the parts of another one's messages.
pub(super) fn parts_of(producer: &str) -> Arc<str> {
    format!("{producer}\u{1f}parts").into()
}
