//! Resolves the names of hosts, without the poll waiting for an answer.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::catch_unwind;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::Waker;

/// The upstream that asked, and the address of its host.
type Resolved = (usize, io::Result<SocketAddr>);

/// The way to the threads that ask the system's resolver, and back.
#[derive(Debug)]
pub(super) struct Resolver {
    waker: Arc<Waker>,
    sender: Sender<Resolved>,
    receiver: Receiver<Resolved>,
}

impl Resolver {
    /// Makes a resolver that wakes a poll for each answer.
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        let (sender, receiver) = unbounded();
        Self {
            waker,
            sender,
            receiver,
        }
    }

    /// Asks for an address of a host; if the host has several, each try takes the next one.
    ///
    /// An IP address is answered at once. For a name a thread of its own asks the system's resolver,
    /// which blocks; an upstream has one question at a time, so there are no more threads than
    /// upstreams.
    pub(super) fn ask(&self, upstream: usize, (host, port): (&str, u16), tries: u64) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.sender.send((upstream, Ok((ip, port).into()))).ok();
            self.waker.wake().ok();
            return;
        }
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let host = host.to_owned();
        let look_up = move || {
            // An upstream that waits for its answer never asks again.
            let resolved = catch_unwind(|| resolve(&host, port, tries));
            let resolved =
                resolved.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")));
            sender.send((upstream, resolved)).ok();
            waker.wake().ok();
        };
        let thread = std::thread::Builder::new().name("resolver".into());
        if let Err(error) = thread.spawn(look_up) {
            self.sender.send((upstream, Err(error))).ok();
            self.waker.wake().ok();
        }
    }

    /// Takes the answers that have come.
    pub(super) fn answers(&self) -> Vec<Resolved> {
        self.receiver.try_iter().collect()
    }
}

fn resolve(host: &str, port: u16, tries: u64) -> io::Result<SocketAddr> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let chosen = (tries as usize).checked_rem(addresses.len());
    let address = chosen.and_then(|at| addresses.get(at));
    address
        .copied()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
}
