//! The reasons why the chat refuses, and the codes that clients are told.

use std::fmt;

use crate::base::Fd;

/// The codes of refusals, which go over the wire: on WebSocket as `err`, by HTTP as `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request itself is wrong.
    BadRequest,
    /// Nobody has logged in, or the credentials don't hold.
    Unauthorized,
    /// The rights don't reach that far.
    Forbidden,
    /// Only those who joined may do this.
    NotMember,
    /// The room, user or connection doesn't exist.
    NotFound,
    /// The request contradicts what is already so.
    Conflict,
    /// The request is larger than a bound allows.
    TooLarge,
    /// Requests come faster than a bound allows.
    RateLimited,
    /// The server has a bug.
    Internal,
    /// A table or a budget is full; the same request may succeed later.
    Unavailable,
    /// The disk is as good as full.
    DiskFull,
    /// Whether it was done isn't known: the same request, with the same id, does it once at the most.
    Unsettled,
}

impl ErrorCode {
    const ALL: [Self; 12] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotMember,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::RateLimited,
        Self::Internal,
        Self::Unavailable,
        Self::DiskFull,
        Self::Unsettled,
    ];

    /// Finds the code for which this word stands.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// Returns the word that stands for the code on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotMember => "not_member",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DiskFull => "disk_full",
            Self::Unsettled => "unsettled",
        }
    }

    /// Returns the HTTP status that goes with the code.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::NotMember => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Unsettled => 504,
            Self::DiskFull => 507,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn may_retry(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Internal
                | Self::Unavailable
                | Self::DiskFull
                | Self::Unsettled
        )
    }
}

/// The fault of a name of a room, a user or a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameProblem {
    /// The name has no bytes.
    Empty,
    /// The name has more than this many bytes.
    TooLong(usize),
    /// The name contains a control character.
    Control,
    /// A room's name starts with `@` or `*`, which belong to users and to everyone.
    Reserved,
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong(max) => write!(f, "must not have more than {max} bytes"),
            Self::Control => f.write_str("must not contain control characters"),
            Self::Reserved => f.write_str("must start with neither @ nor *"),
        }
    }
}

/// A request that the chat refused; nothing has changed.
///
/// The text says what to mend and names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// A field holds a name that can't be one.
    #[error("{field}: {problem}")]
    Name {
        /// The field that held the name.
        field: &'static str,
        /// The fault of the name.
        problem: NameProblem,
    },
    /// `id` has no bytes, or more than this many.
    #[error("id: must have 1 to {0} bytes")]
    Id(usize),
    /// `except` came with a message that is kept.
    #[error("except: only with \"store\":false, since a stored message would leave a hole")]
    ExceptOfStored,
    /// More than this many connections in `except`.
    #[error("except: {0} connections at the most")]
    Except(usize),
    /// More than this many receivers in one request, or none.
    #[error("to: 1 to {0} receivers in one request")]
    Receivers(usize),
    /// More than this many users in one question.
    #[error("users: {0} at the most")]
    Users(usize),
    /// `limit` is out of its bounds.
    #[error("limit: must be 1 to {0}")]
    Limit(usize),
    /// `offset` is beyond the newest message, which has this one.
    #[error("offset: the newest message is {0}")]
    Beyond(u64),
    /// The channel keeps nothing, so it has no offsets.
    #[error("channel: it keeps no messages and has no offsets")]
    NotKept,
    /// The connection hasn't logged in.
    #[error("log in first: {{\"type\":\"login\",\"uid\":…}}")]
    NotLoggedIn,
    /// The connection belongs to another user.
    #[error("uid: this connection belongs to another user")]
    OtherUser,
    /// The token's patterns don't match the room.
    #[error("room: the token's rooms don't include {0}")]
    RoomNotAllowed(Box<str>),
    /// The field, or such a receiver, needs an API key.
    #[error("{0}: only with an API key")]
    KeyNeeded(&'static str),
    /// The channel is another user's.
    #[error("channel: has to be your own, *, or a room that you joined")]
    NotYours,
    /// The connection hasn't joined this room.
    #[error("room: join {0} first")]
    NotJoined(Box<str>),
    /// There is no such connection, or not any more.
    #[error("fd: no connection {0}")]
    NoConnection(Fd),
    /// There is no such room.
    #[error("room: there is no {0}")]
    NoRoom(Box<str>),
    /// The user was never here.
    #[error("user: there is no {0}")]
    NoUser(Box<str>),
    /// The connection is in this many rooms already (`rooms_per_connection_max`).
    #[error("room: a connection may be in {0} rooms at the most")]
    RoomsOfConnection(usize),
    /// The user has this many lasting memberships already (`lasting_rooms_per_user_max`).
    #[error("room: a user may have {0} lasting memberships at the most")]
    RoomsOfUser(usize),
    /// There are this many channels already (`channels_max`).
    #[error("there are {0} channels, the most allowed; try again later")]
    ChannelsFull(usize),
    /// The user opened this many channels that are still there (`channels_per_user_max`).
    #[error("you opened {0} channels that are still there, the most allowed; try again later")]
    ChannelsOfUser(usize),
    /// There are this many lines of users who never came (`unclaimed_lines_max`).
    #[error("there are {0} lines of users who never came, the most allowed; try again later")]
    LinesFull(usize),
    /// There are this many lasting memberships already (`lasting_max`).
    #[error("there are {0} lasting memberships, the most allowed")]
    LastingFull(usize),
    /// The session data has more than this many bytes (`session_bytes_max`).
    #[error("session: {0} bytes at the most")]
    SessionTooLarge(usize),
    /// All session data together would have more than this many bytes (`sessions_bytes_max`).
    #[error("session: all of them together may have {0} bytes; try again later")]
    SessionsFull(usize),
    /// The node doesn't hear these channels of its cluster yet. Nobody is told that: whoever gets it has
    /// them attached, and does the same once more.
    #[error("channels: the node doesn't hear {} yet", .0.join(", "))]
    NotAttached(Box<[Box<str>]>),
    /// This many users have acknowledged in the channel already (`acks_per_channel_max`).
    #[error("channel: {0} users have acknowledged here, the most allowed")]
    AcksFull(usize),
}

impl ChatError {
    /// Returns the code that the peer is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Name { .. }
            | Self::Id(_)
            | Self::ExceptOfStored
            | Self::Except(_)
            | Self::Receivers(_)
            | Self::Users(_)
            | Self::Limit(_)
            | Self::Beyond(_)
            | Self::NotKept => ErrorCode::BadRequest,
            Self::NotLoggedIn => ErrorCode::Unauthorized,
            Self::SessionTooLarge(_) => ErrorCode::TooLarge,
            Self::OtherUser => ErrorCode::Conflict,
            Self::RoomNotAllowed(_) | Self::KeyNeeded(_) | Self::NotYours => ErrorCode::Forbidden,
            Self::NotJoined(_) => ErrorCode::NotMember,
            Self::NoConnection(_) | Self::NoRoom(_) | Self::NoUser(_) => ErrorCode::NotFound,
            Self::RoomsOfConnection(_) | Self::RoomsOfUser(_) => ErrorCode::Forbidden,
            Self::ChannelsFull(_)
            | Self::ChannelsOfUser(_)
            | Self::LinesFull(_)
            | Self::LastingFull(_)
            | Self::SessionsFull(_)
            | Self::NotAttached(_)
            | Self::AcksFull(_) => ErrorCode::Unavailable,
        }
    }
}
