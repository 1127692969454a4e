//! The pairs of a query, `name=value&…`, decoded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::refusal::Refusal;

/// A name and its value.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Reads the pairs of a query in their order; `+` is a space.
///
/// # Errors
///
/// A name or a value isn't UTF-8 once it is decoded: another name would come of it.
pub(crate) fn pairs(query: Option<&str>) -> Result<Vec<Pair<'_>>, Refusal> {
    let query = query.unwrap_or_default();
    // `form_urlencoded` would put U+FFFD in place of each wrong byte.
    for part in query.split(['&', '=']) {
        if part.contains('%') && percent_decode_str(part).decode_utf8().is_err() {
            let message = format!("{part:?} in the query is no UTF-8");
            return Err(Refusal::bad_request(message));
        }
    }
    Ok(form_urlencoded::parse(query.as_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_what_is_no_utf_8_is_refused() {
        let read = pairs(Some("uid=%C3%A4&room=a+b&x")).unwrap();
        let read: Vec<(&str, &str)> = read
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(read, [("uid", "ä"), ("room", "a b"), ("x", "")]);
        assert_eq!(pairs(None), Ok(Vec::new()));
        for wrong in ["uid=%ff", "uid=a&%C3=1", "uid=%C3&x=%A4"] {
            let refusal = pairs(Some(wrong)).unwrap_err();
            assert!(
                refusal.message.ends_with("in the query is no UTF-8"),
                "{wrong}"
            );
        }
    }
}
