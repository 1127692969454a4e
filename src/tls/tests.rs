//! The stream over a wire that gives and takes as few bytes as it likes, against rustls's own server.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection};

use super::{TlsDialer, TlsError, TlsStream, TlsTrust};

/// A socket in memory.
#[derive(Debug, Default)]
struct Wire {
    /// Bytes on their way to the client.
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    /// Bytes of one read or write at most.
    size_max: usize,
    /// Bytes that may still be written.
    room: usize,
    has_ended: bool,
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match (self.incoming.is_empty(), self.has_ended) {
            (true, true) => Ok(0),
            (true, false) => Err(ErrorKind::WouldBlock.into()),
            (false, _) => {
                let size = bytes.len().min(self.size_max);
                self.incoming.read(&mut bytes[..size])
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = bytes.len().min(self.size_max).min(self.room);
        if size == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= size;
        self.outgoing.extend_from_slice(&bytes[..size]);
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client, and the server at the other end.
struct Pair {
    client: TlsStream<Wire>,
    server: ServerConnection,
}

fn ends() -> (TlsDialer, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let dialer = TlsDialer::new(&TlsTrust::new(Some(&authority), None)).unwrap();
    (dialer, Arc::new(config))
}

impl Pair {
    fn new((dialer, config): &(TlsDialer, Arc<ServerConfig>), size_max: usize) -> Self {
        let wire = Wire {
            size_max,
            ..Wire::default()
        };
        Self {
            client: dialer.begin("localhost", wire).unwrap(),
            server: ServerConnection::new(Arc::clone(config)).unwrap(),
        }
    }

    /// One whose handshake is done.
    fn shaken(ends: &(TlsDialer, Arc<ServerConfig>), size_max: usize) -> Self {
        let mut pair = Self::new(ends, size_max);
        loop {
            pair.client.socket_mut().room += 5;
            let shaken = pair.client.shake();
            pair.carry();
            match shaken {
                Ok(()) if !pair.server.is_handshaking() => return pair,
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
    }

    /// Has the wire carry what either side wrote; what the server heard.
    fn carry(&mut self) -> Vec<u8> {
        let wire = self.client.socket_mut();
        let outgoing = std::mem::take(&mut wire.outgoing);
        let (mut bytes, mut heard) = (&*outgoing, Vec::new());
        while !bytes.is_empty() {
            self.server.read_tls(&mut bytes).unwrap();
            self.server.process_new_packets().unwrap();
            // It says that nothing more is there.
            _ = self.server.reader().read_to_end(&mut heard);
        }
        while self.server.wants_write() {
            let wire = self.client.socket_mut();
            self.server.write_tls(&mut wire.incoming).unwrap();
        }
        heard
    }

    /// Reads until nothing more is there.
    fn read(&mut self) -> (Vec<u8>, io::Result<usize>) {
        let (mut all, mut bytes) = (Vec::new(), [0; 100]);
        loop {
            match self.client.read(&mut bytes) {
                Ok(size) if size > 0 => all.extend_from_slice(&bytes[..size]),
                end => return (all, end),
            }
        }
    }
}

fn tls_error(read: io::Result<usize>) -> Option<TlsError> {
    let error = read.err()?;
    error.get_ref()?.downcast_ref().cloned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn however_little_the_wire_takes_all_arrives_in_order(
        size_max in 1_usize..3_000,
        rooms in prop::collection::vec(0_usize..40_000, 1..40),
        said in prop::collection::vec(1_usize..30_000, 1..12),
    ) {
        let mut pair = Pair::shaken(&ends(), size_max);
        let text: Vec<u8> = (0..said.iter().sum::<usize>()).map(|at| at as u8).collect();
        let (mut unsent, mut heard, mut rooms) = (&*text, Vec::new(), rooms.iter().cycle());
        let mut sizes = said.iter().cycle();
        while !unsent.is_empty() {
            pair.client.socket_mut().room += *rooms.next().unwrap();
            let piece = unsent.len().min(*sizes.next().unwrap());
            match pair.client.write(&unsent[..piece]) {
                Ok(taken) => unsent = &unsent[taken..],
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    pair.client.socket_mut().room += 1_000;
                }
            }
            heard.extend(pair.carry());
        }
        pair.client.socket_mut().room = usize::MAX;
        pair.client.flush().unwrap();
        heard.extend(pair.carry());
        prop_assert!(heard == text);
        // And back, with new keys half-way.
        for half in text.chunks(text.len() / 2 + 1) {
            for piece in half.chunks(10_000) {
                pair.server.writer().write_all(piece).unwrap();
                pair.carry();
            }
            pair.server.refresh_traffic_keys().unwrap();
        }
        pair.carry();
        let (back, end) = pair.read();
        prop_assert!(back == text);
        prop_assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    }
}

#[test]
fn an_end_without_a_word_is_no_end_wherever_it_comes() {
    let ends = ends();
    let record = |pair: &mut Pair| {
        // Tickets come before the record.
        _ = pair.read();
        pair.server.writer().write_all(b"hello").unwrap();
        pair.carry();
        pair.client.socket().incoming.len()
    };
    let size = record(&mut Pair::shaken(&ends, 1_000));
    for cut in 0..=size {
        let mut pair = Pair::shaken(&ends, 1_000);
        record(&mut pair);
        let wire = pair.client.socket_mut();
        wire.incoming.truncate(cut);
        wire.has_ended = true;
        let (read, end) = pair.read();
        assert_eq!(read, if cut == size { &b"hello"[..] } else { b"" });
        assert_eq!(tls_error(end), Some(TlsError::Cut), "cut at {cut}");
    }
    let mut pair = Pair::shaken(&ends, 1_000);
    record(&mut pair);
    pair.server.send_close_notify();
    pair.carry();
    let (read, end) = pair.read();
    assert_eq!((&*read, end.unwrap()), (&b"hello"[..], 0));
}

#[test]
fn a_byte_that_was_changed_gives_an_error_and_never_another_text() {
    let ends = ends();
    let size = {
        let mut pair = Pair::shaken(&ends, 1_000);
        _ = pair.read();
        pair.server.writer().write_all(b"hello").unwrap();
        pair.carry();
        pair.client.socket().incoming.len()
    };
    for at in 0..size {
        let mut pair = Pair::shaken(&ends, 1_000);
        _ = pair.read();
        pair.server.writer().write_all(b"hello").unwrap();
        pair.carry();
        let wire = pair.client.socket_mut();
        wire.incoming[at] ^= 1;
        wire.has_ended = true;
        let (read, end) = pair.read();
        // Type and version in the head are the same for all records, and not looked at.
        let said: &[u8] = if at < 3 { &read } else { b"" };
        assert_eq!(read, said, "changed at {at}");
        assert!(b"hello".starts_with(&read), "changed at {at}");
        assert!(tls_error(end).is_some(), "changed at {at}");
    }
}

#[test]
fn nothing_more_is_taken_while_some_waits() {
    let mut pair = Pair::shaken(&ends(), usize::MAX);
    pair.client.socket_mut().room = 10;
    let taken = pair.client.write(&[0; 200_000]).unwrap();
    assert!(taken <= 64 * 1024, "{taken}");
    let more = pair.client.write(b"more").map_err(|error| error.kind());
    assert_eq!(more, Err(ErrorKind::WouldBlock));
    let flushed = pair.client.flush().map_err(|error| error.kind());
    assert_eq!(flushed, Err(ErrorKind::WouldBlock));
    pair.client.socket_mut().room = usize::MAX;
    assert_eq!(pair.client.write(b"more").unwrap(), 4);
    assert_eq!(pair.carry().len(), taken + 4);
}
