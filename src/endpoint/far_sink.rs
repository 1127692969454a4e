//! The sink for a message to a connection on another node: it keeps the frame, which that node pushes.

use std::sync::Arc;

use super::frames;
use crate::base::{Epoch, Fd};
use crate::chat::{Missing, Notice, Sink, Welcome};

/// Keeps the frame of a message to one connection, whether or not there is such a connection here.
#[derive(Debug, Default)]
pub(super) struct FarSink {
    /// The frame.
    pub(super) text: String,
}

impl Sink for FarSink {
    fn push(&mut self, _: Fd, notice: &Notice<'_>) -> bool {
        self.text = frames::frame(notice);
        true
    }

    // A message to one connection does none of these.

    fn publish(&mut self, _: &Arc<str>, _: &Notice<'_>) {}

    fn welcome(&mut self, _: Fd, _: &[Welcome]) {}

    fn subscribe(&mut self, _: Fd, _: &Arc<str>, _: &[Notice<'_>]) {}

    fn replay(&mut self, _: Fd, _: &Arc<str>, _: Missing) {}

    fn forget(&mut self, _: &Arc<str>) {}

    fn claim(&mut self, _: &Arc<str>) {}

    fn drop_channel(&mut self, _: &Arc<str>, _: Epoch) {}

    fn unsubscribe(&mut self, _: Fd, _: &Arc<str>) {}
}
