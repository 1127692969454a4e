//! One round of fan-out: a room of members, some publishers, one epoll.
//!
//! Invariant: nothing is under way when the window begins and when it ends, so all CPU time
//! within it belongs to the deliveries that are counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::dialect::{By, Shape};
use crate::client::idle::{reset_on_drop, say};
use crate::client::load_client::{READ_SIZE, Turn};
use crate::client::marker::message;
use crate::client::opener::open_all;
use crate::client::opening::{Hello, OPENING_MAX, Open};
use crate::client::publisher::Line;
use crate::client::subscriber::{Ear, Member};
use crate::client::target::{Sources, Target};
use crate::client::template::Blanks;
use crate::load::delivery_audit::Faults;
use crate::load::driver::Window;
use crate::load::in_flight::{Acknowledging, Course, Tally};
use crate::measure::cpu::Cpu;
use crate::measure::failure::{Failure, Failures};
use crate::measure::progress::Progress;
use crate::measure::report::grouped;
use crate::wire::frame::TEXT;
use crate::wire::poll::Poll;

/// Messages of one stream that are under way at most when a rate is kept.
const UNDER_WAY_MAX: usize = 1024;

/// How fast is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many messages of each publisher are under way at any time.
    Window(usize),
    /// So many a second, of all publishers together, whether or not earlier ones arrived.
    Rate(f64),
}

/// Whether the floor is measured too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// The server alone.
    Without,
    /// In turns with `raw --fanout`.
    InTurns,
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server.
    pub(crate) target: Target,
    /// How one talks to it.
    pub(crate) shape: Shape,
    /// Who hears.
    pub(crate) members: usize,
    /// Who says.
    pub(crate) publishers: usize,
    /// Connections of a publisher that publishes by HTTP, each with one request under way.
    pub(crate) http_connections: usize,
    /// How fast.
    pub(crate) pace: Pace,
    /// A message's data, in bytes.
    pub(crate) size: usize,
    /// Warm-up and measured time of each round.
    pub(crate) window: Window,
    /// Rounds, each with connections of its own.
    pub(crate) rounds: usize,
    /// Pause between joining and the first message, and after a round.
    pub(crate) settle: Duration,
    /// After this time a message is waited for no more.
    pub(crate) patience: Duration,
    /// Further fields of the handshake, each `Name: value`.
    pub(crate) fields: Vec<String>,
    /// The server's process.
    pub(crate) pid: Option<u32>,
    /// Local addresses; `None` for as many as needed.
    pub(crate) sources: Option<usize>,
    /// Whether to compare.
    pub(crate) floor: Floor,
}

/// What one round showed.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// What was counted within the window.
    pub(crate) tally: Tally,
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

/// Runs round `number`: come, join, warm up, measure, leave.
///
/// # Errors
///
/// Nothing could be measured: nobody came in, or the process can't be read.
pub(crate) fn measure(
    settings: &Settings,
    number: usize,
    progress: &mut Progress,
) -> Result<Round, Failure> {
    let mut room = Room::open(settings, number, progress)?;
    room.join(progress)?;
    room.run(settings.window.warm_up, "warm-up", progress)?;
    let (cpu, begin) = (Cpu::sample(settings.pid)?, Instant::now());
    room.course.measuring = true;
    room.run(settings.window.measured, "measured", progress)?;
    room.course.measuring = false;
    let (cpu_end, seconds) = (Cpu::sample(settings.pid)?, begin.elapsed().as_secs_f64());
    room.listen(settings.settle)?; // to what may come once more
    let mut round = room.end()?;
    round.seconds = seconds;
    round.server_ns = cpu_end.server_since(&cpu);
    round.generator_ns = cpu_end.generator_since(&cpu);
    // All leave at once: the server is done with that before the next round begins.
    std::thread::sleep(settings.settle);
    Ok(round)
}

struct Room<'a> {
    settings: &'a Settings,
    number: usize,
    poll: Poll,
    /// Keys below their number are members', those behind are lines'.
    members: Vec<Option<Member>>,
    lines: Vec<Option<Line>>,
    course: Course,
    failures: Failures,
    bytes: Vec<u8>,
    scratch: Vec<u8>,
    data: Vec<u8>,
    epoch: Instant,
    /// The stream whose turn it is when a rate is kept.
    turn: usize,
}

