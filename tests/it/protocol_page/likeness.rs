//! Compares a frame with the one in the page, although some values differ from run to run.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

/// Mark of an object or text of which the page shows only a part.
pub const ELLIPSIS: &str = "…";

/// Kinds of values that the server makes up. Two values of one kind that differ in the page have to
/// differ in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Epoch,
    Id,
    Fd,
    Peer,
    Time,
}

/// The values of this run that stand for those in the page.
#[derive(Debug, Default)]
pub struct Bindings {
    real: HashMap<(Kind, String), Value>,
    of_page: HashMap<(Kind, String), String>,
}

impl Bindings {
    /// Puts the values of this run into a text of the client.
    pub fn put_into(&mut self, text: &str) -> String {
        if let Ok(value) = serde_json::from_str(text) {
            self.keep_ids(&value);
        }
        let mut text = text.to_owned();
        for ((kind, of_page), real) in &self.real {
            if matches!(kind, Kind::Epoch | Kind::Id | Kind::Fd) {
                text = replaced(&text, of_page, &shown(real));
            }
        }
        text
    }

    /// Keeps the ids that the client chooses as they are.
    fn keep_ids(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.keep_ids(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (&**name, value) {
                        ("data", _) => {}
                        ("id", Value::String(id)) => {
                            let key = (Kind::Id, id.clone());
                            self.real.entry(key.clone()).or_insert(value.clone());
                            self.of_page.entry(key).or_insert(id.clone());
                        }
                        _ => self.keep_ids(value),
                    }
                }
            }
            _ => {}
        }
    }

    /// Compares JSON; the error says where it differs.
    pub fn compare(&mut self, of_page: &Value, real: &Value) -> Result<(), String> {
        self.value("", of_page, real)
    }

    fn value(&mut self, at: &str, of_page: &Value, real: &Value) -> Result<(), String> {
        let name = at.rsplit('.').next().unwrap_or_default();
        let differs = || Err(format!("{at} is {real}, but {of_page} in the page"));
        if of_page.is_null() != real.is_null() {
            return differs();
        }
        match (name, of_page, real) {
            ("epoch", Value::String(_), Value::String(_)) => {
                self.bind(Kind::Epoch, at, of_page, real)
            }
            ("id", Value::String(_), Value::String(_)) => self.bind(Kind::Id, at, of_page, real),
            ("peer", Value::String(_), Value::String(_)) => {
                self.bind(Kind::Peer, at, of_page, real)
            }
            ("fd", Value::Number(_), Value::Number(_)) => self.bind(Kind::Fd, at, of_page, real),
            ("ts", Value::Number(_), Value::Number(_)) => self.bind(Kind::Time, at, of_page, real),
            ("connections", Value::Array(fds), Value::Array(real)) if fds.len() == real.len() => {
                fds.iter()
                    .zip(real)
                    .try_for_each(|(fd, real)| self.bind(Kind::Fd, at, fd, real))
            }
            ("message", Value::String(text), Value::String(real)) => {
                match without_times(&self.put_into(text)) == without_times(real) {
                    true => Ok(()),
                    false => differs(),
                }
            }
            // Opaque to the server: no value in there is made up.
            ("data", ..) => match of_page == real {
                true => Ok(()),
                false => differs(),
            },
            (_, Value::Object(fields), Value::Object(of_real)) => {
                let names: BTreeSet<&String> = fields.keys().chain(of_real.keys()).collect();
                let is_whole = !fields.contains_key(ELLIPSIS);
                for name in names {
                    let at = format!("{at}.{name}");
                    match (fields.get(name), of_real.get(name)) {
                        (Some(_), None) if name == ELLIPSIS => {}
                        (Some(_), None) => return Err(format!("{at} is missing")),
                        (None, Some(_)) if !is_whole => {}
                        (None, Some(extra)) => {
                            return Err(format!("{at} is {extra}, but not in the page"));
                        }
                        (Some(one), Some(real)) if is_free(fields, name) => {
                            if !one.is_u64() || !real.is_u64() {
                                return Err(format!("{at} is {real}, and no number"));
                            }
                        }
                        (Some(one), Some(real)) => self.value(&at, one, real)?,
                        (None, None) => unreachable!("a name is one of theirs"),
                    }
                }
                Ok(())
            }
            (_, Value::Array(values), Value::Array(of_real)) if values.len() == of_real.len() => {
                let each = values.iter().zip(of_real).enumerate();
                each.into_iter().try_for_each(|(place, (one, real))| {
                    self.value(&format!("{at}[{place}]"), one, real)
                })
            }
            _ if of_page == real => Ok(()),
            _ => differs(),
        }
    }

    fn bind(&mut self, kind: Kind, at: &str, of_page: &Value, real: &Value) -> Result<(), String> {
        let (page_text, real_text) = (shown(of_page), shown(real));
        let known = self.real.entry((kind, page_text.clone()));
        let known = known.or_insert_with(|| real.clone());
        if known != real {
            return Err(format!(
                "{at} is {real}, but {of_page} of the page was {known} before"
            ));
        }
        let before = self.of_page.entry((kind, real_text));
        let before = before.or_insert_with(|| page_text.clone());
        if *before != page_text && kind != Kind::Time {
            return Err(format!(
                "{at} is {real}, which was {before} in the page before, and now is {of_page}"
            ));
        }
        Ok(())
    }
}

