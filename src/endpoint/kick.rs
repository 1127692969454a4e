//! Closing a connection in a way that the client understands.

use super::frames;
use crate::base::Fd;
use crate::server::WorkerHandle;

/// Tells a client why it is closed, in a word for programs and a sentence for people, and closes
/// its connection with a code of 4xxx.
pub(super) fn kick(server: &WorkerHandle, fd: Fd, code: u16, word: &str, message: &str) {
    if server.push(fd, &frames::kick(word, message)).is_ok() {
        server.disconnect(fd, code, message).ok();
    }
}
