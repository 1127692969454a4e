//! TLS of one connection, on the server's side: the only file that knows how records are made.
//!
//! rustls does all of it. [`Tls::open`] takes bytes of the socket and gives plain ones, [`Tls::seal`] takes
//! plain ones and gives the socket what it takes; the rest is kept, and nothing more is sealed until that
//! has gone. So a connection keeps the ciphertext of one write at most.
//!
//! Invariant: neither plain bytes nor secrets stand in a `Debug`, an error or the log.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use rustls::{HandshakeKind, ServerConnection};

use super::certificates::TlsCertificates;
use super::tls_outcome::{HandshakeWay, Opened, TlsFailure};

/// Plain bytes that one call of [`Tls::seal`] takes: four of the largest records (RFC 8446 §5.1), much for
/// one system call.
const SEALED_A_CALL_MAX: usize = 64 * 1024;

/// The answer to a request that came without TLS.
const SPEAKS_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 42\r\nConnection: close\r\n\r\nthis port speaks https and wss, with TLS.\n";

/// The server's side of a TLS connection.
pub(super) struct Tls {
    session: ServerConnection,
    /// Records that the socket hasn't taken yet; the first `sent` bytes of them have gone.
    left: Vec<u8>,
    sent: usize,
    phase: TlsPhase,
    has_heard_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TlsPhase {
    /// Nothing has come.
    Silent,
    Handshake,
    Open,
    /// The last record, `close_notify` or another alert, is made.
    Ended,
}

impl Tls {
    /// Makes the server's side of a connection that was just accepted.
    ///
    /// # Errors
    ///
    /// There is no certificate to show.
    pub(super) fn new(certificates: &TlsCertificates) -> io::Result<Box<Self>> {
        let session = ServerConnection::new(certificates.config());
        let mut session = session.map_err(io::Error::other)?;
        session.set_buffer_limit(Some(SEALED_A_CALL_MAX));
        Ok(Box::new(Self {
            session,
            left: Vec::new(),
            sent: 0,
            phase: TlsPhase::Silent,
            has_heard_end: false,
        }))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.phase, TlsPhase::Silent | TlsPhase::Handshake)
    }

    /// Takes bytes of the socket, and puts the plain ones, which are no more, into `plain`. All that rustls
    /// has is taken out of it: no event of the poll would come for the rest.
    ///
    /// # Errors
    ///
    /// The connection can't go on; an alert is made that has still to be sent.
    pub(super) fn open(&mut self, mut raw: &[u8], plain: &mut [u8]) -> Result<Opened, TlsFailure> {
        let mut opened = Opened::default();
        if self.phase == TlsPhase::Ended {
            return Ok(opened);
        }
        if self.phase == TlsPhase::Silent && !raw.is_empty() {
            self.phase = TlsPhase::Handshake;
            // No record begins with a letter, and each request does.
            if raw[0].is_ascii_alphabetic() {
                self.phase = TlsPhase::Ended;
                return Err(TlsFailure::Plain(SPEAKS_TLS));
            }
        }
        loop {
            let fed = match raw.is_empty() {
                true => 0,
                // A buffer that is full is emptied below; what stays full is a record too long.
                false => self.session.read_tls(&mut raw).unwrap_or(0),
            };
            let state = self.session.process_new_packets();
            let state = state.map_err(|error| {
                self.phase = TlsPhase::Ended;
                TlsFailure::Broken(error.to_string())
            })?;
            let before = opened.size;
            while opened.size < plain.len() {
                match self.session.reader().read(&mut plain[opened.size..]) {
                    Ok(size) if size > 0 => opened.size += size,
                    // No more, for now or for ever.
                    _ => break,
                }
            }
            if self.phase == TlsPhase::Handshake && !self.session.is_handshaking() {
                self.phase = TlsPhase::Open;
                opened.handshake = Some(match self.session.handshake_kind() {
                    Some(HandshakeKind::Resumed) => HandshakeWay::Resumed,
                    _ => HandshakeWay::Full,
                });
            }
            opened.has_ended = state.peer_has_closed();
            self.has_heard_end |= opened.has_ended;
            if fed == 0 && opened.size == before {
                if !raw.is_empty() && !opened.has_ended {
                    self.phase = TlsPhase::Ended;
                    return Err(TlsFailure::Broken("a message is too long".to_owned()));
                }
                return Ok(opened);
            }
        }
    }

