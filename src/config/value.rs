//! The kinds of values that a setting can have: how each is read from TOML and from plain text
//! (environment, flags), what it allows, how it is written.

use std::ops::RangeInclusive;

use super::text::Text;
use toml::de::DeValue;

/// A kind of value.
pub(super) trait Value: Sized {
    /// What bounds one setting of this kind.
    type Bounds;

    /// Reads it from a file; `None` for another type or out of bounds.
    fn from_toml(value: &DeValue<'_>, bounds: &Self::Bounds) -> Option<Self>;
    /// Reads it from the environment or a flag.
    fn from_text(text: &str, bounds: &Self::Bounds) -> Option<Self>;
    /// As it is written in a file.
    fn to_toml(&self) -> String;
    /// What is allowed, after "has to be".
    fn allowed(bounds: &Self::Bounds) -> String;

    /// The bounds in words, where they are worth a line in the documentation.
    fn range(_: &Self::Bounds) -> Option<String> {
        None
    }

    /// Whether it may stand in an error message.
    fn is_public() -> bool {
        true
    }
}

impl<T: Text> Value for T {
    type Bounds = T::Bounds;

    fn from_toml(value: &DeValue<'_>, bounds: &T::Bounds) -> Option<Self> {
        T::parse(value.as_str()?, bounds)
    }

    fn from_text(text: &str, bounds: &T::Bounds) -> Option<Self> {
        T::parse(text, bounds)
    }

    fn to_toml(&self) -> String {
        quoted(&self.show())
    }

    fn allowed(bounds: &T::Bounds) -> String {
        T::allowed(bounds)
    }

    fn is_public() -> bool {
        T::IS_PUBLIC
    }
}

impl Value for u64 {
    type Bounds = RangeInclusive<u64>;

    fn from_toml(value: &DeValue<'_>, bounds: &Self::Bounds) -> Option<Self> {
        let number = value.as_integer()?;
        let number = Self::from_str_radix(number.as_str(), number.radix()).ok()?;
        bounds.contains(&number).then_some(number)
    }

    fn from_text(text: &str, bounds: &Self::Bounds) -> Option<Self> {
        let number = text.parse().ok()?;
        bounds.contains(&number).then_some(number)
    }

    fn to_toml(&self) -> String {
        grouped(*self)
    }

    fn allowed(bounds: &Self::Bounds) -> String {
        let (least, most) = (grouped(*bounds.start()), grouped(*bounds.end()));
        format!("a whole number between {least} and {most}")
    }

    fn range(bounds: &Self::Bounds) -> Option<String> {
        let (least, most) = (grouped(*bounds.start()), grouped(*bounds.end()));
        Some(format!("{least} to {most}"))
    }
}

impl Value for usize {
    type Bounds = RangeInclusive<u64>;

    fn from_toml(value: &DeValue<'_>, bounds: &Self::Bounds) -> Option<Self> {
        u64::from_toml(value, bounds)?.try_into().ok()
    }

    fn from_text(text: &str, bounds: &Self::Bounds) -> Option<Self> {
        u64::from_text(text, bounds)?.try_into().ok()
    }

    fn to_toml(&self) -> String {
        grouped(*self as u64)
    }

    fn allowed(bounds: &Self::Bounds) -> String {
        u64::allowed(bounds)
    }

    fn range(bounds: &Self::Bounds) -> Option<String> {
        u64::range(bounds)
    }
}

impl Value for bool {
    type Bounds = ();

    fn from_toml(value: &DeValue<'_>, (): &()) -> Option<Self> {
        value.as_bool()
    }

    fn from_text(text: &str, (): &()) -> Option<Self> {
        match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }

    fn allowed((): &()) -> String {
        "true or false".into()
    }
}

impl<T: Text> Value for Vec<T> {
    type Bounds = T::Bounds;

    fn from_toml(value: &DeValue<'_>, bounds: &T::Bounds) -> Option<Self> {
        let items = value.as_array()?.iter();
        items
            .map(|item| T::parse(item.get_ref().as_str()?, bounds))
            .collect()
    }

    fn from_text(text: &str, bounds: &T::Bounds) -> Option<Self> {
        text.split(',')
            .map(|item| T::parse(item.trim(), bounds))
            .collect()
    }

    fn to_toml(&self) -> String {
        let items: Vec<String> = self.iter().map(|item| quoted(&item.show())).collect();
        format!("[{}]", items.join(", "))
    }

    fn allowed(bounds: &T::Bounds) -> String {
        format!("a list, each of it {}", T::allowed(bounds))
    }
}

/// What stands in a file, for an error message.
pub(super) fn describe(value: &DeValue<'_>, is_public: bool) -> String {
    match value {
        DeValue::String(text) if is_public => shown(text),
        DeValue::Integer(number) if is_public => number.to_string(),
        DeValue::Float(number) if is_public => number.as_str().to_owned(),
        DeValue::String(_) => "a text".into(),
        DeValue::Integer(_) | DeValue::Float(_) => "a number".into(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
        DeValue::Datetime(_) => "a date".into(),
    }
}

/// A text for an error message, cut short.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            char if char.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(char)));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// A number with `_` between its thousands, as TOML allows.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1_000"), (65_536, "65_536")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(1 << 30), "1_073_741_824");
    }

    #[test]
    fn a_quoted_text_reads_back_as_it_was() {
        for text in ["", "a\"b\\c", "-----BEGIN\nX\n", "tab\tbell\u{7}", "ü"] {
            let document = format!("x = {}", quoted(text));
            let table = toml::de::DeTable::parse(&document).unwrap();
            assert_eq!(table.get_ref()["x"].get_ref().as_str(), Some(text));
        }
    }
}