impl<'a> Room<'a> {
    fn open(
        settings: &'a Settings,
        number: usize,
        progress: &mut Progress,
    ) -> Result<Self, Failure> {
        let shape = &settings.shape;
        let at_once = settings.members + settings.streams();
        let sources = Sources::new(&settings.target, settings.sources, at_once);
        let opened = open_all(
            &settings.target,
            |number| settings.hello(shape.member_path.filled(&blanks(number as u64, 0))),
            sources,
            settings.members,
            progress,
        )?;
        let lines = open_all(
            &settings.target,
            |number| match shape.publish.by() {
                By::Http => Arc::new(Hello::Nothing),
                By::WebSocket => settings.hello(
                    shape
                        .publisher_path
                        .filled(&settings.publisher_blanks(number)),
                ),
            },
            sources,
            settings.streams(),
            progress,
        )?;
        let acknowledging = match shape.publish.is_answered() {
            true => Acknowledging::Each,
            false => Acknowledging::Never,
        };
        let mut failures = opened.failures;
        failures.merge(lines.failures);
        let mut room = Self {
            settings,
            number,
            poll: Poll::new()?,
            members: (0..settings.members).map(|_| None).collect(),
            lines: Vec::new(),
            course: Course::new(settings.members, settings.streams(), acknowledging),
            failures,
            bytes: vec![0; READ_SIZE],
            scratch: Vec::new(),
            data: Vec::new(),
            epoch: Instant::now(),
            turn: 0,
        };
        room.seat(opened.connections)?;
        room.connect(lines.connections, sources)?;
        Ok(room)
    }

    /// Lets the members in; those that didn't come about are gone already.
    fn seat(&mut self, connections: Vec<Open>) -> Result<(), Failure> {
        let shape = &self.settings.shape;
        for open in connections {
            let ear = self.settings.ear();
            let mut member = Member::new(open.socket, &ear);
            self.poll.add(member.socket(), open.number)?;
            let mut begun = member.hear(open.number, &open.rest, &ear, &mut self.course, 0);
            if let (Some(join), Ok(())) = (&shape.join, &begun) {
                let text = join.filled(&blanks(open.number as u64, 0));
                begun = say(member.socket(), TEXT, text.as_bytes());
            }
            match begun {
                Ok(()) => self.members[open.number] = Some(member),
                Err(failure) => self.failures.add(&failure),
            }
        }
        for key in (0..self.members.len()).filter(|&key| self.members[key].is_none()) {
            self.course.leave(key);
        }
        Ok(())
    }

