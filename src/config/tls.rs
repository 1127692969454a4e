//! TLS: where it is spoken, and with which certificates.

use std::time::SystemTime;

use tidings::server::{CertificateInfo, TlsCertificates, TlsKeyPair, TlsVersion};

use super::addresses::ListenAddresses;
use super::section::section;
use super::types::TlsVersionSetting;
use super::{CERTIFICATES, Loader, is_open_to_others};

/// Longest file with a certificate chain or a key, in bytes: far above any, and little enough to read
/// whatever file a mistyped name leads to.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// Days below which a certificate that ends is warned of: half of what certbot leaves.
const DAYS_FEW: u64 = 14;

/// A day, in seconds.
const DAY_S: u64 = 24 * 60 * 60;

section! {
    /// TLS, for https and wss, on addresses of its own. Each certificate is a table of its own below:
    /// [[tls.certificate]] with `chain_file` and `key_file` in PEM; the first is shown to whoever asks for
    /// a name that none of them has. A reload reads them anew: `certbot renew --deploy-hook "tidings
    /// reload"`.
    TlsSection {
        /// Address to listen on with TLS, or a list of them, as `listen` takes them; none: no TLS.
        listen: ListenAddresses = ListenAddresses::default(), by upgrade;
        /// Oldest version of TLS that is taken: "1.2" or "1.3".
        min_version: TlsVersionSetting = TlsVersionSetting(TlsVersion::V1_2), by reload;
    }
}

section! {
    /// A certificate with its key.
    CertificateSection {
        /// File with the certificate chain in PEM, the server's own certificate first.
        chain_file: String = String::new(), within 0..=4_096, by reload;
        /// File with the private key in PEM.
        key_file: String = String::new(), within 0..=4_096, by reload;
    }
}

/// The certificates of a server, read and checked.
#[derive(Debug, Clone)]
pub struct TlsPlan {
    /// Chains and keys.
    pub pairs: Vec<TlsKeyPair>,
    /// The oldest version that is taken.
    pub oldest: TlsVersion,
    /// What is known of each certificate.
    pub infos: Vec<CertificateInfo>,
}

impl TlsPlan {
    /// Makes what a server goes by.
    ///
    /// # Errors
    ///
    /// The system has no random numbers: the certificates were checked.
    pub fn certificates(&self) -> anyhow::Result<TlsCertificates> {
        let made = TlsCertificates::new(&self.pairs, self.oldest);
        made.map_err(|(_, error)| error.into())
    }
}

/// The whole days that are left of a certificate.
#[must_use]
pub fn days_left(info: &CertificateInfo) -> u64 {
    let left = info.expires_at.duration_since(SystemTime::now());
    left.map_or(0, |left| left.as_secs() / DAY_S)
}

impl Loader {
    /// Reads and checks the certificates.
    pub(super) fn tls(&mut self) -> Option<TlsPlan> {
        let sections = self.settings.certificates.clone();
        if sections.is_empty() {
            if !self.settings.tls.listen.0.is_empty() {
                let what = "tls.listen needs a certificate: [[tls.certificate]] with chain_file and key_file";
                self.problem("tls.listen", what);
            }
            return None;
        }
        let oldest = self.settings.tls.min_version.0;
        let (mut pairs, mut infos) = (Vec::new(), Vec::new());
        for (name, section) in sections {
            let table = format!("{CERTIFICATES}.{name}");
            let chain = self.read_pem(&table, "chain_file", &section.chain_file)?;
            let key = self.read_pem(&table, "key_file", &section.key_file)?;
            let pair = TlsKeyPair { chain, key };
            match TlsCertificates::new(std::slice::from_ref(&pair), oldest) {
                Ok(certificates) => infos.extend(certificates.infos()),
                Err((_, error)) => {
                    let files = format!("{} and {}", section.chain_file, section.key_file);
                    self.problem(
                        &format!("{table}.key_file"),
                        format!("{table}: {files}: {error}"),
                    );
                    return None;
                }
            }
            pairs.push(pair);
        }
        for info in &infos {
            self.warn_of_certificate(info);
        }
        Some(TlsPlan {
            pairs,
            oldest,
            infos,
        })
    }

    fn read_pem(&mut self, table: &str, key: &str, file: &str) -> Option<String> {
        let name = format!("{table}.{key}");
        if file.is_empty() {
            self.problem(&name, format!("{table} needs {key}"));
            return None;
        }
        let path = self.folder.join(file);
        match self.read_file(&path, FILE_SIZE_MAX) {
            Ok(text) => {
                if key == "key_file" && is_open_to_others(&path) {
                    self.warnings.push(format!(
                        "{} has a secret in it and can be read by others: chmod 600 it",
                        path.display()
                    ));
                }
                Some(text)
            }
            Err(error) => {
                self.problem(
                    &name,
                    format!("{name}: can't read {}: {error}", path.display()),
                );
                None
            }
        }
    }

    fn warn_of_certificate(&mut self, info: &CertificateInfo) {
        let (names, days) = (info.names.join(", "), days_left(info));
        if days < DAYS_FEW {
            self.warnings
                .push(format!("the certificate for {names} has {days} days left"));
        }
        if info.is_rsa {
            self.warnings.push(format!(
                "the certificate for {names} has an RSA key, with which a handshake takes four times the \
                 work of one with ECDSA"
            ));
        }
    }
}
