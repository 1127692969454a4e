//! Why there is no TLS connection, in words that say what to mend.

/// The reason why a connection couldn't be encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This program can't do TLS.
    #[error("this program was built without TLS (feature `tls`)")]
    NotBuilt,
    /// The system trusts nobody.
    #[error(
        "this machine has no certificates of authorities: install ca-certificates, or name a CA file"
    )]
    NoAuthorities,
    /// The text with the authorities' certificates can't be used.
    #[error("the CA file {0}")]
    Authorities(String),
    /// The host or the name that was given is no name.
    #[error("{0:?} is no name that a certificate could be for")]
    Name(String),
    /// Nobody who is trusted has signed the certificate.
    #[error(
        "its certificate is signed by no authority that is trusted here; if the authority is yours, \
         name it as the CA file"
    )]
    UnknownAuthority,
    /// The certificate is for other names.
    #[error(
        "its certificate is for {presented}, not for {expected}; mend the address, or say the server \
         name to expect"
    )]
    WrongName {
        /// The name that was looked for.
        expected: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The time of the certificate is over.
    #[error("its certificate ended on {0}: renew it there, if the clock here is right")]
    Expired(String),
    /// The time of the certificate has not begun.
    #[error("its certificate begins only on {0}: is the clock here right?")]
    NotYetValid(String),
    /// The certificate is one of an authority itself.
    #[error(
        "its certificate is that of an authority: it needs one of its own, signed by that authority"
    )]
    AuthorityItself,
    /// What the peer sends is no TLS.
    #[error("no TLS is spoken there: is it a ws:// or http:// address?")]
    NoTls,
    /// The peer has refused.
    #[error("the other side refused the handshake: {0}")]
    Refused(String),
    /// The peer has gone in the middle of the handshake.
    #[error("the connection ended within the TLS handshake; is TLS spoken there?")]
    CutInHandshake,
    /// The handshake took too long.
    #[error("there is no answer to the TLS handshake; is TLS spoken there?")]
    Silent,
    /// The stream ended without the peer having said so.
    #[error("the connection ended without a word of TLS")]
    Cut,
    /// The peer sends records, and nothing in them.
    #[error("the other side sends nothing but empty TLS records")]
    Empty,
    /// Something else, in the words of rustls.
    #[error("TLS failed: {0}")]
    Other(String),
}

impl TlsError {
    /// Whether another try would end the same way, until somebody mends something.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Refused(_) | Self::CutInHandshake | Self::Silent | Self::Cut | Self::Other(_)
        )
    }
}
