//! Patterns of channel names: `team-*`.

/// A name in which each `*` stands for any run of characters, also none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Makes a pattern of any text; there is no way to quote a `*`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `name` fits.
    ///
    /// Bytes are compared: a `*` may end inside a character only where the next literal begins
    /// there too, and literals begin at characters. Takes at most pattern times name steps.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where to go on when what follows the last `*` doesn't fit: one byte more goes to it.
        let mut retry = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    p += 1;
                    retry = Some((p, n));
                }
                Some(byte) if *byte == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match &mut retry {
                    Some((after_star, from)) => {
                        *from += 1;
                        (p, n) = (*after_star, *from);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run() {
        for (pattern, yes, no) in [
            ("lobby", &["lobby"][..], &["lobby2", "lobb", ""][..]),
            (
                "team-*",
                &["team-", "team-a", "team-*"],
                &["team", "steam-a"],
            ),
            ("*", &["", "a", "@ann", "*"], &[]),
            ("*-a-*-b", &["x-a-a-b-b", "-a--b"], &["x-a-b", "-a--b-"]),
            ("", &[""], &["a"]),
            ("**a", &["a", "ba"], &["ab"]),
            ("ö*", &["ö", "öl"], &["o"]),
        ] {
            let pattern = Pattern::new(pattern);
            assert!(yes.iter().all(|name| pattern.matches(name)), "{pattern:?}");
            assert!(!no.iter().any(|name| pattern.matches(name)), "{pattern:?}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_pattern_times_name() {
        let pattern = Pattern::new(&"*a".repeat(100));
        assert!(!pattern.matches(&"a".repeat(99)));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(254))));
    }
}
