//! A server of TLS that hands on what is inside to another address, in the clear, and does on demand
//! what a broken or a hostile one would.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ServerConfig, ServerConnection};

use super::authority::Identity;

/// What goes wrong with the connections that come from now on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Nothing is ever said.
    Silent,
    /// The connection ends, without a word, after so many bytes that the server has sent.
    CutAfter(usize),
    /// Each byte of the server goes out alone.
    Trickle,
    /// New keys are taken after each so many bytes of the server.
    KeysEvery(usize),
}

/// The server; it ends with the value.
pub struct Terminator {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    target: SocketAddr,
    fault: Fault,
    count: u64,
    /// Connections up to this number are cut.
    cut_up_to: u64,
    shaken: u64,
    /// Bytes that came of clients, without TLS.
    heard: u64,
    is_closed: bool,
}

impl Terminator {
    /// Shows who it is by this identity, and leads to this address.
    pub fn start(identity: &Identity, target: SocketAddr) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), identity, target)
    }

    pub fn start_on(listener: TcpListener, identity: &Identity, target: SocketAddr) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State {
            config: identity.config(),
            target,
            fault: Fault::None,
            count: 0,
            cut_up_to: 0,
            shaken: 0,
            heard: 0,
            is_closed: false,
        });
        let shared = Arc::new(Shared { state });
        let listening = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if listening.lock().is_closed {
                    return;
                }
                if let Ok(client) = client {
                    Shared::join(&listening, client);
                }
            }
        });
        Self { address, shared }
    }

    pub fn url(&self, scheme: &str, host: &str, path: &str) -> String {
        format!("{scheme}://{host}:{}{path}", self.address.port())
    }

    /// Lets the connections to come fare so.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.lock().fault = fault;
    }

    /// Shows another certificate from now on.
    pub fn show(&self, identity: &Identity) {
        self.shared.lock().config = identity.config();
    }

    /// Leads elsewhere from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }

    /// Cuts all who are there, without a word.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.cut_up_to = state.count;
    }

    /// Connections so far.
    pub fn count(&self) -> u64 {
        self.shared.lock().count
    }

    /// Bytes of clients that came through so far.
    pub fn heard(&self) -> u64 {
        self.shared.lock().heard
    }

    /// Handshakes that were finished so far.
    pub fn shaken(&self) -> u64 {
        self.shared.lock().shaken
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        state.cut_up_to = u64::MAX;
        drop(state);
        // The listener looks whether it is still wanted once somebody comes.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn join(shared: &Arc<Self>, client: TcpStream) {
        let mut state = shared.lock();
        state.count += 1;
        let (number, fault, target) = (state.count, state.fault, state.target);
        let session = ServerConnection::new(Arc::clone(&state.config)).unwrap();
        drop(state);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let Ok(server) = TcpStream::connect(target) else {
                return;
            };
            let connection = Forwarder {
                shared,
                number,
                fault,
                session,
                client,
                server,
                to_server: Vec::new(),
                sent: 0,
                since_keys: 0,
                was_shaken: false,
                ends: false,
            };
            connection.run();
        });
    }
}

/// One connection, and that of the server behind.
struct Forwarder {
    shared: Arc<Shared>,
    number: u64,
    fault: Fault,
    session: ServerConnection,
    client: TcpStream,
    server: TcpStream,
    /// Bytes of the client that the server behind has yet to take.
    to_server: Vec<u8>,
    /// Bytes that went to the client.
    sent: usize,
    since_keys: usize,
    was_shaken: bool,
    /// Whether the server behind has ended.
    ends: bool,
}

impl Forwarder {
    fn run(mut self) {
        for socket in [&self.client, &self.server] {
            socket.set_nonblocking(true).unwrap();
            socket.set_nodelay(true).unwrap();
        }
        while !self.is_cut() && self.turn().is_ok() {}
        _ = self.client.shutdown(Shutdown::Both);
        _ = self.server.shutdown(Shutdown::Both);
    }

    fn is_cut(&self) -> bool {
        self.number <= self.shared.lock().cut_up_to
    }

    /// Waits, and does what can be done; an error ends both connections.
    fn turn(&mut self) -> std::io::Result<()> {
        let (may_read, may_write) = self.wait();
        if may_read && self.fault != Fault::Silent {
            self.hear_client()?;
        }
        self.pass_to_server()?;
        if may_write && !self.session.wants_write() && !self.session.is_handshaking() {
            self.hear_server()?;
        }
        self.send()?;
        match self.ends && !self.session.wants_write() {
            true => Err(ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    /// Whether there may be something to read of the client, and of the server.
    fn wait(&self) -> (bool, bool) {
        let mut client = PollFlags::empty();
        let mut server = PollFlags::empty();
        client.set(PollFlags::IN, self.to_server.is_empty());
        client.set(PollFlags::OUT, self.session.wants_write());
        server.set(PollFlags::OUT, !self.to_server.is_empty());
        let hears = !self.session.wants_write() && !self.session.is_handshaking();
        server.set(PollFlags::IN, hears && !self.ends);
        if self.fault == Fault::Silent {
            client = PollFlags::empty();
        }
        let mut fds = [
            PollFd::new(&self.client, client),
            PollFd::new(&self.server, server),
        ];
        // It has to be seen now and then whether it is cut.
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        _ = poll(&mut fds, Some(&tick));
        let ready = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::IN | PollFlags::HUP);
        (ready(&fds[0]) && self.to_server.is_empty(), ready(&fds[1]))
    }

    fn hear_client(&mut self) -> std::io::Result<()> {
        match self.session.read_tls(&mut self.client) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Err(error) = self.session.process_new_packets() {
            _ = self.session.write_tls(&mut self.client);
            return Err(std::io::Error::other(error));
        }
        if !self.session.is_handshaking() && !self.was_shaken {
            self.was_shaken = true;
            self.shared.lock().shaken += 1;
        }
        let read = self.session.reader().read_to_end(&mut self.to_server);
        self.shared.lock().heard += self.to_server.len() as u64;
        match read {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    fn pass_to_server(&mut self) -> std::io::Result<()> {
        while !self.to_server.is_empty() {
            match self.server.write(&self.to_server) {
                Ok(count) => drop(self.to_server.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn hear_server(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; 16 << 10];
        match self.server.read(&mut bytes) {
            Ok(0) => {
                self.session.send_close_notify();
                self.ends = true;
                Ok(())
            }
            Ok(count) => {
                self.since_keys += count;
                if let Fault::KeysEvery(size) = self.fault
                    && self.since_keys >= size
                {
                    self.since_keys = 0;
                    let refreshed = self.session.refresh_traffic_keys();
                    refreshed.map_err(std::io::Error::other)?;
                }
                self.session.writer().write_all(&bytes[..count])
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self) -> std::io::Result<()> {
        while self.session.wants_write() {
            let size = match self.fault {
                Fault::CutAfter(size) => size - self.sent,
                Fault::Trickle => 1,
                _ => usize::MAX,
            };
            let mut some = AtMost(size, &mut self.client);
            match self.session.write_tls(&mut some) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.fault == Fault::CutAfter(self.sent) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// Takes so many bytes of a write at the most.
struct AtMost<'a>(usize, &'a mut TcpStream);

impl Write for AtMost<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.write(&bytes[..bytes.len().min(self.0)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
