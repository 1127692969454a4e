//! Reading the fields of a JSON object one by one, so that an error can name the field.
//!
//! Values stay text ([`RawJson`]) until they are asked for; what a client nests inside its `data`
//! is never built as a tree.

use std::borrow::Cow;

use serde::Deserialize;

use super::body;
use super::raw_json::RawJson;
use super::refusal::Refusal;
use super::strict;

type RawField<'a> = Option<RawJson<'a>>;

/// Reads a string, if the field is there.
pub(crate) fn text<'a>(name: &str, value: RawField<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    present(value)
        .map(|value| string(name, value, "a string"))
        .transpose()
}

/// Reads a string that has to be there.
pub(crate) fn required_text<'a>(name: &str, value: RawField<'a>) -> Result<Cow<'a, str>, Refusal> {
    text(name, value)?.ok_or_else(|| missing(name, "a string"))
}

/// Reads a user or an id: a string, or a whole number, which is taken as its decimal digits.
pub(crate) fn text_or_digits<'a>(
    name: &str,
    value: RawField<'a>,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(value) = present(value) else {
        return Ok(None);
    };
    match digits(value) {
        Some(digits) => Ok(Some(Cow::Borrowed(digits))),
        None => string(name, value, "a string or a whole number").map(Some),
    }
}

/// Reads a string, which needs nothing but its quotes taken off where it has no escape.
fn string<'a>(name: &str, value: RawJson<'a>, what: &str) -> Result<Cow<'a, str>, Refusal> {
    match value.plain_string() {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => parse(name, value, what).map(|FieldText(text)| text),
    }
}

/// Returns the text of a value that is a whole number.
fn digits(value: RawJson<'_>) -> Option<&str> {
    let text = value.get();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    unsigned
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text)
}

/// Reads a whole number from 0 on, if the field is there.
pub(crate) fn number(name: &str, value: RawField<'_>) -> Result<Option<u64>, Refusal> {
    present(value)
        .map(|value| parse(name, value, "a whole number"))
        .transpose()
}

/// Reads `true` or `false`, if the field is there.
pub(crate) fn flag(name: &str, value: RawField<'_>) -> Result<Option<bool>, Refusal> {
    present(value)
        .map(|value| match value.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong(name, "true or false")),
        })
        .transpose()
}

/// Reads an array of strings, if the field is there.
pub(crate) fn texts<'a>(
    name: &str,
    value: RawField<'a>,
    count_max: usize,
) -> Result<Option<Vec<Cow<'a, str>>>, Refusal> {
    let texts = array::<FieldText<'a>>(name, value, "an array of strings", count_max)?;
    Ok(texts.map(|texts| texts.into_iter().map(|FieldText(text)| text).collect()))
}

/// Reads an array of users, each a string or a whole number, if the field is there.
pub(crate) fn users<'a>(
    name: &str,
    value: RawField<'a>,
    count_max: usize,
) -> Result<Option<Vec<Cow<'a, str>>>, Refusal> {
    let what = "an array of strings or whole numbers";
    let Some(values) = array::<RawJson<'a>>(name, value, what, count_max)? else {
        return Ok(None);
    };
    let user = |value: RawJson<'a>| match digits(value) {
        Some(digits) => Ok(Cow::Borrowed(digits)),
        None => string(name, value, what),
    };
    values
        .into_iter()
        .map(user)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn array<'a, T: Deserialize<'a>>(
    name: &str,
    value: RawField<'a>,
    what: &str,
    count_max: usize,
) -> Result<Option<Vec<T>>, Refusal> {
    let Some(value) = present(value) else {
        return Ok(None);
    };
    let values: Vec<T> = parse(name, value, what)?;
    if values.len() > count_max {
        return Err(Refusal::bad_request(format!(
            "{name} has {} entries, but at most {count_max} are taken",
            values.len()
        )));
    }
    Ok(Some(values))
}

/// Returns any JSON that every strict reader can read, as the client wrote it.
pub(crate) fn data<'a>(name: &str, value: RawField<'a>) -> Result<&'a str, Refusal> {
    let value = value.ok_or_else(|| missing(name, "any JSON"))?;
    if !value.is_plain() {
        let problem = |problem| Refusal::bad_request(format!("{name} {problem}"));
        strict::check(value.get()).map_err(problem)?;
    }
    Ok(value.get())
}

