//! Texts and numbers as files and error messages spell them.

use crate::auth::redacted;

/// Writes a text as a basic string of TOML.
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

/// Writes a number with `_` between its thousands, as TOML allows.
pub(super) fn grouped(number: u64) -> String {
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

/// Quotes a text for an error message, without passwords in addresses, and cuts a long one: the
/// message stays on one line of a terminal, and its place in the file shows the rest.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let text = redacted(text);
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
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
