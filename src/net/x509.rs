//! The two facts of a certificate that rustls doesn't tell: its names, and when it ends (RFC 5280 §4.1).
//!
//! The bytes are the operator's own; whatever they are, the answer is `None` at worst.

/// The facts of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CertificateFacts {
    /// DNS names and IP addresses of `subjectAltName`.
    pub(super) names: Vec<String>,
    /// `notAfter`, in seconds since 1970.
    pub(super) expires_unix_s: u64,
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// 2.5.29.17, `subjectAltName`.
const ALT_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// Reads a certificate in DER.
pub(super) fn facts(certificate: &[u8]) -> Option<CertificateFacts> {
    let mut outer = Der(certificate);
    let mut certificate = Der(outer.take(SEQUENCE)?);
    let mut body = Der(certificate.take(SEQUENCE)?);
    body.take_if(VERSION);
    body.take(INTEGER)?;
    body.take(SEQUENCE)?; // signature
    body.take(SEQUENCE)?; // issuer
    let mut validity = Der(body.take(SEQUENCE)?);
    validity.next()?;
    let expires_unix_s = unix_s(validity.next()?)?;
    body.take(SEQUENCE)?; // subject
    body.take(SEQUENCE)?; // key
    let mut names = Vec::new();
    while let Some((tag, value)) = body.next() {
        if tag == EXTENSIONS {
            let mut extensions = Der(Der(value).take(SEQUENCE)?);
            while let Some((SEQUENCE, extension)) = extensions.next() {
                names.extend(alt_names(extension).unwrap_or_default());
            }
        }
    }
    Some(CertificateFacts {
        names,
        expires_unix_s,
    })
}

/// The names of an extension, if it is the one that has them.
fn alt_names(extension: &[u8]) -> Option<Vec<String>> {
    let mut extension = Der(extension);
    if extension.take(OID)? != ALT_NAMES {
        return None;
    }
    let mut value = extension.next()?;
    if value.0 != OCTETS {
        // Whether it is critical.
        value = extension.next()?;
    }
    let mut all = Der(Der(value.1).take(SEQUENCE)?);
    let mut names = Vec::new();
    while let Some((tag, name)) = all.next() {
        match tag {
            DNS_NAME => names.extend(std::str::from_utf8(name).ok().map(str::to_owned)),
            IP_ADDRESS => names.extend(ip_address(name)),
            _ => {}
        }
    }
    Some(names)
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(v6).to_string())
}

/// The seconds since 1970 of a time (RFC 5280 §4.1.2.5), which is always in UTC.
fn unix_s((tag, text): (u8, &[u8])) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year = number(digits.get(..2)?)?;
            (
                if year < 50 {
                    2_000 + year
                } else {
                    1_900 + year
                },
                &digits[2..],
            )
        }
        GENERALIZED_TIME => (number(digits.get(..4)?)?, &digits[4..]),
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| number(&rest[at..at + 2]);
    let (month, day) = (part(0)?, part(2)?);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1_970 {
        return None;
    }
    // Days from the beginning of March of the year 0, so that a leap day is the last of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // 719,468 of them stand before 1970.
    Some((days.checked_sub(719_468)?) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The rest of a run of values in DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value, and its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let size = match first {
            0..0x80 => usize::from(first),
            _ => {
                let count = usize::from(first & 0x7f);
                let bytes = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
                rest = &rest[count..];
                bytes
                    .iter()
                    .fold(0, |size, byte| size << 8 | usize::from(*byte))
            }
        };
        let value = rest.get(..size)?;
        self.0 = &rest[size..];
        Some((tag, value))
    }

    /// The next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, value) = self.next()?;
        (found == tag).then_some(value)
    }

    /// Passes over a value that may be left out.
    fn take_if(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "240229123456Z", Some(1_709_210_096)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "21000301000000Z", Some(4_107_542_400)),
            (UTC_TIME, "241301000000Z", None),
            (UTC_TIME, "2401010000Z", None),
            (UTC_TIME, "240101000000+0100", None),
            (INTEGER, "240101000000Z", None),
        ] {
            assert_eq!(unix_s((tag, text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn no_bytes_are_more_than_no_certificate() {
        let made = [0x30, 0x82, 0x01, 0x00, 0x30, 0x03, 0x02, 0x01, 0x01];
        for end in 0..made.len() {
            assert_eq!(facts(&made[..end]), None);
        }
        assert_eq!(facts(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(facts(&[0xff; 64]), None);
    }
}
