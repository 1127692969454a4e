//! One round of fan-out: a room of members, some publishers, one epoll.
//!
//! Invariant: nothing is under way when the window begins and when it ends, so all CPU time
//! within it belongs to the deliveries that are counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::dialect::{Dialect, Transport};
use crate::client::load_client::{NextSocket, READ_SIZE};
use crate::client::marker::message;
use crate::client::opener::open_all;
use crate::client::opening::{Handshake, OPENING_MAX, Open};
use crate::client::publisher::Publisher;
use crate::client::server::Server;
use crate::client::socket::{reset_on_drop, send_frame};
use crate::client::source_addresses::SourceAddresses;
use crate::client::subscriber::{Matcher, Subscriber};
use crate::client::template::Blanks;
use crate::load::delivery_audit::Faults;
use crate::load::in_flight::{Acknowledging, FanoutTally, InFlight};
use crate::load::room_flags::{Pace, RoomFlags};
use crate::measure::cpu::CpuTimes;
use crate::measure::failure::{Failure, Failures};
use crate::measure::progress::Progress;
use crate::measure::report::grouped;
use crate::wire::frame::TEXT;
use crate::wire::poll::Poll;
use crate::wire::read::ReadBuffer;

/// Messages of one stream that are under way at most when a rate is kept.
const UNDER_WAY_MAX: usize = 1024;

/// What one round showed.
#[derive(Debug, Default)]
pub(crate) struct FanoutRound {
    /// What was counted within the window.
    pub(crate) tally: FanoutTally,
    /// What went astray in the whole round.
    pub(crate) faults: Faults,
    /// Length of the window as it really was, in seconds.
    pub(crate) seconds: f64,
    /// CPU time of the server's process tree, in nanoseconds, when its pid is known.
    pub(crate) server_ns: Option<u64>,
    /// CPU time of this process, in nanoseconds.
    pub(crate) generator_ns: u64,
    /// What failed in the whole round.
    pub(crate) failures: Failures,
}

impl FanoutRound {
    /// A count by the length of the window.
    pub(crate) fn a_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds.max(1e-9)
    }

    /// CPU time for one delivery, in microseconds.
    pub(crate) fn per_delivery_us(&self, ns: u64) -> f64 {
        ns as f64 / 1e3 / self.tally.deliveries.max(1) as f64
    }
}

/// Runs round `number`: come, join, warm up, measure, leave.
///
/// # Errors
///
/// Nothing could be measured: nobody came in, or the process can't be read.
pub(crate) fn measure(
    flags: &RoomFlags,
    server: &Server,
    dialect: &Dialect,
    number: usize,
    progress: &mut Progress,
) -> Result<FanoutRound, Failure> {
    let mut room = Room::open(flags, server, dialect, number, progress)?;
    room.join(progress)?;
    room.run(flags.warm_up, "warm-up", progress)?;
    let (cpu, begin) = (CpuTimes::sample(server.pid)?, Instant::now());
    room.in_flight.measuring = true;
    room.run(flags.seconds, "measured", progress)?;
    room.in_flight.measuring = false;
    let (cpu_end, seconds) = (CpuTimes::sample(server.pid)?, begin.elapsed().as_secs_f64());
    room.listen(flags.settle)?; // to what may come once more
    let mut round = room.end()?;
    round.seconds = seconds;
    round.server_ns = cpu_end.server_since(&cpu);
    round.generator_ns = cpu_end.generator_since(&cpu);
    // All leave at once: the server is done with that before the next round begins.
    std::thread::sleep(flags.settle);
    Ok(round)
}

struct Room<'a> {
    flags: &'a RoomFlags,
    server: &'a Server,
    dialect: &'a Dialect,
    /// The number of the round.
    number: usize,
    poll: Poll,
    /// Keys below their number are members', those behind are publishers'.
    members: Vec<Option<Subscriber>>,
    publishers: Vec<Option<Publisher>>,
    in_flight: InFlight,
    failures: Failures,
    buffer: ReadBuffer,
    scratch: Vec<u8>,
    data: Vec<u8>,
    epoch: Instant,
    /// The stream whose turn it is when a rate is kept.
    turn: usize,
}