    fn connect(&mut self, connections: Vec<Open>, sources: Sources) -> Result<(), Failure> {
        let settings = self.settings;
        self.lines = (0..settings.streams()).map(|_| None).collect();
        for open in connections {
            let number = open.number;
            let publish = Arc::new(settings.shape.publish.clone());
            let source = sources.source_of(number);
            let mut line = Line::new(open, publish, settings.target.address, source)?;
            self.poll.add(line.socket(), settings.members + number)?;
            if let Some(join) = settings.shape.join.as_ref()
                && settings.shape.publishers_join
                && line.is_by_frames()
            {
                let text = join.filled(&settings.publisher_blanks(number));
                say(line.socket(), TEXT, text.as_bytes())?;
            }
            line.flush()?;
            self.lines[number] = Some(line);
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
        self.listen(self.settings.settle)?;
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
        let patience_ns = self.settings.patience.as_nanos() as u64;
        let begin_ns = self.now();
        let end_ns = begin_ns + time.as_nanos() as u64;
        let mut departed = 0;
        loop {
            let now_ns = self.now();
            if now_ns < end_ns && self.is_alive() {
                self.publish(begin_ns, now_ns, &mut departed);
            } else if self.course.is_idle() {
                return Ok(());
            }
            self.course.give_up(now_ns.saturating_sub(patience_ns));
            self.turn(self.settings.pause())?;
            progress.tick(|| {
                let deliveries = grouped(self.course.deliveries() as f64, 0);
                format!("{phase}: {departed} published, {deliveries} deliveries measured")
            });
        }
    }

    fn is_alive(&self) -> bool {
        self.lines.iter().any(Option::is_some) && self.members.iter().any(Option::is_some)
    }

    /// Sends what may be sent now.
    fn publish(&mut self, begin_ns: u64, now_ns: u64, departed: &mut u64) {
        match self.settings.pace {
            Pace::Window(_) => {
                for stream in 0..self.lines.len() {
                    while self.may_depart(stream) {
                        self.depart(stream, now_ns);
                        *departed += 1;
                    }
                }
            }
            Pace::Rate(rate) => {
                let due = ((now_ns - begin_ns) as f64 / 1e9 * rate) as u64 + 1;
                while *departed < due
                    && let Some(stream) = self.next_stream()
                {
                    // Counted from when it was due: what has to wait for its turn has waited.
                    let at_ns = begin_ns + (*departed as f64 / rate * 1e9) as u64;
                    self.depart(stream, at_ns);
                    *departed += 1;
                }
            }
        }
        for stream in 0..self.lines.len() {
            if let Some(line) = &mut self.lines[stream]
                && let Err(failure) = line.flush()
            {
                self.bury(self.members.len() + stream, &failure);
            }
        }
    }

    fn next_stream(&mut self) -> Option<usize> {
        let count = self.lines.len();
        let found = (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|&stream| self.may_depart(stream))?;
        self.turn = found + 1;
        Some(found)
    }

    fn may_depart(&self, stream: usize) -> bool {
        let Some(line) = &self.lines[stream] else {
            return false;
        };
        let under_way = self.course.under_way(stream);
        match self.settings.pace {
            Pace::Window(_) if !line.is_by_frames() => under_way == 0,
            Pace::Window(in_flight) => under_way < in_flight,
            Pace::Rate(_) => {
                under_way < UNDER_WAY_MAX
                    && (line.is_by_frames() || !self.course.awaits_ack(stream))
            }
        }
    }

    fn depart(&mut self, stream: usize, at_ns: u64) {
        let seq = self.course.depart(stream, at_ns);
        let Some(line) = &mut self.lines[stream] else {
            return;
        };
        self.data.clear();
        message(stream as u64, seq, self.settings.size, &mut self.data);
        let blanks = Blanks {
            seq,
            round: self.number as u64,
            data: &self.data,
            ..self.settings.publisher_blanks(stream)
        };
        let publish = &self.settings.shape.publish;
        publish.write(&blanks, &mut self.scratch, line.out());
    }

    /// Waits for news, and takes all there are.
    fn turn(&mut self, pause: Duration) -> Result<(), Failure> {
        let ear = self.settings.ear();
        for index in 0..self.poll.wait(pause)? {
            let ready = self.poll.ready(index);
            let Some(place) = self.members.get_mut(ready.key) else {
                self.turn_line(ready.key, ready.hung_up)?;
                continue;
            };
            let Some(member) = place else {
                continue;
            };
            let account = (&mut self.course, self.epoch);
            let heard = member.ready(ready.key, &mut self.bytes, ready.hung_up, &ear, account);
            if let Err(failure) = heard {
                self.bury(ready.key, &failure);
            }
        }
        Ok(())
    }

    fn turn_line(&mut self, key: usize, hung_up: bool) -> Result<(), Failure> {
        let stream = key - self.members.len();
        let Some(line) = &mut self.lines[stream] else {
            return Ok(());
        };
        let (course, epoch) = (&mut self.course, self.epoch);
        let heard = line.ready(&mut self.bytes, hung_up, &mut |answer| {
            course.answer(stream, &answer, epoch.elapsed().as_nanos() as u64);
        });
        match heard {
            Ok(Turn::Same) => {}
            Ok(Turn::NewSocket) => self.poll.add(line.socket(), key)?,
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
                self.course.leave(key);
            }
            None => self.lines[key - self.members.len()] = None,
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Sends everybody away, by reset: thousands of ports are needed again in the next round.
    fn end(self) -> Result<Round, Failure> {
        let members = self.members;
        let of_members = members.iter().flatten().map(Member::socket);
        let of_lines = self.lines.iter().flatten().map(Line::socket);
        for socket in of_members.chain(of_lines) {
            reset_on_drop(socket)?;
        }
        let (tally, faults, mut failures) = self.course.end(|member| members[member].is_some());
        failures.merge(self.failures);
        faults.count_into(&mut failures);
        Ok(Round {
            tally,
            faults,
            failures,
            ..Round::default()
        })
    }
}

impl Settings {
    /// Sequences of messages whose order must hold: one a publishing connection.
    pub(crate) fn streams(&self) -> usize {
        match self.shape.publish.by() {
            By::WebSocket => self.publishers,
            By::Http => self.publishers * self.http_connections,
        }
    }

    fn hello(&self, path: String) -> Arc<Hello> {
        let mut target = self.target.clone();
        target.path = path;
        Arc::new(Hello::upgrade(&target, &self.fields))
    }

    fn publisher_blanks(&self, stream: usize) -> Blanks<'static> {
        blanks((self.members + stream) as u64, stream as u64)
    }

    fn ear(&self) -> Ear<'_> {
        Ear {
            marker: &self.shape.marker,
            joined: self.shape.joined.as_ref(),
        }
    }

    /// How long to wait for news at most.
    fn pause(&self) -> Duration {
        let pause = Duration::from_millis(match self.pace {
            Pace::Window(_) => 50,
            Pace::Rate(_) => 1,
        });
        pause.min(self.patience)
    }
}

fn blanks(member: u64, publisher: u64) -> Blanks<'static> {
    Blanks {
        member,
        publisher,
        ..Blanks::default()
    }
}
