//! What an error of Redis means to one who called.

use redis::{ErrorKind, RedisError};

use crate::chat::BindingError;
use crate::cluster::engine::EngineError;

/// What became of a command that was refused.
#[derive(Debug)]
pub(super) enum CommandFailure {
    /// Redis doesn't have the script, and did nothing.
    UnknownScript,
    /// The script failed in its middle.
    Broken(String),
    /// Nothing was done, or nobody knows.
    Engine(EngineError),
}

/// Tells what an answer that is an error means: nothing was done, unless a script broke.
pub(super) fn of_refusal(error: &RedisError) -> CommandFailure {
    let detail = error.detail().unwrap_or_default();
    let text = format!("{}: {detail}", error.code().unwrap_or("ERR"));
    let engine = match error.code().unwrap_or_default() {
        "NOSCRIPT" => return CommandFailure::UnknownScript,
        "OOM" | "MISCONF" => EngineError::Full(text),
        "READONLY" | "LOADING" | "MASTERDOWN" | "BUSY" | "NOREPLICAS" | "TRYAGAIN" => {
            EngineError::Away(text)
        }
        "BROKEN" => return CommandFailure::Broken(text),
        _ if detail.contains("script: ") || detail.contains("@user_script") => {
            return CommandFailure::Broken(text);
        }
        _ => EngineError::Refused(format!("Redis refuses what is needed: {text}")),
    };
    CommandFailure::Engine(engine)
}

/// Tells what an error means that isn't an answer: whatever was sent may have been done.
pub(super) fn lost(error: &RedisError) -> EngineError {
    EngineError::Lost(error.to_string())
}

/// Tells why no connection was made.
pub(super) fn of_opening(error: BindingError) -> EngineError {
    match error {
        BindingError::Refused(what) => EngineError::Refused(what),
        other => EngineError::Away(other.to_string()),
    }
}

/// Whether nothing came in the time that was given.
pub(super) fn is_timeout(error: &RedisError) -> bool {
    error.is_timeout() || error.kind() == ErrorKind::Io && error.to_string().contains("timed out")
}
