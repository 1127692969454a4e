//! A text with blanks, such as `{"say":{data}}`, from which each message or path is made.

use std::io::Write;

/// Values for the blanks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blanks<'a> {
    /// `{member}`: the connection's number; publishers come behind the members.
    pub(crate) member: u64,
    /// `{publisher}`: the number of the ordered stream that a message belongs to.
    pub(crate) publisher: u64,
    /// `{seq}`: the message's place in that stream, from 1; `{seq%N}`: the rest of its division by N.
    pub(crate) seq: u64,
    /// `{round}`: the number of the round, from 0; with it an id is used only once.
    pub(crate) round: u64,
    /// `{data}`: the message itself.
    pub(crate) data: &'a [u8],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Blank(Blank),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blank {
    Member,
    Publisher,
    Seq,
    SeqModulo(u64),
    Round,
    Data,
}

const MODULO: &str = "{seq%";

const BLANKS: [(&str, Blank); 5] = [
    ("{member}", Blank::Member),
    ("{publisher}", Blank::Publisher),
    ("{seq}", Blank::Seq),
    ("{round}", Blank::Round),
    ("{data}", Blank::Data),
];

/// A text with blanks; all other braces are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Finds the blanks of a text.
    pub(crate) fn new(text: &str) -> Self {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((place, size, blank)) = next_blank(rest) {
            parts.push(Part::Text(rest[..place].into()));
            parts.push(Part::Blank(blank));
            rest = &rest[place + size..];
        }
        parts.push(Part::Text(rest.into()));
        Self { parts }
    }

    /// Appends the text with its blanks filled in.
    pub(crate) fn fill(&self, blanks: &Blanks<'_>, to: &mut Vec<u8>) {
        for part in &self.parts {
            let number = match part {
                Part::Text(text) => {
                    to.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Blank(Blank::Data) => {
                    to.extend_from_slice(blanks.data);
                    continue;
                }
                Part::Blank(Blank::Member) => blanks.member,
                Part::Blank(Blank::Publisher) => blanks.publisher,
                Part::Blank(Blank::Seq) => blanks.seq,
                Part::Blank(Blank::SeqModulo(modulus)) => blanks.seq % modulus,
                Part::Blank(Blank::Round) => blanks.round,
            };
            write!(to, "{number}").expect("a Vec takes every byte");
        }
    }

    /// The text with its blanks filled in, of a template that was made from text.
    pub(crate) fn filled(&self, blanks: &Blanks<'_>) -> String {
        let mut text = Vec::new();
        self.fill(blanks, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The first blank of a text: where it begins, how long its name is, which it is.
fn next_blank(text: &str) -> Option<(usize, usize, Blank)> {
    let named = BLANKS
        .iter()
        .filter_map(|&(name, blank)| Some((text.find(name)?, name.len(), blank)));
    let modulo = text.match_indices(MODULO).find_map(|(place, _)| {
        let (digits, _) = text[place + MODULO.len()..].split_once('}')?;
        let modulus = digits.parse().ok().filter(|&modulus| modulus > 0)?;
        let size = MODULO.len() + digits.len() + 1;
        Some((place, size, Blank::SeqModulo(modulus)))
    });
    named.chain(modulo).min_by_key(|&(place, ..)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_division_is_a_blank_too() {
        let template = Template::new("r{seq%4}-{seq%0}-{seq%x}-{seq}");
        for (seq, text) in [
            (3, "r3-{seq%0}-{seq%x}-3"),
            (4, "r0-{seq%0}-{seq%x}-4"),
            (9, "r1-{seq%0}-{seq%x}-9"),
        ] {
            let blanks = Blanks {
                seq,
                ..Blanks::default()
            };
            assert_eq!(template.filled(&blanks), text);
        }
    }

    #[test]
    fn blanks_are_filled_and_other_braces_stay() {
        let template = Template::new(r#"{"a":{seq},"b":{"{member}{publisher}{round}":{data}},{}}"#);
        let blanks = Blanks {
            member: 7,
            publisher: 8,
            seq: 9,
            round: 6,
            data: b"{seq}",
        };
        assert_eq!(template.filled(&blanks), r#"{"a":9,"b":{"786":{seq}},{}}"#);
    }
}