impl<'a> Room<'a> {
    fn open(
        flags: &'a RoomFlags,
        server: &'a Server,
        dialect: &'a Dialect,
        number: usize,
        progress: &mut Progress,
    ) -> Result<Self, Failure> {
        let streams = flags.streams(dialect.publish.transport());
        let acknowledging = match dialect.publish.is_answered() {
            true => Acknowledging::Each,
            false => Acknowledging::Never,
        };
        let mut room = Self {
            flags,
            server,
            dialect,
            number,
            poll: Poll::new()?,
            members: (0..flags.members).map(|_| None).collect(),
            publishers: (0..streams).map(|_| None).collect(),
            in_flight: InFlight::new(flags.members, streams, acknowledging),
            failures: Failures::default(),
            buffer: ReadBuffer::new(READ_SIZE),
            scratch: Vec::new(),
            data: Vec::new(),
            epoch: Instant::now(),
            turn: 0,
        };
        let sources = server.sources(flags.members + streams);
        let members = room.open_members(sources, progress)?;
        let publishers = room.open_publishers(sources, progress)?;
        room.epoch = Instant::now();
        room.add_members(members)?;
        room.add_publishers(publishers, sources)?;
        Ok(room)
    }

    fn open_members(
        &mut self,
        sources: SourceAddresses,
        progress: &mut Progress,
    ) -> Result<Vec<Open>, Failure> {
        let handshake_of = |number: usize| {
            let blanks = blanks(number as u64, 0);
            Arc::new(
                self.server
                    .handshake(&self.dialect.member_path.filled(&blanks)),
            )
        };
        let count = self.members.len();
        let opened = open_all(&self.server.target, handshake_of, sources, count, progress)?;
        self.failures.merge(opened.failures);
        Ok(opened.connections)
    }

    fn open_publishers(
        &mut self,
        sources: SourceAddresses,
        progress: &mut Progress,
    ) -> Result<Vec<Open>, Failure> {
        let handshake_of = |number: usize| {
            let blanks = self.publisher_blanks(number);
            Arc::new(match self.dialect.publish.transport() {
                Transport::Http => Handshake::Nothing,
                Transport::WebSocket => {
                    (self.server).handshake(&self.dialect.publisher_path.filled(&blanks))
                }
            })
        };
        let count = self.publishers.len();
        let opened = open_all(&self.server.target, handshake_of, sources, count, progress)?;
        self.failures.merge(opened.failures);
        Ok(opened.connections)
    }

    /// Lets the members in; those that didn't come about are gone already.
    fn add_members(&mut self, connections: Vec<Open>) -> Result<(), Failure> {
        let matcher = matcher(self.dialect);
        for open in connections {
            let key = open.number;
            let mut member = Subscriber::new(open.socket, &matcher);
            self.poll.add(member.socket(), key)?;
            let mut begun = member.begin(&open.rest, &matcher, |publisher, seq| {
                self.in_flight.deliver(key, publisher, seq, 0);
            });
            if let (Some(join), Ok(())) = (&self.dialect.join, &begun) {
                let text = join.filled(&blanks(key as u64, 0));
                begun = send_frame(member.socket(), TEXT, text.as_bytes());
            }
            match begun {
                Ok(()) => self.members[key] = Some(member),
                Err(failure) => self.failures.add(&failure),
            }
        }
        for key in (0..self.members.len()).filter(|&key| self.members[key].is_none()) {
            self.in_flight.leave(key);
        }
        Ok(())
    }

