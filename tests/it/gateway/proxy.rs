//! A network of the tests: what goes through it is cut, held up or lost as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::tls::everywhere;

/// What the network does to everything that goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Nobody takes a connection; those that are there are cut.
    Refusing,
    /// A connection is cut after so many more bytes, wherever that is in a frame.
    CutAfter(u64),
    /// Bytes go nowhere until the weather changes.
    Stalled,
    /// Each piece takes so many milliseconds.
    Slow(u64),
    /// One byte at a time.
    Trickling,
    /// What the upstream says is lost, and with it the connection, once the weather changes: a
    /// stream never goes on behind a hole.
    AnswersLost,
    /// What the upstream says goes nowhere until the weather changes.
    AnswersHeld,
    /// The upstream's side is shut, the gateway's stays open.
    UpstreamShut,
    /// The other way round.
    GatewayShut,
}

impl Weather {
    /// How often the gateway connects anew in this weather, at least: once where what comes after a
    /// cut is left alone, again and again where that breaks too, and never where a link only slows.
    pub fn connections_min(self) -> u64 {
        match self {
            Self::Fair | Self::Slow(_) | Self::Trickling | Self::AnswersHeld => 0,
            Self::UpstreamShut | Self::GatewayShut => 1,
            Self::Refusing | Self::CutAfter(_) | Self::Stalled | Self::AnswersLost => 2,
        }
    }
}

struct Shared {
    weather: Mutex<Weather>,
    /// What may still pass before a cut.
    bytes_left: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
    to: SocketAddr,
    /// Connections of the gateway so far, whatever became of them.
    accepted: AtomicU64,
    is_over: AtomicBool,
}

pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToUpstream,
    ToGateway,
}

impl Proxy {
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        everywhere::carries(address);
        let shared = Arc::new(Shared {
            weather: Mutex::new(Weather::Fair),
            bytes_left: AtomicU64::new(0),
            streams: Mutex::default(),
            to: everywhere::before(to),
            accepted: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own.is_over.load(Ordering::SeqCst) {
                    return;
                }
                own.accepted.fetch_add(1, Ordering::SeqCst);
                own.carry(stream.unwrap());
            }
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    /// Changes the weather, also for connections that are there.
    pub fn set(&self, weather: Weather) {
        if let Weather::CutAfter(bytes) = weather {
            self.shared.bytes_left.store(bytes, Ordering::SeqCst);
        }
        *self.shared.weather.lock().unwrap() = weather;
        let streams = self.shared.streams.lock().unwrap();
        match weather {
            Weather::Refusing => self.shut(&streams, Shutdown::Both),
            Weather::UpstreamShut => {
                // Every second one is the upstream's.
                for stream in streams.iter().skip(1).step_by(2) {
                    stream.shutdown(Shutdown::Write).ok();
                }
            }
            Weather::GatewayShut => {
                for stream in streams.iter().step_by(2) {
                    stream.shutdown(Shutdown::Write).ok();
                }
            }
            _ => {}
        }
    }

    /// How many connections of the gateway it has taken.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Cuts what is there now.
    pub fn cut(&self) {
        self.shut(&self.shared.streams.lock().unwrap(), Shutdown::Both);
    }

    fn shut(&self, streams: &[TcpStream], how: Shutdown) {
        for stream in streams {
            stream.shutdown(how).ok();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        self.cut();
    }
}

impl Shared {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }

    fn carry(self: &Arc<Self>, gateway: TcpStream) {
        if self.weather() == Weather::Refusing {
            return;
        }
        let Ok(upstream) = TcpStream::connect(self.to) else {
            return;
        };
        let mut streams = self.streams.lock().unwrap();
        for stream in [&gateway, &upstream] {
            stream.set_nodelay(true).ok();
            streams.push(stream.try_clone().unwrap());
        }
        drop(streams);
        let back = (upstream.try_clone().unwrap(), gateway.try_clone().unwrap());
        for (from, to, way) in [
            (gateway, upstream, Way::ToUpstream),
            (back.0, back.1, Way::ToGateway),
        ] {
            let shared = Arc::clone(self);
            std::thread::spawn(move || {
                if shared.copy(&from, &to, way).is_err() {
                    from.shutdown(Shutdown::Both).ok();
                    to.shutdown(Shutdown::Both).ok();
                }
            });
        }
    }

    fn is_held_up(&self, way: Way) -> bool {
        match self.weather() {
            Weather::Stalled => true,
            Weather::AnswersHeld => way == Way::ToGateway,
            _ => false,
        }
    }

    /// Carries one way until its end.
    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, way: Way) -> std::io::Result<()> {
        let mut buffer = [0; 4_096];
        let mut has_lost = false;
        loop {
            let is_trickling = self.weather() == Weather::Trickling;
            let size = if is_trickling { 1 } else { buffer.len() };
            let size = from.read(&mut buffer[..size])?;
            if size == 0 {
                to.shutdown(Shutdown::Write)?;
                return Ok(());
            }
            while self.is_held_up(way) && !self.is_over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            match self.weather() {
                Weather::CutAfter(_) => {
                    let left = self.bytes_left.load(Ordering::SeqCst);
                    let passing = left.min(size as u64);
                    self.bytes_left.fetch_sub(passing, Ordering::SeqCst);
                    to.write_all(&buffer[..passing as usize])?;
                    if passing < size as u64 {
                        return Err(std::io::Error::other("cut"));
                    }
                    continue;
                }
                Weather::AnswersLost if way == Way::ToGateway => {
                    has_lost = true;
                    continue;
                }
                _ if has_lost => return Err(std::io::Error::other("a hole")),
                Weather::Slow(ms) => std::thread::sleep(Duration::from_millis(ms)),
                _ => {}
            }
            to.write_all(&buffer[..size])?;
        }
    }
}
