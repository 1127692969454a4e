//! Reading the fields of a JSON object one by one, so that an error can name the field.
//!
//! Values stay text ([`RawValue`]) until they are asked for; what a client nests inside its `data`
//! is never built as a tree.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::refusal::Refusal;

/// Levels of arrays and objects in one value. A reader of ours takes any number, since none of it
/// recurses; a reader at the other end may not.
pub const DEPTH_MAX: usize = 64;

type RawField<'a> = Option<&'a RawValue>;

/// A string, if the field is there.
pub(crate) fn text<'a>(name: &str, value: RawField<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    present(value)
        .map(|value| parse(name, value, "a string"))
        .transpose()
        .map(|text| text.map(|FieldText(text)| text))
}

/// A string that has to be there.
pub(crate) fn required_text<'a>(name: &str, value: RawField<'a>) -> Result<Cow<'a, str>, Refusal> {
    text(name, value)?.ok_or_else(|| missing(name, "a string"))
}

/// A user: a string, or a number, which is taken as its decimal digits.
pub(crate) fn user<'a>(name: &str, value: RawField<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(value) = present(value) else {
        return Ok(None);
    };
    let digits = value.get();
    let is_whole = digits
        .strip_prefix('-')
        .unwrap_or(digits)
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    if is_whole {
        return Ok(Some(Cow::Borrowed(digits)));
    }
    parse(name, value, "a string or a whole number").map(|FieldText(text)| Some(text))
}

/// A whole number from 0 on, if the field is there.
pub(crate) fn number(name: &str, value: RawField<'_>) -> Result<Option<u64>, Refusal> {
    present(value)
        .map(|value| parse(name, value, "a whole number"))
        .transpose()
}

/// `true` or `false`, if the field is there.
pub(crate) fn flag(name: &str, value: RawField<'_>) -> Result<Option<bool>, Refusal> {
    present(value)
        .map(|value| parse(name, value, "true or false"))
        .transpose()
}

/// An array of strings, if the field is there.
pub(crate) fn texts<'a>(
    name: &str,
    value: RawField<'a>,
    count_max: usize,
) -> Result<Option<Vec<Cow<'a, str>>>, Refusal> {
    let Some(value) = present(value) else {
        return Ok(None);
    };
    let texts: Vec<FieldText<'a>> = parse(name, value, "an array of strings")?;
    if texts.len() > count_max {
        return Err(Refusal::bad_request(format!(
            "{name} has {} entries, but at most {count_max} are taken",
            texts.len()
        )));
    }
    Ok(Some(
        texts.into_iter().map(|FieldText(text)| text).collect(),
    ))
}

/// Any JSON of a bounded depth, as it was written.
pub(crate) fn data<'a>(name: &str, value: RawField<'a>) -> Result<&'a str, Refusal> {
    let text = value.ok_or_else(|| missing(name, "any JSON"))?.get();
    if depth(text) > DEPTH_MAX {
        return Err(Refusal::bad_request(format!(
            "{name} is nested deeper than {DEPTH_MAX} levels"
        )));
    }
    Ok(text)
}

/// A value of a shape that serde knows.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    name: &str,
    value: &'a RawValue,
    what: &str,
) -> Result<T, Refusal> {
    serde_json::from_str(value.get())
        .map_err(|_| Refusal::bad_request(format!("{name} has to be {what}")))
}

pub(crate) fn missing(name: &str, what: &str) -> Refusal {
    Refusal::bad_request(format!("{name} is missing; it has to be {what}"))
}

/// A field whose `null` is a value too: `Option` alone would take it for a missing one.
pub(crate) fn even_null<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<RawField<'a>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// `null` is as good as nothing.
fn present(value: RawField<'_>) -> RawField<'_> {
    value.filter(|value| value.get() != "null")
}

/// Borrowed where no escape has to be resolved; `Cow` alone would always copy.
#[derive(Deserialize)]
struct FieldText<'a>(#[serde(borrow)] Cow<'a, str>);

/// How deep arrays and objects are nested in valid JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_levels_and_not_what_strings_hold() {
        for (json, levels) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[[1],{"b":2}]}"#, 3),
            (r#"["[[\"[",1]"#, 1),
        ] {
            assert_eq!(depth(json), levels, "{json}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let raw: Box<RawValue> = RawValue::from_string(deep).unwrap();
        assert!(
            data("data", Some(&raw)).is_err(),
            "refused, and no stack overflows"
        );
    }

    #[test]
    fn an_error_names_the_field_and_what_it_has_to_be() {
        let raw: Box<RawValue> = RawValue::from_string("[1]".into()).unwrap();
        let refusal = required_text("room", Some(&raw)).unwrap_err();
        assert_eq!(refusal.message, "room has to be a string");
        let refusal = number("limit", Some(&raw)).unwrap_err();
        assert_eq!(refusal.message, "limit has to be a whole number");
        let refusal = required_text("room", None).unwrap_err();
        assert_eq!(refusal.message, "room is missing; it has to be a string");
    }

    #[test]
    fn a_user_may_be_a_number() {
        for (json, uid) in [("17", "17"), (r#""ann""#, "ann"), (r#""\u00e4""#, "ä")] {
            let raw: Box<RawValue> = RawValue::from_string(json.into()).unwrap();
            assert_eq!(user("uid", Some(&raw)).unwrap().as_deref(), Some(uid));
        }
        for json in ["1.5", "true", "1e3", "{}"] {
            let raw: Box<RawValue> = RawValue::from_string(json.into()).unwrap();
            assert!(user("uid", Some(&raw)).is_err(), "{json}");
        }
    }
}
