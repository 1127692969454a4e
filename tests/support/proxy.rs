//! A way between two programs that a test can cut, hold up, and slow down, one direction or both.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Where the way leads.
#[derive(Debug, Clone)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The connections that are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that subscribe to something.
    Bus,
    /// The others.
    Calls,
    All,
}

/// What a way does to what goes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Every connection is ended, and a new one at once.
    Cut,
    /// Nothing goes either way, nor is anything lost.
    Held,
    /// Nothing goes to the server, nor is anything lost.
    HeldToServer,
    /// Nothing goes to the client, nor is anything lost.
    HeldToClient,
    /// Everything comes so much later.
    Slow(Duration),
}

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

#[derive(Debug)]
struct State {
    bus: Way,
    calls: Way,
    /// Connections with greater numbers go their way unhindered.
    up_to: u64,
    /// Connections so far.
    count: u64,
    /// Connections up to this one are ended.
    cut_up_to: u64,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    target: Mutex<Target>,
}

/// A listener in front of a server.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn to(target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                bus: Way::Open,
                calls: Way::Open,
                up_to: u64::MAX,
                count: 0,
                cut_up_to: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            target: Mutex::new(target),
        });
        let listening = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if listening.lock().closed {
                    return;
                }
                if let Ok(client) = client {
                    Shared::join(&listening, client);
                }
            }
        });
        Self { address, shared }
    }

    /// From now on these connections fare so, those to come as well.
    pub fn set(&self, which: Which, way: Way) {
        self.change(which, way, u64::MAX);
    }

    /// From now on these connections fare so, but not those to come.
    pub fn set_for_present(&self, which: Which, way: Way) {
        let count = self.shared.lock().count;
        self.change(which, way, count);
    }

    fn change(&self, which: Which, way: Way, up_to: u64) {
        let mut state = self.shared.lock();
        if which != Which::Calls {
            state.bus = way;
        }
        if which != Which::Bus {
            state.calls = way;
        }
        state.up_to = up_to;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Leads elsewhere from now on; who goes over it already is cut off.
    pub fn lead_to(&self, target: Target) {
        *self.shared.target.lock().unwrap() = target;
        let mut state = self.shared.lock();
        state.cut_up_to = state.count;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Connections so far.
    pub fn count(&self) -> u64 {
        self.shared.lock().count
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        drop(state);
        self.shared.changed.notify_all();
        // The listener looks whether it is still wanted once somebody comes.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Connects a client through, on two threads.
    fn join(shared: &Arc<Self>, client: TcpStream) {
        let mut state = shared.lock();
        state.count += 1;
        let number = state.count;
        let refuses = state.bus == Way::Cut && state.calls == Way::Cut;
        drop(state);
        if refuses {
            return;
        }
        client.set_nodelay(true).unwrap();
        let server: Box<dyn Stream> = match &*shared.target.lock().unwrap() {
            Target::Tcp(address) => match TcpStream::connect(address) {
                Ok(server) => {
                    server.set_nodelay(true).unwrap();
                    Box::new(server)
                }
                Err(_) => return,
            },
            Target::Unix(path) => match UnixStream::connect(path) {
                Ok(server) => Box::new(server),
                Err(_) => return,
            },
        };
        let is_bus = Arc::new(Mutex::new(false));
        let client: Box<dyn Stream> = Box::new(client);
        let pumps = [
            (client.second(), server.second(), Direction::ToServer),
            (server, client, Direction::ToClient),
        ];
        for (from, to, direction) in pumps {
            let pump = Pump {
                shared: Arc::clone(shared),
                number,
                direction,
                is_bus: Arc::clone(&is_bus),
            };
            thread::spawn(move || pump.run(from, to));
        }
    }
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    number: u64,
    direction: Direction,
    is_bus: Arc<Mutex<bool>>,
}

impl Pump {
    fn run(&self, mut from: Box<dyn Stream>, mut to: Box<dyn Stream>) {
        let mut buffer = vec![0; 65_536];
        from.look_up_every(Duration::from_millis(20));
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.way() == Way::Cut {
                        break;
                    }
                    continue;
                }
                Err(_) => break,
            };
            let bytes = &buffer[..read];
            if self.direction == Direction::ToServer
                && bytes.windows(9).any(|word| word == b"SUBSCRIBE")
            {
                *self.is_bus.lock().unwrap() = true;
            }
            if !self.pass(Instant::now()) || to.write_all(bytes).is_err() {
                break;
            }
        }
        to.end();
        from.end();
    }

    /// Waits until what came at this moment may go on; tells whether it may at all.
    fn pass(&self, came: Instant) -> bool {
        let mut state = self.shared.lock();
        loop {
            let wait = match self.way_in(&state) {
                Way::Cut => return false,
                Way::Held => None,
                Way::HeldToServer if self.direction == Direction::ToServer => None,
                Way::HeldToClient if self.direction == Direction::ToClient => None,
                Way::Slow(time) => Some(time.saturating_sub(came.elapsed())),
                Way::Open | Way::HeldToServer | Way::HeldToClient => return true,
            };
            if wait == Some(Duration::ZERO) {
                return true;
            }
            let wait = wait.unwrap_or(Duration::from_secs(1));
            state = self.shared.changed.wait_timeout(state, wait).unwrap().0;
        }
    }

    fn way(&self) -> Way {
        self.way_in(&self.shared.lock())
    }

    fn way_in(&self, state: &State) -> Way {
        let is_bus = *self.is_bus.lock().unwrap();
        let closed = state.closed || self.number <= state.cut_up_to;
        match (closed, self.number > state.up_to, is_bus) {
            (true, ..) => Way::Cut,
            (_, true, _) => Way::Open,
            (.., true) => state.bus,
            (.., false) => state.calls,
        }
    }
}

/// Both kinds of sockets.
trait Stream: Read + Write + Send {
    fn second(&self) -> Box<dyn Stream>;
    fn look_up_every(&self, time: Duration);
    fn end(&self);
}

impl Stream for TcpStream {
    fn second(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }

    fn look_up_every(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Stream for UnixStream {
    fn second(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }

    fn look_up_every(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}
