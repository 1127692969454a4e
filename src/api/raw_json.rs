//! The text of one JSON value, as it was written.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A value of valid grammar that nobody has built as a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawJson<'a> {
    text: &'a str,
    is_plain: bool,
}

impl<'a> RawJson<'a> {
    /// Makes a value of a text whose grammar was checked; `is_plain` says that the text has no
    /// backslash, and no number that could be beyond a double.
    pub(super) fn new(text: &'a str, is_plain: bool) -> Self {
        Self { text, is_plain }
    }

    /// Returns the text, byte for byte as it was written.
    pub(crate) fn get(self) -> &'a str {
        self.text
    }

    /// Whether every strict reader can read the value, which nobody needs to check again.
    pub(super) fn is_plain(self) -> bool {
        self.is_plain
    }

    /// Returns the contents of a string that stands there without escapes.
    pub(super) fn plain_string(self) -> Option<&'a str> {
        let inside = self.text.strip_prefix('"').filter(|_| self.is_plain)?;
        inside.strip_suffix('"')
    }
}

impl<'a> From<&'a RawValue> for RawJson<'a> {
    fn from(value: &'a RawValue) -> Self {
        Self::new(value.get(), false)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self::from)
    }
}
