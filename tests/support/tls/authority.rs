//! An authority that exists for one test, and the certificates that it signs.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tempfile::NamedTempFile;

/// An authority, and the file that a client names to trust it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    file: NamedTempFile,
}

/// A certificate and its key.
pub struct Identity {
    pub chain_pem: String,
    pub key_pem: String,
    config: Arc<ServerConfig>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = "an authority of a test";
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &pem).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            file,
        }
    }

    /// The file with its certificate.
    pub fn file(&self) -> &Path {
        self.file.path()
    }

    pub fn file_name(&self) -> &str {
        self.file.path().to_str().unwrap()
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names and addresses.
    pub fn certify(&self, names: &[&str]) -> Identity {
        self.certify_from(names, (2020, 2100))
    }

    /// The same, from the beginning of a year to that of another one.
    pub fn certify_from(&self, names: &[&str], (from, to): (i32, i32)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Identity {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            config: Arc::new(config),
        }
    }
}

impl Identity {
    /// What a server of TLS shows it by.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}