    /// Whether the peer has said that no more comes.
    pub(super) fn has_heard_end(&self) -> bool {
        self.has_heard_end
    }

    /// Whether there is something to send that isn't the user's.
    pub(super) fn has_to_send(&self) -> bool {
        self.left_bytes() > 0 || self.session.wants_write()
    }

    /// Counts the bytes that the socket hasn't taken yet.
    pub(super) fn left_bytes(&self) -> usize {
        self.left.len() - self.sent
    }

    /// Sends what is there to be sent, as much as the socket takes; `false` if some of it is left.
    ///
    /// # Errors
    ///
    /// The socket's error.
    pub(super) fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while self.sent < self.left.len() {
            match socket.write(&self.left[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(size) => self.sent += size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // An idle connection keeps no buffer.
        (self.left, self.sent) = (Vec::new(), 0);
        while self.session.wants_write() {
            match self.session.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.keep_left().map(|()| false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn keep_left(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.left)?;
        }
        Ok(())
    }

    /// Makes records of plain bytes and sends as much of them as the socket takes. Those are the socket's
    /// from then on, though some records may be kept here.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if earlier records have to go first; or the socket's error.
    pub(super) fn seal(
        &mut self,
        socket: &mut impl Write,
        plain: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        if self.phase != TlsPhase::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.flush(socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = self.session.writer().write_vectored(plain)?;
        self.flush(socket)?;
        Ok(size)
    }

    /// Makes the last record, which tells that no more comes; once.
    pub(super) fn end(&mut self) {
        if self.phase != TlsPhase::Ended {
            self.phase = TlsPhase::Ended;
            self.session.send_close_notify();
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("phase", &self.phase)
            .field("left_bytes", &self.left_bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;
    use crate::net::{TlsKeyPair, TlsVersion};

    fn both() -> (TlsCertificates, Arc<ClientConfig>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let made = params.self_signed(&key).unwrap();
        let pair = TlsKeyPair {
            chain: made.pem(),
            key: key.serialize_pem(),
        };
        let certificates = TlsCertificates::new(&[pair], TlsVersion::V1_2).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (certificates, Arc::new(config))
    }

    /// A socket that takes so many bytes a time and now and then none.
    struct Narrow {
        taken: Vec<u8>,
        width: usize,
        blocks: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.blocks = !self.blocks;
            if self.blocks {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let size = bytes.len().min(self.width);
            self.taken.extend_from_slice(&bytes[..size]);
            Ok(size)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Line {
        tls: Box<Tls>,
        client: ClientConnection,
        socket: Narrow,
        plain: Vec<u8>,
        heard: Vec<u8>,
    }

    impl Line {
        fn new(
            (certificates, config): &(TlsCertificates, Arc<ClientConfig>),
            width: usize,
        ) -> Self {
            let name = ServerName::try_from("a.test").unwrap();
            Self {
                tls: Tls::new(certificates).unwrap(),
                client: ClientConnection::new(Arc::clone(config), name).unwrap(),
                socket: Narrow {
                    taken: Vec::new(),
                    width,
                    blocks: false,
                },
                plain: Vec::new(),
                heard: Vec::new(),
            }
        }

        /// Has the server open these bytes in pieces of `cut`.
        fn open(&mut self, raw: &[u8], cut: usize) -> Result<(), TlsFailure> {
            let mut plain = vec![0; 64 * 1024];
            for piece in raw.chunks(cut) {
                let opened = self.tls.open(piece, &mut plain)?;
                self.plain.extend_from_slice(&plain[..opened.size]);
            }
            Ok(())
        }

        /// Carries bytes there and back until nobody has any.
        fn settle(&mut self, cut: usize) -> Result<(), TlsFailure> {
            loop {
                let mut raw = Vec::new();
                while self.client.wants_write() {
                    self.client.write_tls(&mut raw).unwrap();
                }
                self.open(&raw, cut)?;
                while !self.tls.flush(&mut self.socket).unwrap() {}
                let taken = std::mem::take(&mut self.socket.taken);
                if raw.is_empty() && taken.is_empty() {
                    return Ok(());
                }
                let mut taken = &taken[..];
                while !taken.is_empty() {
                    self.client.read_tls(&mut taken).unwrap();
                    self.client.process_new_packets().unwrap();
                    let mut some = [0; 32 * 1024];
                    while let Ok(size @ 1..) = self.client.reader().read(&mut some) {
                        self.heard.extend_from_slice(&some[..size]);
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_the_cuts_and_however_little_the_socket_takes_all_arrives_once_and_in_order() {
        let both = both();
        let said: Vec<u8> = (0..70_000u32).map(|number| number as u8).collect();
        for (cut, width) in [
            (1, 1_000),
            (7, 1),
            (100, 17),
            (4_096, 4_096),
            (70_000, 70_000),
        ] {
            let mut line = Line::new(&both, width);
            line.settle(cut).unwrap();
            assert!(!line.tls.is_handshaking(), "cut at {cut}");
            line.client.set_buffer_limit(None);
            io::Write::write_all(&mut line.client.writer(), &said).unwrap();
            line.settle(cut).unwrap();
            assert!(line.plain == said, "cut at {cut}");
            let mut sent = 0;
            while sent < said.len() {
                let both = [
                    IoSlice::new(&said[sent..][..1]),
                    IoSlice::new(&said[sent + 1..]),
                ];
                match line.tls.seal(&mut line.socket, &both) {
                    Ok(size) => sent += size,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                assert!(line.tls.left_bytes() <= SEALED_A_CALL_MAX + 1_024);
                line.settle(cut).unwrap();
            }
            assert!(line.heard == said, "cut at {cut}, {width} at a time");
            line.tls.end();
            line.settle(cut).unwrap();
            let ended = line.client.reader().read(&mut [0]);
            assert_eq!(ended.unwrap(), 0, "close_notify");
        }
    }

    #[test]
    fn a_flipped_bit_ends_in_an_alert_and_gives_no_plain_bytes() {
        let both = both();
        let mut size = usize::MAX;
        // The content type before that is always the same in TLS 1.3, whatever stands there.
        for at in (3..).step_by(3) {
            if at >= size {
                break;
            }
            let mut line = Line::new(&both, usize::MAX);
            line.settle(usize::MAX).unwrap();
            io::Write::write_all(&mut line.client.writer(), b"secret").unwrap();
            let mut raw = Vec::new();
            line.client.write_tls(&mut raw).unwrap();
            size = raw.len();
            raw[at] ^= 1;
            // A longer record is only waited for.
            let ended = line.open(&raw, usize::MAX);
            assert!(line.plain.is_empty(), "at {at}");
            if let Err(failure) = ended {
                assert!(line.tls.has_to_send(), "at {at}: no alert");
                assert!(!failure.to_string().contains("secret"));
                assert!(line.tls.open(b"more", &mut [0; 99]).unwrap().size == 0);
            } else {
                assert!((3..5).contains(&at), "at {at} nobody noticed");
            }
        }
        assert!(size > 20);
    }

    #[test]
    fn plain_http_is_told_what_is_spoken_here_and_nothing_is_shown_of_a_connection() {
        let mut line = Line::new(&both(), 1);
        let refused = line.open(b"GET / HTTP/1.1\r\n", 99).unwrap_err();
        let TlsFailure::Plain(answer) = refused else {
            panic!("{refused}");
        };
        let answer = std::str::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{answer}"
        );
        let shown = format!("{:?}", line.tls);
        assert_eq!(shown, "Tls { phase: Ended, left_bytes: 0, .. }");
    }

    #[test]
    fn a_certificate_with_another_ones_key_is_refused_and_a_replacement_leaves_all_as_it_was() {
        let (one, _) = both();
        let pair = |names: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let made = CertificateParams::new(names).unwrap().self_signed(&key);
            TlsKeyPair {
                chain: made.unwrap().pem(),
                key: key.serialize_pem(),
            }
        };
        let (first, second) = (pair(&["b.test", "127.0.0.1"]), pair(&["*.c.test"]));
        let mixed = TlsKeyPair {
            chain: first.chain.clone(),
            key: second.key.clone(),
        };
        let refused = one.replace(&[first.clone(), mixed], TlsVersion::V1_2);
        let (place, error) = refused.unwrap_err();
        assert_eq!(place, 1);
        assert!(
            error.to_string().contains("not that of the certificate"),
            "{error}"
        );
        assert_eq!(one.infos()[0].names, ["a.test"]);
        one.replace(&[first, second], TlsVersion::V1_3).unwrap();
        let infos = one.infos();
        let names: Vec<_> = infos.iter().map(|info| &*info.names).collect();
        assert_eq!(names, [&["b.test", "127.0.0.1"][..], &["*.c.test"]]);
        assert!(!infos[0].is_rsa && infos[0].expires_at > std::time::SystemTime::now());
    }
}
