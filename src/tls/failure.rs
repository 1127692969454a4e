//! The failures of rustls in our words.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error, InvalidMessage};

use super::error::TlsError;

/// Says what a failure of rustls means.
pub(super) fn error_of(error: Error) -> TlsError {
    match error {
        Error::InvalidCertificate(what) => of_certificate(what),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => TlsError::NoTls,
        Error::AlertReceived(alert) => TlsError::Refused(format!("{alert:?}")),
        other => TlsError::Other(other.to_string()),
    }
}

/// The same as an error of a stream.
pub(super) fn broken(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error_of(error))
}

fn of_certificate(error: CertificateError) -> TlsError {
    match error {
        // The signature fails where an authority of the same name has another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            TlsError::UnknownAuthority
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let presented: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            TlsError::WrongName {
                expected: expected.to_str().into_owned(),
                presented: match presented.is_empty() {
                    true => "no name at all".into(),
                    false => presented.join(", "),
                },
            }
        }
        CertificateError::ExpiredContext { not_after, .. } => TlsError::Expired(date(not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            TlsError::NotYetValid(date(not_before))
        }
        other => {
            let what = other.to_string();
            match what.contains("CaUsedAsEndEntity") {
                true => TlsError::AuthorityItself,
                false => TlsError::Other(what),
            }
        }
    }
}

/// A name as it stands in the certificate, of `DnsName("it")`.
fn bare(shown: &str) -> &str {
    shown.split('"').nth(1).unwrap_or(shown)
}

fn date(time: UnixTime) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}