    fn add_publishers(
        &mut self,
        connections: Vec<Open>,
        sources: SourceAddresses,
    ) -> Result<(), Failure> {
        for open in connections {
            let number = open.number;
            let publish = Arc::new(self.dialect.publish.clone());
            let (address, source) = (self.server.target.address, sources.source_of(number));
            let mut publisher = Publisher::new(open, publish, address, source)?;
            self.poll
                .add(publisher.socket(), self.members.len() + number)?;
            if let Some(join) = self.dialect.join.as_ref()
                && self.dialect.publishers_join
                && publisher.is_by_frames()
            {
                let text = join.filled(&self.publisher_blanks(number));
                send_frame(publisher.socket(), TEXT, text.as_bytes())?;
            }
            publisher.flush()?;
            self.publishers[number] = Some(publisher);
        }
        Ok(())
    }

    /// Waits until all members are in, and the server is done with that.
    fn join(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        let end = Instant::now() + OPENING_MAX;
        loop {
            let present = self.members.iter().flatten();
            let waiting = present.filter(|member| !member.is_in()).count();
            if waiting == 0 || Instant::now() >= end {
                break;
            }
            self.turn(Duration::from_millis(50))?;
            progress.tick(|| format!("joining: {waiting} members wait"));
        }
        for key in 0..self.members.len() {
            if self.members[key]
                .as_ref()
                .is_some_and(|member| !member.is_in())
            {
                self.bury(key, &Failure::Timeout("joining"));
            }
        }
        self.listen(self.flags.settle)?;
        match self.members.iter().any(Option::is_some) {
            true => Ok(()),
            false => Err(Failure::Timeout("joining: nobody came in")),
        }
    }