/// Reads an object of a shape that serde knows. An empty array counts as an empty object, since PHP
/// writes both alike.
pub(crate) fn object<'a, T: Deserialize<'a>>(
    name: &str,
    value: RawJson<'a>,
    what: &str,
) -> Result<T, Refusal> {
    body::object(name, value.get()).map_err(|_| wrong(name, what))
}

/// Reads a value of a shape that serde knows.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    name: &str,
    value: RawJson<'a>,
    what: &str,
) -> Result<T, Refusal> {
    serde_json::from_str(value.get()).map_err(|_| wrong(name, what))
}

fn wrong(name: &str, what: &str) -> Refusal {
    Refusal::bad_request(format!("{name} has to be {what}"))
}

pub(crate) fn missing(name: &str, what: &str) -> Refusal {
    Refusal::bad_request(format!("{name} is missing; it has to be {what}"))
}

/// Takes `null` for a missing field, as everywhere but in `data`.
pub(crate) fn present(value: RawField<'_>) -> RawField<'_> {
    value.filter(|value| value.get() != "null")
}

/// A string, borrowed where no escape has to be resolved; `Cow` alone would always copy.
#[derive(Deserialize)]
pub(crate) struct FieldText<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// Declares an object by its fields, which stay unread; a `null` is kept as one. Of the fields that
/// aren't declared the first is kept by its name, so that whoever reads the object can refuse it or
/// pass over it.
macro_rules! raw_fields {
    ($(#[doc = $doc:literal])+ $name:ident { $($field:ident = $key:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Default)]
        pub(crate) struct $name<'a> {
            $(pub(crate) $field: Option<$crate::api::raw_json::RawJson<'a>>,)+
            pub(crate) unknown: Option<std::borrow::Cow<'a, str>>,
        }

        impl<'a> $name<'a> {
            /// Reads the fields of an object at the scanner's place; `None` where serde has to do it.
            pub(crate) fn scan(scanner: &mut $crate::api::scan::Scanner<'a>) -> Option<Self> {
                let mut fields = Self::default();
                scanner.object(|scanner, key| {
                    let value = scanner.value()?;
                    match key {
                        $($key => fields.$field.replace(value).is_none().then_some(()),)+
                        _ => {
                            fields.unknown.get_or_insert(key.into());
                            Some(())
                        }
                    }
                })?;
                Some(fields)
            }

            /// Reads an object; `what` is its name in a refusal.
            ///
            /// # Errors
            ///
            /// The text is no JSON, or no object, or has a field twice.
            pub(crate) fn read(what: &str, text: &'a str) -> Result<Self, $crate::api::Refusal> {
                let mut scanner = $crate::api::scan::Scanner::new(text);
                match Self::scan(&mut scanner).filter(|_| scanner.is_done()) {
                    Some(fields) => Ok(fields),
                    None => $crate::api::body::object(what, text),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name<'de> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name<'de>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<Self::Value, A::Error> {
                        let mut fields = $name::default();
                        while let Some($crate::api::field::FieldText(key)) = map.next_key()? {
                            match &*key {
                                $($key => {
                                    if fields.$field.replace(map.next_value()?).is_some() {
                                        return Err(serde::de::Error::duplicate_field($key));
                                    }
                                })+
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                    fields.unknown.get_or_insert(key);
                                }
                            }
                        }
                        Ok(fields)
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    };
}
pub(crate) use raw_fields;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_field_and_what_it_has_to_be() {
        let raw = RawJson::new("[1]", true);
        let refusal = required_text("room", Some(raw)).unwrap_err();
        assert_eq!(refusal.message, "room has to be a string");
        let refusal = number("limit", Some(raw)).unwrap_err();
        assert_eq!(refusal.message, "limit has to be a whole number");
        let refusal = required_text("room", None).unwrap_err();
        assert_eq!(refusal.message, "room is missing; it has to be a string");
    }

    #[test]
    fn a_user_may_be_a_number() {
        for (json, uid) in [("17", "17"), (r#""ann""#, "ann"), (r#""\u00e4""#, "ä")] {
            for is_plain in [false, !json.contains('\\')] {
                let read = text_or_digits("uid", Some(RawJson::new(json, is_plain))).unwrap();
                assert_eq!(read.as_deref(), Some(uid));
            }
        }
        for json in ["1.5", "true", "1e3", "{}"] {
            let raw = RawJson::new(json, true);
            assert!(text_or_digits("uid", Some(raw)).is_err(), "{json}");
        }
        let raw = RawJson::new(r#"[17,"ann"]"#, true);
        let read = users("users", Some(raw), 2).unwrap().unwrap();
        assert_eq!(read, ["17", "ann"]);
    }
}
