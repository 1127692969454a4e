//! The query of a request target: what stands behind the `?`.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::api::query::pairs;
use crate::api::refusal::Refusal;

/// Entries of a list, where the client doesn't say: a page that a person looks through.
const LIST_LIMIT: u64 = 100;

/// Entries of a list at the most: an answer of some 100 KB.
const LIST_LIMIT_MAX: u64 = 1_000;

/// The fields of a query, each with its values.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    fields: HashMap<Cow<'a, str>, Vec<Cow<'a, str>>>,
}

impl<'a> Query<'a> {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// The query isn't UTF-8, or has a field that isn't in `known`.
    pub(super) fn of(query: Option<&'a str>, known: &[&str]) -> Result<Self, Refusal> {
        let mut fields: HashMap<_, Vec<_>> = HashMap::new();
        for (name, value) in pairs(query)? {
            if !known.contains(&&*name) {
                let message = match known {
                    [] => format!("the query has {name:?}, but none is taken here"),
                    known => format!(
                        "the query has {name:?}, but takes only {}",
                        known.join(", ")
                    ),
                };
                return Err(Refusal::bad_request(message));
            }
            fields.entry(name).or_default().push(value);
        }
        Ok(Self { fields })
    }

    /// Returns the last value of a field.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.last().map(AsRef::as_ref)
    }

    /// Returns all values of a field, in order.
    pub(super) fn texts(&self, name: &str) -> &[Cow<'a, str>] {
        self.fields.get(name).map_or(&[], Vec::as_slice)
    }

    /// Reads the last value of a field as a whole number.
    ///
    /// # Errors
    ///
    /// The value is no whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if is_number => Ok(Some(number)),
            _ => Err(Refusal::bad_request(format!(
                "{name} in the query has to be a whole number"
            ))),
        }
    }

    /// Reads the `limit` of a list.
    pub(super) fn list_limit(&self) -> Result<usize, Refusal> {
        let limit = self.number("limit")?.unwrap_or(LIST_LIMIT);
        if !(1..=LIST_LIMIT_MAX).contains(&limit) {
            return Err(Refusal::bad_request(format!(
                "limit in the query has to be 1 to {LIST_LIMIT_MAX}"
            )));
        }
        Ok(limit as usize)
    }
}

/// Cuts a list, of which one entry more than the limit was asked for; `true` if the list goes on.
pub(super) fn cut<T>(list: &mut Vec<T>, limit: usize) -> bool {
    let more = list.len() > limit;
    list.truncate(limit);
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_apart_and_unknown_fields_are_named() {
        let query = Query::of(Some("uid=a&uid=b%20c&limit=5"), &["uid", "limit"]).unwrap();
        assert_eq!(query.texts("uid"), ["a", "b c"]);
        assert_eq!(query.number("limit"), Ok(Some(5)));
        let refusal = Query::of(Some("limt=5"), &["limit"]).unwrap_err();
        assert_eq!(
            refusal.message,
            "the query has \"limt\", but takes only limit"
        );
        for wrong in [
            "limit=x",
            "limit=-1",
            "limit=",
            "limit=%2B5",
            "limit=99999999999999999999",
        ] {
            assert!(
                Query::of(Some(wrong), &["limit"])
                    .unwrap()
                    .number("limit")
                    .is_err(),
                "{wrong}"
            );
        }
    }
}
