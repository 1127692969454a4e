//! Goes once over JSON text and finds the values in it, without building anything.
//!
//! What it doesn't take is either wrong or rare: it gives `None`, and whoever asked has serde read
//! the text, which takes the rare and says what is wrong. So both have to agree on everything that
//! this one takes; the tests hold them together.

use super::raw_json::RawJson;
use super::strict::{DEPTH_MAX, DIGITS_ALWAYS_TAKEN};

/// A place in a JSON text.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// The values around the present one, a bit each, the innermost lowest: 1 is an object.
#[derive(Debug, Default)]
struct Nesting {
    objects: u64,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// Begins at the first value of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        let mut scanner = Self { text, at: 0 };
        scanner.skip_space();
        scanner
    }

    /// Reads an object, and calls `field` at the beginning of each value with the name before it;
    /// `field` has to read that value.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        self.skip_space();
        if self.peek() == Some(b'}') {
            return self.take(b'}');
        }
        loop {
            let key = self.key()?;
            field(self, key)?;
            self.skip_space();
            match self.next()? {
                b',' => self.skip_space(),
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Reads an array, and calls `item` at the beginning of each value; `item` has to read it.
    pub(crate) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        self.skip_space();
        if self.peek() == Some(b']') {
            return self.take(b']');
        }
        loop {
            item(self)?;
            self.skip_space();
            match self.next()? {
                b',' => self.skip_space(),
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Reads any value, nested no deeper than strict readers can follow.
    pub(crate) fn value(&mut self) -> Option<RawJson<'a>> {
        let start = self.at;
        let (mut is_plain, mut around) = (true, Nesting::default());
        loop {
            match self.peek()? {
                b'"' => is_plain &= self.string()?,
                open @ (b'{' | b'[') => {
                    let is_object = open == b'{';
                    self.at += 1;
                    self.skip_space();
                    around.enter(is_object)?;
                    if self.peek()? != around.closer() {
                        if is_object {
                            is_plain &= self.any_key()?;
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => is_plain &= self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return None,
            }
            // The value has ended, and with it those around that end here.
            loop {
                if around.depth == 0 {
                    return Some(RawJson::new(&self.text[start..self.at], is_plain));
                }
                self.skip_space();
                match self.next()? {
                    b',' => {
                        self.skip_space();
                        if around.closer() == b'}' {
                            is_plain &= self.any_key()?;
                        }
                        break;
                    }
                    byte if byte == around.closer() => around.leave(),
                    _ => return None,
                }
            }
        }
    }

    /// Whether nothing but space is left.
    pub(crate) fn is_done(&mut self) -> bool {
        self.skip_space();
        self.at == self.text.len()
    }

    /// Reads the name of a field that has no escape, and the colon behind it.
    fn key(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        (self.peek() == Some(b'"') && self.string()?).then_some(())?;
        let key = &self.text[start..self.at - 1];
        self.colon()?;
        Some(key)
    }

    /// Reads the name of a field and the colon behind it; whether the name has no escape.
    fn any_key(&mut self) -> Option<bool> {
        (self.peek() == Some(b'"')).then_some(())?;
        let is_plain = self.string()?;
        self.colon()?;
        Some(is_plain)
    }

    fn colon(&mut self) -> Option<()> {
        self.skip_space();
        self.take(b':')?;
        self.skip_space();
        Some(())
    }

    /// Reads a string; whether it has no escape.
    fn string(&mut self) -> Option<bool> {
        let bytes = self.text.as_bytes();
        let (mut at, mut is_plain) = (self.at + 1, true);
        loop {
            at += plain_size(&bytes[at..]);
            match bytes.get(at)? {
                b'"' => {
                    self.at = at + 1;
                    return Some(is_plain);
                }
                b'\\' => {
                    is_plain = false;
                    at += escape_size(&bytes[at + 1..])? + 1;
                }
                _ => return None,
            }
        }
    }

    /// Reads a number; whether it is surely within a double.
    fn number(&mut self) -> Option<bool> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => _ = self.skip_digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            (self.skip_digits() > 0).then_some(())?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            (self.skip_digits() > 0).then_some(())?;
        }
        Some(!has_exponent && self.at - start <= DIGITS_ALWAYS_TAKEN)
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        let is_there = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        is_there.then_some(())
    }

    fn skip_digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }
}

impl Nesting {
    fn enter(&mut self, is_object: bool) -> Option<()> {
        self.objects = self.objects << 1 | u64::from(is_object);
        self.depth += 1;
        (self.depth <= DEPTH_MAX).then_some(())
    }

    fn leave(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    /// The byte that ends the innermost value.
    fn closer(&self) -> u8 {
        match self.objects & 1 {
            1 => b'}',
            _ => b']',
        }
    }
}

/// Counts the bytes before a quote, a backslash or a control character, eight at a time: what people
/// write is mostly the inside of strings.
pub(super) fn plain_size(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHEST: u64 = ONES << 7;
    let mut size = 0;
    while let Some(eight) = bytes[size..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        // The highest bit of each byte that is 0; above the first of them others may be set as well.
        let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
        let control = eight.wrapping_sub(ONES * 0x20) & !eight;
        let quote = zeros(eight ^ (ONES * u64::from(b'"')));
        let backslash = zeros(eight ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | backslash) & HIGHEST;
        if found != 0 {
            return size + found.trailing_zeros() as usize / 8;
        }
        size += 8;
    }
    let rest = bytes[size..].iter();
    size + rest
        .take_while(|byte| **byte >= 0x20 && !matches!(byte, b'"' | b'\\'))
        .count()
}

/// Counts the bytes of an escape behind its backslash.
fn escape_size(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => (bytes.get(1..5)?.iter().all(u8::is_ascii_hexdigit)).then_some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::strict;
    use super::*;

    fn scanned(text: &str) -> Option<RawJson<'_>> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.is_done().then_some(value)
    }

    /// Holds a text against serde and against the check for strict readers.
    fn agree(text: &str) {
        let read = serde_json::from_str::<&RawValue>(text);
        match scanned(text) {
            Some(value) => {
                assert_eq!(read.map(RawValue::get).ok(), Some(value.get()), "{text:?}");
                let strict = strict::check(value.get());
                assert!(!value.is_plain() || strict.is_ok(), "{text:?}");
                let string = serde_json::from_str::<&str>(text).ok();
                assert_eq!(value.plain_string(), string, "{text:?}");
            }
            // Only what is nested too deep is left to others.
            None => assert!(read.is_err() || text.contains("[[[[[[[[["), "{text:?}"),
        }
    }

    const TEXTS: &[&str] = &[
        r#"{"type":"say","to":{"room":"a"},"data":{"a":[1,-2.5e+7,true],"b":""}}"#,
        r#" [ { } , [ ] , "\u00e4\n\"\\" , null , false ] "#,
        r#""sixteen bytes or more, ä, and a tab\t""#,
        "-0.0",
        "1e999",
        "",
        "{",
    ];

    #[test]
    fn it_takes_what_serde_takes_with_any_byte_replaced_left_out_or_added() {
        let others = b"{}[]\",:\\ \n\x01-+.e0u1tnx\x7f";
        for text in TEXTS {
            agree(text);
            for at in 0..=text.len() {
                for other in others {
                    for kept in [0, 1] {
                        let Some(rest) = text.as_bytes().get(at + kept..) else {
                            continue;
                        };
                        let changed = [&text.as_bytes()[..at], &[*other], rest].concat();
                        if let Ok(text) = std::str::from_utf8(&changed) {
                            agree(text);
                        }
                    }
                }
                let rest = text.as_bytes().get(at + 1..).unwrap_or_default();
                let shorter = [&text.as_bytes()[..at], rest].concat();
                if let Ok(text) = std::str::from_utf8(&shorter) {
                    agree(text);
                }
            }
        }
    }

    #[test]
    fn it_takes_what_serde_takes_of_random_texts() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        let parts = [
            "{",
            "}",
            "[",
            "]",
            "\"a\"",
            ":",
            ",",
            "1",
            "-0.5",
            "1e5",
            "true",
            "null",
            " ",
            r#""\ud83d""#,
            "\"long enough for a word\"",
            "{}",
            "[]",
        ];
        for _ in 0..200_000 {
            let text: String = (0..random(9)).map(|_| parts[random(parts.len())]).collect();
            agree(&text);
        }
    }

    #[test]
    fn values_nested_deeper_than_strict_readers_follow_are_left_to_others() {
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(scanned(&nested(DEPTH_MAX)).is_some());
        assert_eq!(scanned(&nested(DEPTH_MAX + 1)), None);
        assert_eq!(scanned(&nested(100_000)), None);
    }

    #[test]
    fn the_end_of_a_string_is_found_at_every_place() {
        for size in 0..40 {
            for end in ["\"", "\\", "\n", "\u{1f}"] {
                for before in ["x", "\u{7f}", "ä"] {
                    let text = before.repeat(size) + end + "\"\n\\";
                    assert_eq!(plain_size(text.as_bytes()), before.len() * size, "{text:?}");
                }
            }
        }
    }
}
