//! Rules for channels: a pattern of their names, and values with their units behind it, such as
//! `team-* messages=1000 age=7d`.

use tidings::chat::Pattern;

/// Units with their sizes.
pub(super) type Units = &'static [(&'static str, u64)];

/// No unit: a plain number.
pub(super) const NUMBERS: Units = &[("", 1)];

/// Units of time, in milliseconds.
pub(super) const TIMES: Units = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Units of size, in bytes.
pub(super) const SIZES: Units = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("", 1),
];

/// Reads a rule: its pattern and the values of these names. `None` if the rule has no value, the
/// same one twice, or one that is no whole number above 0 with a unit of its name.
pub(super) fn channel_rule<const N: usize>(
    text: &str,
    names: [(&str, Units); N],
) -> Option<(Pattern, [Option<u64>; N])> {
    // Names of channels may have spaces and signs in them, so values are taken off the end.
    let (mut pattern, mut values) = (text.trim(), [None; N]);
    while let Some((before, last)) = pattern.rsplit_once(' ') {
        let Some((name, value)) = last.split_once('=') else {
            break;
        };
        let Some(place) = names.iter().position(|(known, _)| *known == name) else {
            break;
        };
        let value = number(value, names[place].1)?;
        if values[place].replace(value).is_some() {
            return None;
        }
        pattern = before.trim_end();
    }
    let has_value = values.iter().any(Option::is_some);
    (has_value && (1..=255).contains(&pattern.len())).then(|| (Pattern::new(pattern), values))
}

/// Reads a whole number above 0 with one of these units.
fn number(text: &str, units: Units) -> Option<u64> {
    let digits = text.find(|digit: char| !digit.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    let number: u64 = number.parse().ok()?;
    number.checked_mul(*size).filter(|number| *number > 0)
}
