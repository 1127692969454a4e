//! Names of hosts to addresses, without the poll waiting for it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::Waker;

/// What became of a name, and who asked.
type Answer = (usize, io::Result<SocketAddr>);

/// See the module.
#[derive(Debug)]
pub(super) struct Names {
    waker: Arc<Waker>,
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
}

impl Names {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        let (sender, receiver) = unbounded();
        Self {
            waker,
            sender,
            receiver,
        }
    }

    /// Asks for an address of a host; of several, each try takes the next one.
    ///
    /// What is an address already needs nobody to look it up. The system's resolver waits, so a
    /// thread of its own asks it; whoever asks has one question at a time.
    pub(super) fn ask(&self, who: usize, (host, port): (&str, u16), tries: u64) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.sender.send((who, Ok((ip, port).into()))).ok();
            self.waker.wake().ok();
            return;
        }
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        let host = host.to_owned();
        let look_up = move || {
            sender.send((who, resolve(&host, port, tries))).ok();
            waker.wake().ok();
        };
        let thread = std::thread::Builder::new().name("names".into());
        if let Err(error) = thread.spawn(look_up) {
            self.sender.send((who, Err(error))).ok();
            self.waker.wake().ok();
        }
    }

    /// What is known by now.
    pub(super) fn answers(&self) -> Vec<Answer> {
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
