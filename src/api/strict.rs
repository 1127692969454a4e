//! The check for values that a strict reader of JSON refuses although the grammar allows them (RFC
//! 8259 §6, §8.2, §9): half of a surrogate pair, a number beyond a double, and values nested
//! without end.
//!
//! One pass over bytes whose grammar has been checked already; nothing is allocated, and neither
//! strings nor numbers are built.

use std::fmt;

use memchr::memchr2;

/// Levels of arrays and objects in one value. Our own reader doesn't recurse and takes any number;
/// 64 is half of what `serde_json` takes and an eighth of PHP's default.
pub const DEPTH_MAX: usize = 64;

/// Digits that every number may have: the largest double has 309 before its point.
pub(super) const DIGITS_ALWAYS_TAKEN: usize = 300;

/// The reason why a strict reader can't read a value; places are bytes from the value's first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StrictProblem {
    /// The value is nested deeper than [`DEPTH_MAX`].
    Depth,
    /// An escape that is half of a pair (RFC 8259 §7).
    Surrogate(usize),
    /// A number that is infinite as a double.
    Number(usize),
}

impl fmt::Display for StrictProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth => write!(f, "is nested deeper than {DEPTH_MAX} levels"),
            Self::Surrogate(place) => {
                write!(
                    f,
                    "has half of a surrogate pair at byte {place}, which is no character"
                )
            }
            Self::Number(place) => write!(f, "has a number beyond a double at byte {place}"),
        }
    }
}

/// Checks a value of valid grammar.
pub(super) fn check(json: &str) -> Result<(), StrictProblem> {
    let bytes = json.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at + 1)?;
                continue;
            }
            b'-' | b'0'..=b'9' => {
                at = number_end(json, at)?;
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(StrictProblem::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Checks the escapes of a string whose text begins at `at`; gives the place behind its end.
fn string_end(bytes: &[u8], mut at: usize) -> Result<usize, StrictProblem> {
    while let Some(further) = memchr2(b'"', b'\\', &bytes[at..]) {
        at += further;
        if bytes[at] == b'"' {
            return Ok(at + 1);
        }
        at = match unit(bytes, at) {
            None => at + 2,
            Some(0xD800..=0xDBFF) if matches!(unit(bytes, at + 6), Some(0xDC00..=0xDFFF)) => {
                at + 12
            }
            Some(0xD800..=0xDFFF) => return Err(StrictProblem::Surrogate(at)),
            Some(_) => at + 6,
        };
    }
    Ok(bytes.len())
}

/// The UTF-16 unit of an escape `\u….` at a place; `None` where there is another one, or none.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Checks the number at a place; gives the place behind its end. Only one with an exponent or with
/// very many digits can be too large, so that no other is taken for a double.
fn number_end(json: &str, at: usize) -> Result<usize, StrictProblem> {
    let mut has_exponent = false;
    let size = json.as_bytes()[at..]
        .iter()
        .position(|byte| match byte {
            b'0'..=b'9' | b'.' | b'-' | b'+' => false,
            b'e' | b'E' => {
                has_exponent = true;
                false
            }
            _ => true,
        })
        .unwrap_or(json.len() - at);
    let number = &json[at..at + size];
    let may_be_large = has_exponent || size > DIGITS_ALWAYS_TAKEN;
    // The reader of our own client has the last word: it rounds on its way.
    if may_be_large && serde_json::from_str::<f64>(number).is_err() {
        return Err(StrictProblem::Number(at));
    }
    Ok(at + size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_reader_takes_is_taken() {
        for json in [
            "null",
            "-0.5e-7",
            "1e308",
            "-1.7976931348623157E+308",
            "1e-999",
            "0e999",
            r#""""#,
            r#""\ud83d\ude00 \\ud83d \u0000 \" [[[""#,
            r#"{"a":[1,{"\u00e4":"\\"}],"b":"]"}"#,
        ] {
            assert_eq!(check(json), Ok(()), "{json}");
            let read: Result<serde_json::Value, _> = serde_json::from_str(json);
            assert!(read.is_ok(), "{json}");
        }
        assert_eq!(check(&"9".repeat(308)), Ok(()));
    }

    #[test]
    fn what_a_strict_reader_refuses_is_refused_with_its_place() {
        use StrictProblem::{Number, Surrogate};
        for (json, problem) in [
            (r#""\ud83d""#, Surrogate(1)),
            (r#""a\udc00""#, Surrogate(2)),
            (r#""\ude00\ud83d""#, Surrogate(1)),
            (r#""\ud83d\ud83d\ude00""#, Surrogate(1)),
            (r#""\ud83d\\ude00""#, Surrogate(1)),
            (r#"{"a":"\u00e4","\udC00":1}"#, Surrogate(15)),
            ("1e999", Number(0)),
            ("[1,-1E+400]", Number(3)),
            ("[1.5,1.8e308]", Number(5)),
        ] {
            assert_eq!(check(json), Err(problem), "{json}");
            let read: Result<serde_json::Value, _> = serde_json::from_str(json);
            assert!(read.is_err(), "{json}");
        }
        assert_eq!(check(&"9".repeat(400)), Err(Number(0)));
    }

    #[test]
    fn depth_counts_levels_and_not_what_strings_hold() {
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
        assert_eq!(check(&nested(DEPTH_MAX + 1)), Err(StrictProblem::Depth));
        assert_eq!(check(&nested(100_000)), Err(StrictProblem::Depth));
        assert_eq!(check(&format!("[{}1]", "[],".repeat(100))), Ok(()));
        assert_eq!(check(&format!("\"{}\"", "[".repeat(100))), Ok(()));
    }
}
