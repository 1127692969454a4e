//! The certificates that a server shows: read, checked, picked by the name that a client asks for, and
//! replaced while it runs.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::x509::{self, CertificateFacts};

/// The one application protocol (RFC 7301): a client that offers others alone is refused.
const PROTOCOL: &[u8] = b"http/1.1";

/// A certificate chain and its key, in PEM.
#[derive(Clone)]
pub struct TlsKeyPair {
    /// The certificates, the server's own first.
    pub chain: String,
    /// The private key of the first certificate.
    pub key: String,
}

/// The key is a secret.
impl fmt::Debug for TlsKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsKeyPair").finish_non_exhaustive()
    }
}

/// The oldest version of TLS that a server takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) and newer.
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446) alone.
    V1_3,
}

/// The reason why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// No certificate was given.
    #[error("there is no certificate to show")]
    None,
    /// The text has no certificate in it, or a broken one.
    #[error("that is no certificate chain in PEM")]
    Chain,
    /// The text has no private key in it, or a broken one.
    #[error("that is no private key in PEM")]
    Key,
    /// The key belongs to another certificate.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// The key or the certificate is of a kind that isn't supported.
    #[error("it can't be used: {0}")]
    Unusable(String),
    /// The system has no random numbers.
    #[error("no key for tickets can be made")]
    Tickets,
}

/// The facts about a certificate that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The names in it, wildcards included.
    pub names: Vec<String>,
    /// The moment from which it is valid no more.
    pub expires_at: SystemTime,
    /// Whether its key is an RSA one, with which a handshake takes four times the work of ECDSA.
    pub is_rsa: bool,
}

/// The certificates of a server, and all else that a handshake goes by.
#[derive(Debug)]
pub struct TlsCertificates {
    current: RwLock<Current>,
    /// The keys of tickets, which a replacement leaves as they are.
    tickets: Arc<dyn ProducesTickets>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    infos: Vec<CertificateInfo>,
}

/// The certificates by the names in them.
#[derive(Debug, Default)]
struct ByName {
    /// Whole names, and those behind `*.`, in lower case.
    exact: HashMap<String, Arc<CertifiedKey>>,
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// The one for whoever asks for no name, or for none of these.
    first: Option<Arc<CertifiedKey>>,
}

impl TlsCertificates {
    /// Reads and checks certificates; the first is shown where no other has the name that is asked for.
    ///
    /// # Errors
    ///
    /// The place of the first that can't be used, and why.
    pub fn new(
        pairs: &[TlsKeyPair],
        oldest: TlsVersion,
    ) -> Result<Self, (usize, CertificateError)> {
        let tickets = aws_lc_rs::Ticketer::new().map_err(|_| (0, CertificateError::Tickets))?;
        let current = Current::new(pairs, oldest, &tickets)?;
        Ok(Self {
            current: RwLock::new(current),
            tickets,
        })
    }

    /// Replaces all certificates: new handshakes go by the others, connections stay, and tickets that were
    /// given stay good.
    ///
    /// # Errors
    ///
    /// As [`TlsCertificates::new`]; nothing is replaced then.
    pub fn replace(
        &self,
        pairs: &[TlsKeyPair],
        oldest: TlsVersion,
    ) -> Result<(), (usize, CertificateError)> {
        let next = Current::new(pairs, oldest, &self.tickets)?;
        match self.current.write() {
            Ok(mut current) => *current = next,
            Err(poisoned) => *poisoned.into_inner() = next,
        }
        Ok(())
    }

    /// Describes the certificates, in their order.
    #[must_use]
    pub fn infos(&self) -> Vec<CertificateInfo> {
        self.read(|current| current.infos.clone())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.read(|current| Arc::clone(&current.config))
    }

    fn read<T>(&self, read: impl FnOnce(&Current) -> T) -> T {
        match self.current.read() {
            Ok(current) => read(&current),
            Err(poisoned) => read(&poisoned.into_inner()),
        }
    }
}

impl Current {
    fn new(
        pairs: &[TlsKeyPair],
        oldest: TlsVersion,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, (usize, CertificateError)> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (mut by_name, mut infos) = (ByName::default(), Vec::new());
        for (place, pair) in pairs.iter().enumerate() {
            let (key, info) = certified(pair, &provider).map_err(|error| (place, error))?;
            by_name.add(&info.names, Arc::new(key));
            infos.push(info);
        }
        if infos.is_empty() {
            return Err((0, CertificateError::None));
        }
        let versions: &[_] = match oldest {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(versions);
        let config = config.map_err(|error| (0, CertificateError::Unusable(error.to_string())))?;
        let config = config.with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(tickets);
        config.send_tls13_tickets = 1;
        // Early data can be replayed, and a message must not be.
        config.max_early_data_size = 0;
        Ok(Self {
            config: Arc::new(config),
            infos,
        })
    }
}

fn certified(
    pair: &TlsKeyPair,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<(CertifiedKey, CertificateInfo), CertificateError> {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
    let chain: Vec<_> = chain
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateError::Chain)?;
    let own = chain.first().ok_or(CertificateError::Chain)?;
    let facts = x509::facts(own).ok_or(CertificateError::Chain)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
    let key = key.map_err(|_| CertificateError::Key)?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch,
        error => CertificateError::Unusable(error.to_string()),
    })?;
    let CertificateFacts {
        names,
        expires_unix_s,
    } = facts;
    let is_rsa = key.key.algorithm() == rustls::SignatureAlgorithm::RSA;
    let info = CertificateInfo {
        names,
        expires_at: UNIX_EPOCH + Duration::from_secs(expires_unix_s),
        is_rsa,
    };
    Ok((key, info))
}

impl ByName {
    fn add(&mut self, names: &[String], key: Arc<CertifiedKey>) {
        for name in names {
            let name = name.to_ascii_lowercase();
            // The first that has a name is shown for it.
            match name.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.to_owned()),
                None => self.exact.entry(name),
            }
            .or_insert_with(|| Arc::clone(&key));
        }
        self.first.get_or_insert(key);
    }

    fn pick(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let found = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            // A wildcard stands for one label (RFC 9525 §6.3).
            let parent = name.split_once('.').map(|(_, parent)| parent);
            self.exact.get(&name).or_else(|| self.wildcard.get(parent?))
        });
        found.or(self.first.as_ref()).cloned()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(hello.server_name())
    }
}

impl From<CertificateError> for io::Error {
    fn from(error: CertificateError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}
