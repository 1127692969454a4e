//! One HTTP connection under load: a fixed number of unanswered requests, each answer read to its
//! end.
//!
//! A server that announces the end of the connection gets a new one: that is how HTTP works, and
//! is counted, not blamed. An end without announcement is a failure.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::client::load_client::{Interval, LoadClient, NextSocket};
use crate::client::opening::Open;
use crate::client::pending::PendingRequests;
use crate::client::socket::{LoadSocket, Place, connect};
use crate::measure::failure::Failure;
use crate::wire::read::{ReadBuffer, ReadEnd};
use crate::wire::repeat::{Repeat, Unsent};
use crate::wire::response::ResponseParser;

/// What all connections of a run ask; prepared once.
#[derive(Debug)]
pub(crate) struct HttpRequest {
    /// The request, as often as it goes into one write.
    pub(crate) requests: Repeat,
    /// Whether the answers have no body, as those to HEAD.
    pub(crate) bodiless: bool,
    /// Where to connect again.
    pub(crate) place: Place,
}

/// One connection that keeps its requests in flight.
#[derive(Debug)]
pub(crate) struct HttpClient {
    socket: LoadSocket,
    request: Arc<HttpRequest>,
    source: Option<SocketAddr>,
    in_flight: usize,
    unsent: Unsent,
    pending: PendingRequests,
    parser: ResponseParser,
    statuses: Vec<(u16, u64)>,
    reconnects: u64,
}

impl HttpClient {
    /// Takes over an open connection; further ones come from `source` too.
    pub(crate) fn new(
        open: Open,
        request: Arc<HttpRequest>,
        source: Option<SocketAddr>,
        in_flight: usize,
    ) -> Self {
        Self {
            socket: open.socket,
            parser: ResponseParser::new(request.bodiless),
            request,
            source,
            in_flight,
            unsent: Unsent::default(),
            pending: PendingRequests::default(),
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
        self.pending.ask(count, now_ns);
        self.unsent.add(count as usize, &self.request.requests);
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.unsent.write(&self.request.requests, &self.socket)?)
    }

    fn reconnect(&mut self, interval: &mut Interval) -> Result<(), Failure> {
        let place = &self.request.place;
        let failed = |error| Failure::of_connecting(error, place.address);
        self.socket = connect(place, self.source).map_err(failed)?;
        self.reconnects += 1;
        self.parser = ResponseParser::new(self.request.bodiless);
        self.pending.clear();
        self.unsent = Unsent::default();
        self.begin(interval)
    }
}

impl LoadClient for HttpClient {
    fn socket(&self) -> &LoadSocket {
        &self.socket
    }

    fn begin(&mut self, interval: &mut Interval) -> Result<(), Failure> {
        self.ask(self.in_flight as u64, interval.now());
        self.flush()
    }

    fn ready(
        &mut self,
        buffer: &mut ReadBuffer,
        interval: &mut Interval,
    ) -> Result<NextSocket, Failure> {
        let end = buffer.read_all(&self.socket, |bytes| {
            let mut answers = 0;
            self.parser.receive(bytes, |status, _| {
                answers += 1;
                if interval.measuring {
                    count_status(&mut self.statuses, status);
                }
            })?;
            if answers > 0 {
                let now = interval.now();
                self.pending.answer(answers, now, interval)?;
                self.pending.ask(answers, now);
                self.unsent.add(answers as usize, &self.request.requests);
            }
            Ok::<_, Failure>(match self.parser.is_closing() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        match end {
            ReadEnd::Drained => {
                self.flush()?;
                return Ok(NextSocket::Same);
            }
            ReadEnd::Stopped => {}
            ReadEnd::Closed => {
                if let Some(status) = self.parser.end()? {
                    let now = interval.now();
                    self.pending.answer(1, now, interval)?;
                    if interval.measuring {
                        count_status(&mut self.statuses, status);
                    }
                }
            }
        }
        self.reconnect(interval)?;
        Ok(NextSocket::New)
    }
}

fn count_status(statuses: &mut Vec<(u16, u64)>, status: u16) {
    match statuses.iter_mut().find(|(known, _)| *known == status) {
        Some((_, count)) => *count += 1,
        None => statuses.push((status, 1)),
    }
}
