//! The floor: a server that makes the system calls of an echo or a fan-out, and does nothing else.
//!
//! It answers the WebSocket handshake; then the first frame of a connection teaches it the frame's
//! size and the answer. From there on it parses nothing: so many bytes are so many frames, and as
//! many prepared answers go out. One read, one write, no copy: what an echo server costs more than
//! this is its own.
//!
//! As a fan-out ([`FanoutHandler`]), it writes the frames to all others instead. It also answers HTTP
//! requests ([`DurableHandler`]): as they come, or with a directory once they are on disk.
//!
//! It is a yardstick, not a server: it believes that all frames of a connection are equal. Only a
//! Close as the first frame is understood, so that connecting and leaving can be measured too.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;
use rustix::fs::FileType;
use signal_hook::consts::{SIGINT, SIGTERM};
use socket2::{Domain, Protocol, Socket, Type};

use crate::flags::seconds;
use crate::floor::durable::DurableHandler;
use crate::floor::echo::EchoHandler;
use crate::floor::fanout::{Audience, FanoutHandler};
use crate::floor::handler::Handler;
use crate::wire::poll::Poll;

/// Connections that may wait to be accepted: as many as Linux allows without being told otherwise.
const BACKLOG: i32 = 4096;
/// Connections that are accepted before others are served again.
const ACCEPTED_AT_ONCE_MAX: usize = 64;
/// Key of the listener; a connection's key is its place in a slab, which never gets here.
const LISTENER: usize = usize::MAX;

/// The floor to compare with: a bare epoll server that answers without parsing.
#[derive(Debug, Args)]
pub(crate) struct Raw {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads, each with its own epoll.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// Writes what one connection sends to all others, instead of back.
    #[arg(long, conflicts_with = "threads")]
    fanout: bool,
    /// The same for many small rooms: writes to N of the others in turn, and back.
    #[arg(long, value_name = "N", conflicts_with_all = ["threads", "fanout"])]
    in_turn: Option<usize>,
    /// Answers HTTP requests instead, which are all as long as a connection's first one.
    #[arg(long, conflicts_with_all = ["fanout", "in_turn"])]
    http: bool,
    /// The same, but once they are in a file in this directory, synced.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["fanout", "in_turn"])]
    data: Option<PathBuf>,
    /// Stops after this time, in seconds [default: at SIGTERM, or when a piped input ends].
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
}

impl Raw {
    /// Serves until told to stop: by SIGTERM, SIGINT, the end of a standard input that is a pipe, or
    /// time.
    ///
    /// The first line on standard output is `listening on ADDRESS pid N`.
    ///
    /// # Errors
    ///
    /// The address can't be listened on, or a thread's epoll failed.
    pub(crate) fn run(&self) -> io::Result<()> {
        let first = listen(self.listen, self.threads > 1)?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..self.threads {
            listeners.push(listen(address, true)?);
        }
        let (stop, stopped) = mpsc::channel();
        watch_signals(stop.clone())?;
        watch_stdin(stop.clone());
        for listener in listeners {
            let (stop, data) = (stop.clone(), self.data.clone());
            let (audience, http) = (self.audience(), self.http);
            thread::spawn(move || {
                stop.send(match data {
                    Some(directory) => DurableHandler::new(Some(&directory))
                        .map_err(|error| unwritable(&directory, &error))
                        .and_then(|handler| serve(listener, handler)),
                    None if http => {
                        DurableHandler::new(None).and_then(|handler| serve(listener, handler))
                    }
                    None => match audience {
                        Some(audience) => serve(listener, FanoutHandler::new(audience)),
                        None => serve(listener, EchoHandler::new()),
                    },
                })
            });
        }
        // Nobody may want to know.
        _ = writeln!(
            io::stdout().lock(),
            "listening on {address} pid {}",
            std::process::id()
        );
        match self.seconds {
            Some(time) => stopped.recv_timeout(time).unwrap_or(Ok(())),
            None => stopped.recv().unwrap_or(Ok(())),
        }
    }
}

impl Raw {
    /// Whom frames are written to; `None` for an echo.
    fn audience(&self) -> Option<Audience> {
        let in_turn = self.in_turn.map(Audience::InTurn);
        in_turn.or(self.fanout.then_some(Audience::All))
    }
}

fn serve(listener: TcpListener, handler: impl Handler) -> io::Result<()> {
    FloorServer::new(listener, handler)?.serve()
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

struct FloorServer<H> {
    listener: TcpListener,
    poll: Poll,
    handler: H,
}

impl<H: Handler> FloorServer<H> {
    fn new(listener: TcpListener, handler: H) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        Ok(Self {
            listener,
            poll,
            handler,
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
                    self.handler.ready(ready.key, ready.hung_up);
                }
            }
            self.handler.end_batch()?;
            // After the batch: an event in it may still belong to a place that was freed meanwhile.
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
                    self.poll.add(&socket, self.handler.vacant_key())?;
                    self.handler.accept(socket);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Ok(true), // no descriptor, or the peer has gone already
            }
        }
        Ok(true)
    }
}
