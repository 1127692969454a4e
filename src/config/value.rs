//! The kinds of values that a setting can have: how each is read from TOML and from plain text
//! (environment, flags), what it allows, and how a file spells it.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::quote::{grouped, quoted, shown};
use super::types::SettingText;

/// A kind of value, such as a whole number within bounds.
pub(super) trait SettingValue: Sized {
    /// The limits that one setting of this kind has beside its type.
    type Bounds;

    /// Reads the value from a file; `None` for another type or out of bounds.
    fn from_toml(value: &DeValue<'_>, bounds: &Self::Bounds) -> Option<Self>;
    /// Reads the value from the environment or a flag; `None` when it isn't allowed.
    fn from_text(text: &str, bounds: &Self::Bounds) -> Option<Self>;
    /// Writes the value as a settings file spells it.
    fn to_toml(&self) -> String;
    /// The rule that a value has to meet, as the end of a sentence that begins with "has to be".
    fn allowed(bounds: &Self::Bounds) -> String;

    /// Describes the bounds in words, where they are worth a line in the documentation.
    fn range(_: &Self::Bounds) -> Option<String> {
        None
    }

    /// Whether a value may stand in an error message.
    fn is_public() -> bool {
        true
    }

    /// Describes a value of a file that isn't allowed.
    fn describe_wrong(value: &DeValue<'_>, _: &Self::Bounds) -> String {
        describe(value, Self::is_public())
    }
}

impl<T: SettingText> SettingValue for T {
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

impl SettingValue for u64 {
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

impl SettingValue for usize {
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

impl SettingValue for bool {
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

impl<T: SettingText> SettingValue for Vec<T> {
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

    /// Names the first item that is no such text.
    fn describe_wrong(value: &DeValue<'_>, bounds: &T::Bounds) -> String {
        let items = value.as_array().into_iter().flat_map(|items| items.iter());
        let is_wrong = |item: &&DeValue<'_>| {
            let text = item.as_str();
            text.is_none_or(|text| T::parse(text, bounds).is_none())
        };
        let wrong = items.map(|item| item.get_ref()).find(is_wrong);
        wrong.map_or_else(
            || describe(value, T::IS_PUBLIC),
            |item| format!("a list with {}", describe(item, T::IS_PUBLIC)),
        )
    }
}

/// Describes a value of a file for an error message: its text where it is public, its type where it
/// isn't.
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
