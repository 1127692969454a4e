//! The parts that every step of one call of the chat needs.

use super::common::Common;
use super::sink::Sink;
use crate::base::Tick;

/// The shared parts and the time, for steps that send nothing.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) common: &'a Common,
    pub(super) now: Tick,
}

/// A call in which something may be sent.
pub(super) struct Call<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) sink: &'a mut dyn Sink,
}
