//! What can be asked through the control socket, and how it stands in its line.

use std::path::PathBuf;

use serde_json::{Value, json};

/// A question to a running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// How the server is.
    Status,
    /// To read the settings anew, and to put them into force.
    Reload,
    /// To read the settings anew, and to say what would change.
    CheckReload,
    /// To renew the workers and the processes; answered once they are.
    Renew,
    /// To replace the program, or only to try whether that would work.
    Upgrade {
        /// The file of the next image, if another one than that of the start.
        binary: Option<PathBuf>,
        /// Whether it is only tried.
        is_check: bool,
    },
    /// To stop in order; answered at the end.
    Stop,
    /// To stop at once.
    StopNow,
}

impl Question {
    /// Whether the server ends with its answer.
    pub(super) fn is_stop(&self) -> bool {
        matches!(self, Self::Stop | Self::StopNow)
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Status => json!({"command": "status"}),
            Self::Reload => json!({"command": "reload"}),
            Self::CheckReload => json!({"command": "reload", "check": true}),
            Self::Renew => json!({"command": "reload", "workers": true}),
            Self::Upgrade { binary, is_check } => {
                json!({"command": "upgrade", "binary": binary, "check": is_check})
            }
            Self::Stop => json!({"command": "stop"}),
            Self::StopNow => json!({"command": "stop", "now": true}),
        }
    }

    /// Reads a question; an unknown one says what there is.
    pub(super) fn from_line(line: &[u8]) -> Result<Self, String> {
        let asked: Value = serde_json::from_slice(line)
            .map_err(|error| format!("that is no line of JSON: {error}"))?;
        let is = |flag: &str| asked[flag] == true;
        match asked["command"].as_str() {
            Some("status") => Ok(Self::Status),
            Some("reload") if is("check") && is("workers") => {
                Err("what a renewal of the workers would do can't be checked".to_owned())
            }
            Some("reload") if is("workers") => Ok(Self::Renew),
            Some("reload") if is("check") => Ok(Self::CheckReload),
            Some("reload") => Ok(Self::Reload),
            Some("upgrade") => Ok(Self::Upgrade {
                binary: asked["binary"].as_str().map(PathBuf::from),
                is_check: is("check"),
            }),
            Some("stop") if is("now") => Ok(Self::StopNow),
            Some("stop") => Ok(Self::Stop),
            _ => Err(
                "there is no such command; there are status, reload, upgrade and stop".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_is_read_as_it_was_written() {
        for question in [
            Question::Status,
            Question::Reload,
            Question::CheckReload,
            Question::Renew,
            Question::Upgrade {
                binary: None,
                is_check: true,
            },
            Question::Upgrade {
                binary: Some("/a/b \"c\"".into()),
                is_check: false,
            },
            Question::Stop,
            Question::StopNow,
        ] {
            let line = question.to_json().to_string();
            assert_eq!(Question::from_line(line.as_bytes()), Ok(question), "{line}");
        }
        let both = r#"{"command":"reload","workers":true,"check":true}"#;
        for bad in ["", "status", "{}", r#"{"command":"upgrad"}"#, "[]", both] {
            assert!(Question::from_line(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
