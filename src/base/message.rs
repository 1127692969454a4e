//! The body of a message: its content, without its place in a channel.

/// The content of a message, wherever the message stands. The texts are borrowed on their way
/// through the chat, to the disk and to the clients (`MessageBody<&str>`), and owned once they have
/// been read back from the disk (`MessageBody<Box<str>>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageBody<T> {
    /// The id that the sender chose, or the chat.
    pub id: T,
    /// The user who said the message, if any.
    pub from: Option<T>,
    /// The user who gets it, if the message is private.
    pub to: Option<T>,
    /// The time at which the message was said, in Unix milliseconds.
    pub ts: u64,
    /// JSON text.
    pub data: T,
}

impl MessageBody<&str> {
    /// Copies the texts.
    #[must_use]
    pub fn to_owned(self) -> MessageBody<Box<str>> {
        MessageBody {
            id: self.id.into(),
            from: self.from.map(Into::into),
            to: self.to.map(Into::into),
            ts: self.ts,
            data: self.data.into(),
        }
    }
}

impl MessageBody<Box<str>> {
    /// Lends the texts.
    #[must_use]
    pub fn as_deref(&self) -> MessageBody<&str> {
        MessageBody {
            id: &self.id,
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            ts: self.ts,
            data: &self.data,
        }
    }
}
