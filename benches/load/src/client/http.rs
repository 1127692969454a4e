//! One HTTP connection under load: so many requests unanswered, each answer read to its end.
//!
//! A server that announces the end of the connection gets a new one: that is how HTTP works, and
//! is counted, not blamed. An end without announcement is a failure.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crate::client::load_client::{Lap, Talk, Turn};
use crate::client::opening::{Open, connect};
use crate::client::pending::Flights;
use crate::measure::failure::Failure;
use crate::wire::repeat::{Debt, Repeat};
use crate::wire::response::Responses;

/// What all connections of a run ask; prepared once.
#[derive(Debug)]
pub(crate) struct Question {
    /// The request, as often as it goes into one write.
    pub(crate) requests: Repeat,
    /// Whether the answers have no body, as those to HEAD.
    pub(crate) bodiless: bool,
    /// Where to connect again.
    pub(crate) address: SocketAddr,
}

/// One connection that keeps its requests in flight.
#[derive(Debug)]
pub(crate) struct Exchange {
    socket: TcpStream,
    question: Arc<Question>,
    source: Option<SocketAddr>,
    in_flight: usize,
    owed: Debt,
    flights: Flights,
    responses: Responses,
    statuses: Vec<(u16, u64)>,
    reconnects: u64,
}

/// What one read left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// More may wait in the socket.
    Read,
    /// All was read.
    Wait,
    /// The server ended this connection as announced.
    Reconnect,
}

impl Exchange {
    /// Takes over an open connection; further ones come from `source` too.
    pub(crate) fn new(
        open: Open,
        question: Arc<Question>,
        source: Option<SocketAddr>,
        in_flight: usize,
    ) -> Self {
        Self {
            socket: open.socket,
            responses: Responses::new(question.bodiless),
            question,
            source,
            in_flight,
            owed: Debt::default(),
            flights: Flights::default(),
            statuses: Vec::new(),
            reconnects: 0,
        }
    }

    /// Status codes with their number within the measured window.
    pub(crate) fn statuses(&self) -> &[(u16, u64)] {
        &self.statuses
    }

    /// How often the connection was made anew.
    pub(crate) fn reconnects(&self) -> u64 {
        self.reconnects
    }

    fn ask(&mut self, count: u64, now_ns: u64) {
        self.flights.ask(count, now_ns);
        self.owed.add(count as usize, &self.question.requests);
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.owed
            .pay(&self.question.requests, &self.socket)
            .map_err(Failure::of_open)
    }

    fn read(&mut self, lap: &mut Lap) -> Result<After, Failure> {
        let (statuses, mut answers) = (&mut self.statuses, 0);
        let mut answered = |status| {
            answers += 1;
            if lap.measuring {
                count_status(statuses, status);
            }
        };
        let after = match self.socket.read(&mut lap.bytes) {
            Ok(0) => {
                self.responses.end()?.into_iter().for_each(answered);
                After::Reconnect
            }
            Ok(count) => {
                self.responses
                    .receive(&lap.bytes[..count], |status, _| answered(status))?;
                let drained = count < lap.bytes.len() && !lap.hung_up;
                match self.responses.is_closing() {
                    true => After::Reconnect,
                    false if drained => After::Wait,
                    false => After::Read,
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(After::Wait),
            Err(error) => return Err(Failure::of_open(error)),
        };
        if answers > 0 {
            let now = lap.now();
            self.flights.land(answers, now, lap)?;
            self.ask(answers, now);
        }
        Ok(after)
    }

    fn reconnect(&mut self, lap: &mut Lap) -> Result<(), Failure> {
        let address = self.question.address;
        let failed = |error| Failure::from_io(error, address);
        self.socket = connect(address, self.source).map_err(failed)?;
        self.reconnects += 1;
        self.responses = Responses::new(self.question.bodiless);
        self.flights.clear();
        self.owed = Debt::default();
        self.begin(lap)
    }
}

impl Talk for Exchange {
    fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn begin(&mut self, lap: &mut Lap) -> Result<(), Failure> {
        self.ask(self.in_flight as u64, lap.now());
        self.flush()
    }

    fn ready(&mut self, lap: &mut Lap) -> Result<Turn, Failure> {
        loop {
            match self.read(lap)? {
                After::Read => {}
                After::Wait => break,
                After::Reconnect => {
                    self.reconnect(lap)?;
                    return Ok(Turn::NewSocket);
                }
            }
        }
        self.flush()?;
        Ok(Turn::Same)
    }
}

fn count_status(statuses: &mut Vec<(u16, u64)>, status: u16) {
    match statuses.iter_mut().find(|(known, _)| *known == status) {
        Some((_, count)) => *count += 1,
        None => statuses.push((status, 1)),
    }
}
