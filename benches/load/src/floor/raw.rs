//! The floor: a server that makes the system calls of an echo or a fan-out, and does nothing else.
//!
//! It answers the WebSocket handshake; then the first frame of a connection teaches it the frame's
//! size and the answer. From there on it parses nothing: so many bytes are so many frames, and as
//! many prepared answers go out. One read, one write, no copy: what an echo server costs more than
//! this is its own.
//!
//! As a fan-out ([`Crowd`]), it writes the frames to all others instead. With a directory
//! ([`Notary`]), it answers HTTP requests once they are on disk.
//!
//! It is a yardstick, not a server: it believes that all frames of a connection are equal. Only a
//! Close as the first frame is understood, so that connecting and leaving can be measured too.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::FileType;
use signal_hook::consts::{SIGINT, SIGTERM};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use crate::floor::durable::Notary;
use crate::floor::echo::{Fate, Lessons, Parrot, READ_SIZE};
use crate::floor::fanout::Crowd;
use crate::floor::handler::Hall;
use crate::wire::poll::Poll;

const BACKLOG: i32 = 4096;
const ACCEPTED_AT_ONCE_MAX: usize = 64;
/// Key of the listener; a connection's key is its place in a slab, which never gets here.
const LISTENER: usize = usize::MAX;

/// Whom an answer goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Back to where it came from.
    Echo,
    /// To all others of the same thread: see [`Crowd`].
    Fanout,
    /// Back, once it is on disk in this directory: see [`Notary`].
    Durable(PathBuf),
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Threads, each with its own listening socket and epoll.
    pub(crate) threads: usize,
    /// Whom an answer goes to.
    pub(crate) manner: Manner,
    /// Stops by itself after this time.
    pub(crate) stop_after: Option<Duration>,
}

/// Serves until told to stop: by SIGTERM, SIGINT, the end of a standard input that is a pipe, or time.
///
/// The first line on standard output is `listening on ADDRESS pid N`.
///
/// # Errors
///
/// The address can't be listened on, or a thread's epoll failed.
pub(crate) fn run(settings: &Settings) -> io::Result<()> {
    let first = listen(settings.listen, settings.threads > 1)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..settings.threads {
        listeners.push(listen(address, true)?);
    }
    let (stop, stopped) = mpsc::channel();
    watch_signals(stop.clone())?;
    watch_stdin(stop.clone());
    for listener in listeners {
        let stop = stop.clone();
        let manner = settings.manner.clone();
        thread::spawn(move || {
            stop.send(match manner {
                Manner::Echo => Floor::new(listener, Parrots::new()).and_then(Floor::serve),
                Manner::Fanout => Floor::new(listener, Crowd::new()).and_then(Floor::serve),
                Manner::Durable(directory) => Notary::new(&directory)
                    .map_err(|error| unwritable(&directory, &error))
                    .and_then(|notary| Floor::new(listener, notary))
                    .and_then(Floor::serve),
            })
        });
    }
    println!("listening on {address} pid {}", std::process::id());
    match settings.stop_after {
        Some(time) => stopped.recv_timeout(time).unwrap_or(Ok(())),
        None => stopped.recv().unwrap_or(Ok(())),
    }
}

fn unwritable(directory: &Path, error: &io::Error) -> io::Error {
    let message = format!(
        "can't make a file in --data {}: {error}",
        directory.display()
    );
    io::Error::new(error.kind(), message)
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

type Stop = mpsc::Sender<io::Result<()>>;

fn watch_signals(stop: Stop) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        signals.forever().next();
        _ = stop.send(Ok(())); // nobody waits any more: it is stopping already
    });
    Ok(())
}

/// Stops at the end of standard input, but only of a pipe or socket: a shell gives what runs in
/// the background `/dev/null`, which is at its end from the beginning.
fn watch_stdin(stop: Stop) {
    let kind = rustix::fs::fstat(io::stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if matches!(kind, Ok(FileType::Fifo | FileType::Socket)) {
        thread::spawn(move || {
            _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            _ = stop.send(Ok(()));
        });
    }
}

/// Connections that are answered, each for itself.
struct Parrots {
    parrots: Slab<Parrot>,
    lessons: Lessons,
    bytes: Vec<u8>,
}

impl Parrots {
    fn new() -> Self {
        Self {
            parrots: Slab::new(),
            lessons: Lessons::default(),
            bytes: vec![0; READ_SIZE],
        }
    }
}

impl Hall for Parrots {
    fn vacant_key(&self) -> usize {
        self.parrots.vacant_key()
    }

    fn enter(&mut self, socket: TcpStream) {
        self.parrots.insert(Parrot::new(socket));
    }

    fn ready(&mut self, key: usize, hung_up: bool) {
        if let Some(parrot) = self.parrots.get_mut(key)
            && parrot.ready(&mut self.bytes, hung_up, &mut self.lessons) == Fate::Ends
        {
            self.parrots.remove(key);
        }
    }
}

struct Floor<H> {
    listener: TcpListener,
    poll: Poll,
    hall: H,
}

impl<H: Hall> Floor<H> {
    fn new(listener: TcpListener, hall: H) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        Ok(Self {
            listener,
            poll,
            hall,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut more = false;
        loop {
            let pause = if more {
                Duration::from_millis(1)
            } else {
                Duration::from_secs(3600)
            };
            let count = self.poll.wait(pause)?;
            let mut accepting = more;
            for index in 0..count {
                let ready = self.poll.ready(index);
                if ready.key == LISTENER {
                    accepting = true;
                } else {
                    self.hall.ready(ready.key, ready.hung_up);
                }
            }
            self.hall.batch_read()?;
            // After the batch: a place that was freed in it may have news in it still.
            more = accepting && self.accept()?;
        }
    }

    /// Says whether to come back soon, since the edge is used up: more may wait, or nothing is free.
    fn accept(&mut self) -> io::Result<bool> {
        for _ in 0..ACCEPTED_AT_ONCE_MAX {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    self.poll.add(&socket, self.hall.vacant_key())?;
                    self.hall.enter(socket);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Ok(true), // no descriptor, or the peer has gone already
            }
        }
        Ok(true)
    }
}