/// Tells whether a number may be any: the server draws it, or counts it up all the time.
fn is_free(fields: &serde_json::Map<String, Value>, name: &str) -> bool {
    let is_drain = fields.get("type").is_some_and(|kind| kind == "drain");
    (is_drain && name == "after_ms") || name == "uptime_ms"
}

/// Shows a value as it stands in a text: without the quotes of a string.
fn shown(value: &Value) -> String {
    let text = value.as_str().map(str::to_owned);
    text.unwrap_or_else(|| value.to_string())
}

/// Replaces a word wherever it stands alone.
fn replaced(text: &str, word: &str, by: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(word) {
        let (before, behind) = (&rest[..at], &rest[at + word.len()..]);
        let alone = !before.ends_with(is_part) && !behind.starts_with(is_part);
        done.push_str(before);
        done.push_str(if alone { by } else { word });
        rest = behind;
    }
    done + rest
}

/// Makes `5 ms` and `998 ms` equal.
fn without_times(text: &str) -> String {
    let words = text.split(' ').collect::<Vec<_>>();
    let is_time = |at: usize| {
        words[at].bytes().all(|byte| byte.is_ascii_digit()) && words.get(at + 1) == Some(&"ms")
    };
    let words = (0..words.len()).map(|at| if is_time(at) { "#" } else { words[at] });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_field_too_many_or_too_few_or_another_value_differs() {
    let page = serde_json::json!({"type": "ok", "seq": 1, "epoch": "aaaaaa"});
    for (real, differs) in [
        (r#"{"type":"ok","seq":1,"epoch":"zzzzzz"}"#, false),
        (r#"{"type":"ok","seq":1}"#, true),
        (r#"{"type":"ok","seq":1,"epoch":"zzzzzz","new":1}"#, true),
        (r#"{"type":"ok","seq":2,"epoch":"zzzzzz"}"#, true),
        (r#"{"type":"ok","seq":1,"epoch":null}"#, true),
        (r#"{"type":"ok","seq":1,"epoch":7}"#, true),
    ] {
        let compared = Bindings::default().compare(&page, &serde_json::from_str(real).unwrap());
        assert_eq!(compared.is_err(), differs, "{real}: {compared:?}");
    }
}

#[test]
fn what_was_bound_has_to_come_again() {
    let mut bindings = Bindings::default();
    let position = |epoch: &str| serde_json::json!({ "epoch": epoch });
    let mut compare = |page: &str, real: &str| {
        let compared = bindings.compare(&position(page), &position(real));
        compared.is_ok()
    };
    assert!(compare("aaaaaa", "x1") && compare("aaaaaa", "x1"));
    assert!(!compare("aaaaaa", "x2"), "another value for the same word");
    assert!(!compare("bbbbbb", "x1"), "another word for the same value");
    assert_eq!(
        bindings.put_into(r#"{"epoch":"aaaaaa","id":"aaaaaa-1"}"#),
        r#"{"epoch":"x1","id":"aaaaaa-1"}"#
    );
}
