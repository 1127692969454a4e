//! TLS of the connections under load: whom to trust, and one session a socket.
//!
//! The load is meant for a server of one's own, so a certificate may be taken as it comes, if the caller
//! says so. rustls does all of TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Bytes that may wait in a session to be encrypted or sent.
const UNSENT_SIZE_MAX: usize = 128 << 10;

/// Whose certificates are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// Those signed by an authority of the system.
    System,
    /// Those signed by an authority in this file, PEM.
    File(&'a Path),
    /// All.
    Anybody,
}

/// What begins TLS on sockets to one host.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Security {
    /// Works out whom to trust at a host.
    ///
    /// # Errors
    ///
    /// The authorities can't be read, or the host is no name.
    pub(crate) fn new(host: &str, trust: Trust<'_>) -> io::Result<Self> {
        let other = |what: String| io::Error::other(what);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            other(format!(
                "{host:?} is no name that a certificate could be for"
            ))
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let mut config = match trust {
            Trust::Anybody => (builder.dangerous())
                .with_custom_certificate_verifier(Arc::new(TakesAnybody(provider)))
                .with_no_client_auth(),
            Trust::System | Trust::File(_) => builder
                .with_root_certificates(authorities(trust)?)
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// Begins a session.
    ///
    /// # Errors
    ///
    /// None that a name could meet.
    pub(crate) fn session(&self) -> io::Result<Session> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        connection.set_buffer_limit(Some(UNSENT_SIZE_MAX));
        Ok(Session(connection))
    }
}

fn authorities(trust: Trust<'_>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = match trust {
        Trust::File(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?,
        Trust::System | Trust::Anybody => rustls_native_certs::load_native_certs().certs,
    };
    // Bundles have old ones in them that nobody reads any more.
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(io::Error::other(
            "there is no certificate of an authority: name a file by --ca-file",
        )),
        _ => Ok(roots),
    }
}

/// The TLS of one connection; what it reads and writes goes over the socket that each call names.
#[derive(Debug)]
pub(crate) struct Session(ClientConnection);

impl Session {
    /// Goes on with the handshake.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] until it is done; or it failed.
    pub(crate) fn shake(&mut self, socket: &TcpStream) -> io::Result<()> {
        while self.0.is_handshaking() {
            self.send(socket)?;
            if self.0.is_handshaking() && self.fetch(socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        self.send(socket)
    }

    /// Reads what came, without TLS.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] once nothing is left; or the connection is broken.
    pub(crate) fn read(&mut self, socket: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // What ends without a word of TLS ends.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            // What was written before may have found no room.
            self.send_some(socket)?;
            self.fetch(socket)?;
        }
    }

    /// Takes bytes, once all that were taken before are sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] where the socket has no room; or the connection is broken.
    pub(crate) fn write(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.send(socket)?;
        let taken = self.0.writer().write(bytes)?;
        self.send_some(socket)?;
        Ok(taken)
    }

    fn fetch(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        let size = self.0.read_tls(&mut socket)?;
        let processed = self.0.process_new_packets();
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(size)
    }

    fn send(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(&mut socket)?;
        }
        Ok(())
    }

    fn send_some(&mut self, socket: &TcpStream) -> io::Result<()> {
        match self.send(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }
}

/// Takes every certificate, but no signature that isn't by its key.
#[derive(Debug)]
struct TakesAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
