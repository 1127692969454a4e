//! A frame of the server, also one that this program can't read.

use serde::Deserialize;
use serde_json::Value;

/// What the server sent.
#[derive(Debug)]
pub enum Frame {
    /// An object of the protocol.
    Object(Value),
    /// Something else. It is stepped over, with its position if it is a message.
    Unreadable(Unreadable),
}

/// Where a message stands that can't be read; all is `None` of what is no message.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Unreadable {
    /// The channel.
    pub channel: Option<String>,
    /// The epoch of the channel.
    pub epoch: Option<String>,
    /// The offset of the message.
    pub offset: Option<u64>,
}

impl Frame {
    /// Reads the text of a frame.
    #[must_use]
    pub fn read(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => Self::Object(object),
            _ => Self::Unreadable(serde_json::from_str(text).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(text: &str) -> Unreadable {
        match Frame::read(text) {
            Frame::Unreadable(unreadable) => unreadable,
            Frame::Object(object) => panic!("{object}"),
        }
    }

    #[test]
    fn a_message_that_cant_be_read_still_says_where_it_stands() {
        for data in [r#""\ud83d""#, "1e999", r#"{"\udc00":[1e999]}"#] {
            let text = format!(
                r#"{{"type":"msg","channel":"tea","epoch":"a","offset":7,"id":"x","data":{data}}}"#
            );
            let found = unreadable(&text);
            assert_eq!(found.channel.as_deref(), Some("tea"), "{data}");
            assert_eq!((found.epoch.as_deref(), found.offset), (Some("a"), Some(7)));
        }
    }

    #[test]
    fn what_is_no_object_stands_nowhere() {
        for text in ["", "5", "[]", "null", "{", r#"{"channel":5,"data":1e999}"#] {
            assert_eq!(unreadable(text), Unreadable::default(), "{text}");
        }
        assert!(matches!(Frame::read("{}"), Frame::Object(_)));
    }
}
