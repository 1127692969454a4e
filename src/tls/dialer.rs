//! Begins TLS on sockets: whom to trust, worked out once.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::error::TlsError;
use super::failure::error_of;
use super::stream::TlsStream;
use super::trust::TlsTrust;

/// Servers whose tickets are remembered, so that a connection that is made again resumes the one before.
const SESSIONS_MAX: usize = 64;

/// Begins TLS on sockets, for one trust. A copy shares the tickets.
#[derive(Debug, Clone)]
pub struct TlsDialer {
    config: Arc<ClientConfig>,
    /// The name to expect instead of the host.
    server_name: Option<ServerName<'static>>,
}

impl TlsDialer {
    /// Works out whom to trust. The system's authorities are read from its disk, which takes
    /// milliseconds; `SSL_CERT_FILE` and `SSL_CERT_DIR` say where else they are.
    ///
    /// # Errors
    ///
    /// There are no authorities, or the name is none.
    pub fn new(trust: &TlsTrust) -> Result<Self, TlsError> {
        let roots = match trust.authorities() {
            Some(text) => given_authorities(text)?,
            None => system_authorities()?,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(error_of)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        // What was sent early could be sent once more by somebody else, and a message must not be.
        config.enable_early_data = false;
        let server_name = trust.server_name().map(name_of).transpose()?;
        Ok(Self {
            config: Arc::new(config),
            server_name,
        })
    }

    /// Looks whether a trust can be used, but not at the system.
    ///
    /// # Errors
    ///
    /// The authorities that are given, or the name, are none.
    pub fn check(trust: &TlsTrust) -> Result<(), TlsError> {
        trust.authorities().map(given_authorities).transpose()?;
        trust.server_name().map(name_of).transpose()?;
        Ok(())
    }

    /// Begins TLS on a socket to this host; nothing is sent before [`TlsStream::shake`].
    ///
    /// # Errors
    ///
    /// The host is no name.
    pub fn begin<S: std::io::Read + std::io::Write>(
        &self,
        host: &str,
        socket: S,
    ) -> Result<TlsStream<S>, TlsError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name_of(host)?,
        };
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(error_of)?;
        Ok(TlsStream::new(session, socket))
    }
}

fn name_of(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

fn given_authorities(text: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let wrong = |what: String| TlsError::Authorities(format!("can't be read: {what}"));
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| wrong(error_of(error).to_string()))?;
    }
    match roots.is_empty() {
        true => Err(TlsError::Authorities(
            "has no certificate in it (-----BEGIN CERTIFICATE-----)".into(),
        )),
        false => Ok(roots),
    }
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's authorities can't be read");
    }
    let mut roots = RootCertStore::empty();
    // Bundles have old ones in them that nobody reads any more.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    match added {
        0 => Err(TlsError::NoAuthorities),
        _ => Ok(roots),
    }
}
