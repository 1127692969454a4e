//! Text of a peer, as it may stand in a log line.

use std::fmt;

/// Characters of a peer's text that a log line shows: enough to recognize it by, and too few to fill
/// a disk with.
const SHOWN_MAX: usize = 200;

/// Text that came from a peer: quoted, escaped, and cut, so that it can neither begin a line of its own
/// nor speak to a terminal.
#[derive(Debug, Clone, Copy)]
pub struct ForeignText<'a>(pub &'a str);

impl fmt::Display for ForeignText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_its_line_and_is_no_longer_than_a_log_line_should_be() {
        let forged = "x\n2026-01-01 ERROR all is lost\u{1b}[2J\r\u{202e}";
        let shown = ForeignText(forged).to_string();
        assert!(!shown.contains(char::is_control), "{shown}");
        assert!(!shown.contains('\u{202e}'), "{shown}");
        let long = "ü".repeat(1 << 20);
        let shown = ForeignText(&long).to_string();
        assert!(
            shown.len() < 500 && shown.ends_with("(2097152 bytes)"),
            "{shown}"
        );
        assert_eq!(ForeignText("busy").to_string(), "\"busy\"");
    }
}