    /// Says nothing for a time.
    fn listen(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Publishes for a time, and waits until nothing is under way.
    fn run(&mut self, time: Duration, phase: &str, progress: &mut Progress) -> Result<(), Failure> {
        let patience_ns = self.flags.patience.as_nanos() as u64;
        let begin_ns = self.now();
        let end_ns = begin_ns + time.as_nanos() as u64;
        let mut sent = 0;
        loop {
            let now_ns = self.now();
            if now_ns < end_ns && self.is_alive() {
                self.publish(begin_ns, now_ns, &mut sent);
            } else if self.in_flight.is_idle() {
                return Ok(());
            }
            self.in_flight.give_up(now_ns.saturating_sub(patience_ns));
            self.turn(self.pause())?;
            progress.tick(|| {
                let deliveries = grouped(self.in_flight.deliveries() as f64, 0);
                format!("{phase}: {sent} published, {deliveries} deliveries measured")
            });
        }
    }

    fn is_alive(&self) -> bool {
        self.publishers.iter().any(Option::is_some) && self.members.iter().any(Option::is_some)
    }

    /// Sends what may be sent now.
    fn publish(&mut self, begin_ns: u64, now_ns: u64, sent: &mut u64) {
        match self.flags.pace() {
            Pace::Window(_) => {
                for stream in 0..self.publishers.len() {
                    while self.may_send(stream) {
                        self.send(stream, now_ns);
                        *sent += 1;
                    }
                }
            }
            Pace::Rate(rate) => {
                let due = ((now_ns - begin_ns) as f64 / 1e9 * rate) as u64 + 1;
                while *sent < due
                    && let Some(stream) = self.next_stream()
                {
                    // Counted from when it was due: what has to wait for its turn has waited.
                    let at_ns = begin_ns + (*sent as f64 / rate * 1e9) as u64;
                    self.send(stream, at_ns);
                    *sent += 1;
                }
            }
        }
        for stream in 0..self.publishers.len() {
            if let Some(publisher) = &mut self.publishers[stream]
                && let Err(failure) = publisher.flush()
            {
                self.bury(self.members.len() + stream, &failure);
            }
        }
    }

    fn next_stream(&mut self) -> Option<usize> {
        let count = self.publishers.len();
        let found = (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|&stream| self.may_send(stream))?;
        self.turn = found + 1;
        Some(found)
    }

    fn may_send(&self, stream: usize) -> bool {
        let Some(publisher) = &self.publishers[stream] else {
            return false;
        };
        let under_way = self.in_flight.under_way(stream);
        match self.flags.pace() {
            Pace::Window(_) if !publisher.is_by_frames() => under_way == 0,
            Pace::Window(in_flight) => under_way < in_flight,
            Pace::Rate(_) => {
                under_way < UNDER_WAY_MAX
                    && (publisher.is_by_frames() || !self.in_flight.awaits_ack(stream))
            }
        }
    }

    fn send(&mut self, stream: usize, at_ns: u64) {
        let seq = self.in_flight.send(stream, at_ns);
        self.data.clear();
        message(stream as u64, seq, self.flags.size, &mut self.data);
        let blanks = Blanks {
            seq,
            round: self.number as u64,
            data: &self.data,
            ..self.publisher_blanks(stream)
        };
        if let Some(publisher) = &mut self.publishers[stream] {
            let publish = &self.dialect.publish;
            publish.write(&blanks, &mut self.scratch, publisher.out());
        }
    }

    /// Waits for events, and handles all there are.
    fn turn(&mut self, pause: Duration) -> Result<(), Failure> {
        let matcher = matcher(self.dialect);
        for index in 0..self.poll.wait(pause)? {
            let ready = self.poll.ready(index);
            self.buffer.hung_up = ready.hung_up;
            let Some(place) = self.members.get_mut(ready.key) else {
                self.turn_publisher(ready.key)?;
                continue;
            };
            let Some(member) = place else {
                continue;
            };
            let in_flight = &mut self.in_flight;
            let deliver = |publisher, seq, now_ns| {
                in_flight.deliver(ready.key, publisher, seq, now_ns);
            };
            let received = member.ready(&mut self.buffer, &matcher, self.epoch, deliver);
            if let Err(failure) = received {
                self.bury(ready.key, &failure);
            }
        }
        Ok(())
    }

    fn turn_publisher(&mut self, key: usize) -> Result<(), Failure> {
        let stream = key - self.members.len();
        let Some(publisher) = &mut self.publishers[stream] else {
            return Ok(());
        };
        let (in_flight, epoch) = (&mut self.in_flight, self.epoch);
        let received = publisher.ready(&mut self.buffer, &mut |answer| {
            in_flight.answer(stream, &answer, epoch.elapsed().as_nanos() as u64);
        });
        match received {
            Ok(NextSocket::Same) => {}
            Ok(NextSocket::New) => self.poll.add(publisher.socket(), key)?,
            Err(failure) => self.bury(key, &failure),
        }
        Ok(())
    }

    /// Drops a connection.
    fn bury(&mut self, key: usize, failure: &Failure) {
        self.failures.add(failure);
        match self.members.get_mut(key) {
            Some(member) => {
                *member = None;
                self.in_flight.leave(key);
            }
            None => self.publishers[key - self.members.len()] = None,
        }
    }

    fn publisher_blanks(&self, stream: usize) -> Blanks<'static> {
        blanks((self.members.len() + stream) as u64, stream as u64)
    }

    /// How long to wait for events at most.
    fn pause(&self) -> Duration {
        let pause = Duration::from_millis(match self.flags.pace() {
            Pace::Window(_) => 50,
            Pace::Rate(_) => 1,
        });
        pause.min(self.flags.patience)
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Sends everybody away, by reset: thousands of ports are needed again in the next round.
    fn end(self) -> Result<FanoutRound, Failure> {
        let members = self.members;
        let of_members = members.iter().flatten().map(Subscriber::socket);
        let of_publishers = self.publishers.iter().flatten().map(Publisher::socket);
        for socket in of_members.chain(of_publishers) {
            reset_on_drop(socket)?;
        }
        let (tally, faults, mut failures) = self.in_flight.end(|member| members[member].is_some());
        failures.merge(self.failures);
        faults.count_into(&mut failures);
        Ok(FanoutRound {
            tally,
            faults,
            failures,
            ..FanoutRound::default()
        })
    }
}

fn matcher(dialect: &Dialect) -> Matcher<'_> {
    Matcher {
        marker: &dialect.marker,
        joined: dialect.joined.as_ref(),
    }
}

fn blanks(member: u64, publisher: u64) -> Blanks<'static> {
    Blanks {
        member,
        publisher,
        ..Blanks::default()
    }
}
