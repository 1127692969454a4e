//! One round of fan-out: a room of members, some publishers, one epoll.
//!
//! Invariant: nothing is under way when the window begins and when it ends, so all CPU time
//! within it belongs to the deliveries that are counted.

mod entry;

use std::time::{Duration, Instant};

use crate::client::dialect::Dialect;
use crate::client::echo::EchoClient;
use crate::client::load_client::{NextSocket, READ_SIZE};
use crate::client::marker::message;
use crate::client::publisher::Publisher;
use crate::client::server::Server;
use crate::client::socket::reset_on_drop;
use crate::client::subscriber::{Matcher, Subscriber};
use crate::client::template::Blanks;
use crate::load::driver::drive_beside;
use crate::load::fanout_round::FanoutRound;
use crate::load::in_flight::{Acknowledging, InFlight};
use crate::load::room_flags::{Pace, RoomFlags};
use crate::measure::cpu::CpuTimes;
use crate::measure::failure::{Failure, Failures};
use crate::measure::progress::Progress;
use crate::measure::report::grouped;
use crate::wire::poll::Poll;
use crate::wire::read::ReadBuffer;

/// Messages of one stream that are under way at most when a rate is kept.
const UNDER_WAY_MAX: usize = 1024;

/// Runs round `number`: come, join, warm up, measure, leave; `talkers` talk meanwhile.
///
/// # Errors
///
/// Nothing could be measured: nobody came in, or the process can't be read.
pub(crate) fn measure(
    flags: &RoomFlags,
    server: &Server,
    dialect: &Dialect,
    number: usize,
    talkers: Vec<EchoClient>,
    progress: &mut Progress,
) -> Result<FanoutRound, Failure> {
    let mut room = Room::open(flags, server, dialect, number, progress)?;
    room.join(progress)?;
    let (window, beside, failures) =
        drive_beside(talkers, |measure| room.run_window(measure, progress))?;
    let window = window?;
    room.listen(flags.settle)?; // to what may come once more
    let mut round = room.end()?;
    round.failures.merge(failures);
    round.beside = beside;
    round.seconds = window.seconds;
    round.server_ns = window.server_ns;
    round.generator_ns = window.generator_ns;
    // All leave at once: the server is done with that before the next round begins.
    std::thread::sleep(flags.settle);
    Ok(round)
}

/// The measured window: its length, and the CPU time within it.
struct Window {
    seconds: f64,
    server_ns: Option<u64>,
    generator_ns: u64,
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

    /// Warms up and measures; `measure` is told when the window begins and ends.
    fn run_window(
        &mut self,
        measure: &dyn Fn(bool),
        progress: &mut Progress,
    ) -> Result<Window, Failure> {
        let (flags, pid) = (self.flags, self.server.pid);
        self.run(flags.warm_up, "warm-up", progress)?;
        let (cpu, begin) = (CpuTimes::sample(pid)?, Instant::now());
        measure(true);
        self.in_flight.measuring = true;
        self.run(flags.seconds, "measured", progress)?;
        self.in_flight.measuring = false;
        measure(false);
        let cpu_end = CpuTimes::sample(pid)?;
        Ok(Window {
            seconds: begin.elapsed().as_secs_f64(),
            server_ns: cpu_end.server_since(&cpu),
            generator_ns: cpu_end.generator_since(&cpu),
        })
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
