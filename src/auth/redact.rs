//! Addresses as others may see them: without the secrets that stand in some.

use std::borrow::Cow;

/// The text that stands in place of a secret.
pub const HIDDEN: &str = "***";

/// Fields of a query that hold secrets.
const SECRET_FIELDS: [&str; 5] = ["token", "key", "api_key", "secret", "password"];

/// Hides users and passwords of the addresses in a text, and the secrets in their queries.
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("://") {
        let (scheme, address) = rest.split_at(begin + "://".len());
        shown.push_str(scheme);
        let end = address.find(['/', '?', '#', ' ']).unwrap_or(address.len());
        rest = match address[..end].rfind('@') {
            Some(host) => {
                shown.push_str(HIDDEN);
                &address[host..]
            }
            None => address,
        };
    }
    shown.push_str(rest);
    Cow::Owned(without_secret_fields(&shown))
}

/// Hides the values of the fields of queries that hold secrets.
fn without_secret_fields(text: &str) -> String {
    let parts = text.split_inclusive(['?', '&', '#', ' ']);
    let hidden = parts.map(|part| {
        let (field, end) = match part.strip_suffix(['?', '&', '#', ' ']) {
            Some(field) => part.split_at(field.len()),
            None => (part, ""),
        };
        match field.split_once('=') {
            Some((name, _)) if SECRET_FIELDS.contains(&name) => {
                format!("{name}={HIDDEN}{end}").into()
            }
            _ => Cow::Borrowed(part),
        }
    });
    hidden.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_everything_but_its_secrets() {
        for (address, shown) in [
            ("ws://a:9502/ws?room=tea", "ws://a:9502/ws?room=tea"),
            ("no address, token=x", "no address, token=x"),
            ("ws://ann:hunter2@a:9502/ws", "ws://***@a:9502/ws"),
            ("ws://hunter2@a", "ws://***@a"),
            ("ws://a@b:hunter2@c/", "ws://***@c/"),
            (
                "ws://u:p@a/link,ws://v:q@b/link",
                "ws://***@a/link,ws://***@b/link",
            ),
            (
                "ws://a/ws?uid=u&token=hunter2&room=r",
                "ws://a/ws?uid=u&token=***&room=r",
            ),
            ("ws://a/ws?token=hunter2#x", "ws://a/ws?token=***#x"),
            ("ws://a/@b?x=c@d", "ws://a/@b?x=c@d"),
        ] {
            assert_eq!(redacted(address), shown);
        }
    }
}
