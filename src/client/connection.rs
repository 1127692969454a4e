//! A connection to a server: by TCP, and by TLS where the address says so.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use tidings::tls::{ClientStream, TlsDialer, TlsError};

use super::{ClientError, ServerAddress};

/// Longest wait for a connection or an answer: a server that is alive needs milliseconds, and a
/// person at a terminal gives up soon.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A connection, encrypted or not.
pub(super) type Connection = ClientStream<TimedSocket>;

/// A socket whose reads and writes have a time each, or one for all of them.
#[derive(Debug)]
pub(super) struct TimedSocket {
    tcp: TcpStream,
    /// The end of the time that all of them have together.
    until: Option<Instant>,
}

impl TimedSocket {
    /// Connects to the first address that takes it.
    fn connect(server: &ServerAddress) -> io::Result<Self> {
        let mut failed = io::Error::other("the name has no address");
        for address in server.authority().to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, ANSWER_MAX) {
                Ok(tcp) => {
                    tcp.set_read_timeout(Some(ANSWER_MAX))?;
                    tcp.set_write_timeout(Some(ANSWER_MAX))?;
                    return Ok(Self { tcp, until: None });
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Gives each read this time; `None` has it wait without end.
    pub(super) fn wait_for(&self, time: Option<Duration>) -> io::Result<()> {
        self.tcp.set_read_timeout(time)
    }

    /// Looks how much of the common time is left.
    fn set_time(&self) -> io::Result<()> {
        let Some(until) = self.until else {
            return Ok(());
        };
        let left = until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(ErrorKind::TimedOut.into()),
            false => self.tcp.set_read_timeout(Some(left)),
        }
    }
}

impl Read for TimedSocket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.set_time()?;
        self.tcp.read(bytes)
    }
}

impl Write for TimedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.set_time()?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Connects to a server, whose answers are waited for [`ANSWER_MAX`] each, and for its whole TLS
/// handshake as long.
pub(super) fn connect(server: &ServerAddress) -> Result<Connection, ClientError> {
    let encrypts = server.is_encrypted();
    // Before anything is sent: what can't be trusted needs no connection.
    let dialer = encrypts.then(|| TlsDialer::new(server.trust())).transpose();
    let no_tls = |source| ClientError::Tls {
        address: server.authority().to_owned(),
        source,
    };
    let dialer = dialer.map_err(no_tls)?;
    let socket = TimedSocket::connect(server).map_err(|source| ClientError::Unreachable {
        address: server.authority().to_owned(),
        source,
    })?;
    match dialer {
        None => Ok(ClientStream::Plain(socket)),
        Some(dialer) => secure(&dialer, server.host(), socket).map_err(no_tls),
    }
}

fn secure(dialer: &TlsDialer, host: &str, socket: TimedSocket) -> Result<Connection, TlsError> {
    let until = Some(Instant::now() + ANSWER_MAX);
    let mut stream = dialer.begin(host, TimedSocket { until, ..socket })?;
    stream.shake().map_err(|error| {
        let known = error.get_ref().and_then(|error| error.downcast_ref());
        match (known, error.kind()) {
            (Some(known), _) => TlsError::clone(known),
            (None, ErrorKind::WouldBlock | ErrorKind::TimedOut) => TlsError::Silent,
            (None, _) => TlsError::Other(error.to_string()),
        }
    })?;
    let socket = stream.socket_mut();
    socket.until = None;
    let timed = socket.wait_for(Some(ANSWER_MAX));
    timed.map_err(|error| TlsError::Other(error.to_string()))?;
    Ok(ClientStream::Tls(Box::new(stream)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn once_the_common_time_is_over_nothing_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let tcp = TcpStream::connect(address).expect("a connection");
        let mut socket = TimedSocket {
            tcp,
            until: Some(Instant::now() + Duration::from_millis(20)),
        };
        let began = Instant::now();
        let end = loop {
            match socket.read(&mut [0]).map_err(|error| error.kind()) {
                Err(ErrorKind::WouldBlock) => {}
                end => break end,
            }
        };
        assert_eq!(end, Err(ErrorKind::TimedOut));
        let written = socket.write(b"x").map_err(|error| error.kind());
        assert_eq!(written, Err(ErrorKind::TimedOut));
        assert!(began.elapsed() < ANSWER_MAX, "{:?}", began.elapsed());
    }
}
