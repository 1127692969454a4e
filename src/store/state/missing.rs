//! Messages that should be kept, and are in none of the files.

use std::sync::Arc;

use super::StoreState;

impl StoreState {
    /// Finds the channel and the offset of a message that should be kept, and is missing.
    pub(in crate::store) fn find_missing(&self) -> Option<(&str, u64)> {
        self.channels()
            .find_map(|channel| Some((&*channel.name, channel.log.find_missing()?)))
    }

    /// Lets go of everything up to the newest message that is missing, in every channel; returns
    /// the number that each channel has lost.
    pub(in crate::store) fn drop_missing(&mut self) -> Vec<(Arc<str>, u64)> {
        let mut lost = Vec::new();
        for (_, channel) in &mut self.channels {
            let count = channel.log.drop_missing(&mut self.usage);
            if count > 0 {
                lost.push((Arc::clone(&channel.name), count));
            }
        }
        lost
    }
}
