//! The question of senders that can wait whether they should.

use super::handle::Handle;

impl Handle {
    /// Whether so much waits for a reactor that its senders should pause.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.shared
            .mailboxes
            .iter()
            .any(|mailbox| mailbox.is_high())
    }
}
