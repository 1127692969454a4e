//! How a delivered message is recognized: by the text around its two numbers.

use memchr::memmem::Finder;

/// What the generator's own messages contain.
pub(crate) const MARKER: &str = r#""t":{publisher},"n":{seq}"#;

/// The shortest message that always has room for its marker, in bytes.
pub(crate) const SIZE_MIN: usize = 48;

/// Text before the publisher's number, between it and the sequence, found anywhere in a payload.
#[derive(Clone, Debug)]
pub(crate) struct Marker {
    before: Finder<'static>,
    /// `None` when messages bear no publisher's number: there is but one stream.
    between: Option<Vec<u8>>,
}

/// A marker that can't be found by its text.
#[derive(Debug, thiserror::Error)]
#[error("a marker needs text, then {{seq}}, and maybe {{publisher}} and text before that: {0:?}")]
pub(crate) struct MarkerError(String);

impl Marker {
    /// Reads a marker such as [`MARKER`]; what is behind `{seq}` doesn't matter.
    ///
    /// # Errors
    ///
    /// There is no `{seq}`, or no text before a number.
    pub(crate) fn new(text: &str) -> Result<Self, MarkerError> {
        let refused = || MarkerError(text.into());
        let (head, _) = text.split_once("{seq}").ok_or_else(refused)?;
        let (before, between) = match head.split_once("{publisher}") {
            Some((_, "")) => return Err(refused()),
            Some((before, between)) => (before, Some(between.into())),
            None => (head, None),
        };
        if before.is_empty() {
            return Err(refused());
        }
        Ok(Self {
            before: Finder::new(before).into_owned(),
            between,
        })
    }

    /// Whether it tells several streams apart.
    pub(crate) fn tells_publishers(&self) -> bool {
        self.between.is_some()
    }

    /// The numbers of the stream and of the message in it; `None` when this isn't such a message.
    pub(crate) fn find(&self, payload: &[u8]) -> Option<(u64, u64)> {
        let mut places = self.before.find_iter(payload);
        places.find_map(|place| self.read(&payload[place + self.before.needle().len()..]))
    }

    /// Calls `found` with the numbers of each message in a payload, which may be several where a
    /// server joins what it has; whether there was one.
    pub(crate) fn find_each(&self, payload: &[u8], mut found: impl FnMut(u64, u64)) -> bool {
        let mut any = false;
        for place in self.before.find_iter(payload) {
            if let Some((publisher, seq)) =
                self.read(&payload[place + self.before.needle().len()..])
            {
                found(publisher, seq);
                any = true;
            }
        }
        any
    }

    fn read(&self, bytes: &[u8]) -> Option<(u64, u64)> {
        let Some(between) = &self.between else {
            return Some((0, number(bytes)?.0));
        };
        let (publisher, rest) = number(bytes)?;
        Some((publisher, number(rest.strip_prefix(&between[..])?)?.0))
    }
}

/// The decimal number that `bytes` begin with, and what is behind it.
pub(crate) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value: u64 = 0;
    let mut size = 0;
    while let Some(digit) = bytes.get(size).filter(|byte| byte.is_ascii_digit()) {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        size += 1;
    }
    (size > 0).then_some((value, &bytes[size..]))
}

/// Makes the message `seq` of a stream: JSON of exactly `size` bytes, at least [`SIZE_MIN`].
pub(crate) fn message(publisher: u64, seq: u64, size: usize, to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(format!(r#"{{"t":{publisher},"n":{seq},"p":""#).as_bytes());
    let pad = size.saturating_sub(to.len() - start + 2);
    to.resize(to.len() + pad, b'.');
    to.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_one_size_and_are_found_in_an_envelope() {
        let marker = Marker::new(MARKER).unwrap();
        for (publisher, seq) in [(0, 1), (12, 99_999), (65_535, 1 << 40)] {
            let mut text = br#"{"type":"msg","t":5,"t":x,"data":"#.to_vec();
            let start = text.len();
            message(publisher, seq, SIZE_MIN, &mut text);
            assert_eq!(text.len() - start, SIZE_MIN);
            serde_json::from_slice::<serde_json::Value>(&text[start..]).unwrap();
            text.push(b'}');
            assert_eq!(marker.find(&text), Some((publisher, seq)));
        }
        assert_eq!(marker.find(br#"{"type":"hello","t":1}"#), None);
        assert_eq!(marker.find(br#""t":1,"n":99999999999999999999999"#), None);
    }

    #[test]
    fn all_messages_that_share_a_frame_are_found() {
        let marker = Marker::new(MARKER).unwrap();
        let mut text = b"MSG room 1 48\r\n".to_vec();
        for (publisher, seq) in [(0, 7), (3, 8)] {
            message(publisher, seq, SIZE_MIN, &mut text);
            text.extend_from_slice(b"\r\nMSG room 1 48\r\n");
        }
        let mut all = Vec::new();
        assert!(marker.find_each(&text, |publisher, seq| all.push((publisher, seq))));
        assert_eq!(all, [(0, 7), (3, 8)]);
        assert!(!marker.find_each(b"PING", |_, _| panic!("nothing is in there")));
    }

    #[test]
    fn markers_of_other_servers_are_read() {
        let marker = Marker::new(r#"\"t\":{publisher},\"n\":{seq}}"#).unwrap();
        assert_eq!(marker.find(br#"["x","{\"t\":3,\"n\":4}"]"#), Some((3, 4)));
        let marker = Marker::new("n={seq}").unwrap();
        assert_eq!(marker.find(b"say n=17"), Some((0, 17)));
        for text in ["", "n=", "{seq}", "{publisher} {seq}", "t={publisher}{seq}"] {
            assert!(Marker::new(text).is_err(), "{text}");
        }
    }
}
