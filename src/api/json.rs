//! Writing JSON into one buffer, without a tree in between.

use super::scan::plain_size;

/// An object or array in the making; commas come by themselves.
#[derive(Debug)]
pub(crate) struct Json {
    text: String,
}

impl Json {
    /// Begins an object with its `type`.
    pub(crate) fn frame(kind: &str) -> Self {
        Self::object().string("type", kind)
    }

    /// Begins an empty object.
    pub(crate) fn object() -> Self {
        Self::of_size(160)
    }

    /// Begins an empty object, with room for about `size` bytes.
    pub(crate) fn of_size(size: usize) -> Self {
        let mut text = String::with_capacity(size);
        text.push('{');
        Self { text }
    }

    /// Begins an empty object behind what stands in a text already.
    pub(crate) fn behind(mut text: String) -> Self {
        text.push('{');
        Self { text }
    }

    // Inlined, as those that call it: each key is a constant there, and copied as one.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        let before = match self.text.as_bytes().last() {
            Some(b'{' | b'[') => "\"",
            _ => ",\"",
        };
        self.text.push_str(before);
        self.text.push_str(key);
        self.text.push_str("\":");
    }

    /// Adds a string, escaped.
    #[inline]
    pub(crate) fn string(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        push_string(&mut self.text, value);
        self
    }

    /// Adds a string, or `null`.
    pub(crate) fn string_or_null(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.string(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// Adds a whole number.
    #[inline]
    pub(crate) fn number(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        self.text.push_str(itoa::Buffer::new().format(value));
        self
    }

    /// Adds a string that needs no escapes.
    #[inline]
    pub(crate) fn plain(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.text.push('"');
        self.text.push_str(value);
        self.text.push('"');
        self
    }

    /// Adds `true` or `false`.
    #[inline]
    pub(crate) fn flag(self, key: &str, value: bool) -> Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    /// Adds valid JSON, as it is.
    #[inline]
    pub(crate) fn raw(mut self, key: &str, json: &str) -> Self {
        self.key(key);
        self.text.push_str(json);
        self
    }

    /// Adds valid JSON under a key that somebody else chose, which is escaped.
    pub(crate) fn named(mut self, key: &str, json: &str) -> Self {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        push_string(&mut self.text, key);
        self.text.push(':');
        self.text.push_str(json);
        self
    }

    /// Adds an array of valid JSON values.
    pub(crate) fn array<T: AsRef<str>>(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        self.key(key);
        push_array(&mut self.text, values, |text, value| text.push_str(value));
        self
    }

    /// Adds an array of strings.
    pub(crate) fn strings<T: AsRef<str>>(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        self.key(key);
        push_array(&mut self.text, values, push_string);
        self
    }

    /// Returns the whole text.
    pub(crate) fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

fn push_array<T: AsRef<str>>(
    text: &mut String,
    values: impl IntoIterator<Item = T>,
    push: impl Fn(&mut String, &str),
) {
    text.push('[');
    for (place, value) in values.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        push(text, value.as_ref());
    }
    text.push(']');
}

/// Appends a string in quotes; most strings hold nothing that has to be escaped.
fn push_string(text: &mut String, value: &str) {
    if plain_size(value.as_bytes()) == value.len() {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(value).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let text = Json::frame("ok")
            .string("s", "a\"b\\c\nd\u{1}ä")
            .string_or_null("n", None)
            .number("u", u64::MAX)
            .plain("d", "0.5")
            .flag("f", false)
            .raw("r", "[1, 2]")
            .array("a", ["{}", "1"])
            .strings("t", ["x\"", "y"])
            .strings::<&str>("e", [])
            .named("k\"", "{}")
            .end();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"type": "ok", "s": "a\"b\\c\nd\u{1}ä", "n": null, "u": u64::MAX,
                "d": "0.5", "f": false, "r": [1, 2], "a": [{}, 1], "t": ["x\"", "y"], "e": [], "k\"": {}})
        );
        assert_eq!(Json::object().end(), "{}");
    }
}
