//! `bench publish`: messages that the server takes, whoever may hear them; acknowledgements counted.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::json;

use crate::client::dialect::{By, Publish, Shape};
use crate::client::load_client::{Lap, Talk, Turn};
use crate::client::marker::message;
use crate::client::opener::open_all;
use crate::client::opening::Hello;
use crate::client::publisher::{Answer, Line, Outcome};
use crate::client::target::{Sources, Target};
use crate::client::template::Blanks;
use crate::load::driver::{Window, drive};
use crate::load::fanout::by_name;
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report};

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server.
    pub(crate) target: Target,
    /// How one talks to it; it must answer each message.
    pub(crate) shape: Shape,
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Unanswered messages, or batches, of a connection.
    pub(crate) in_flight: usize,
    /// Messages a request; `None` for single ones.
    pub(crate) batch: Option<usize>,
    /// A message's data, in bytes.
    pub(crate) size: usize,
    /// Warm-up and measured time.
    pub(crate) window: Window,
    /// Threads of the generator.
    pub(crate) threads: usize,
    /// Further fields of the handshake, each `Name: value`.
    pub(crate) fields: Vec<String>,
    /// The server's process.
    pub(crate) pid: Option<u32>,
    /// Local addresses; `None` for as many as needed.
    pub(crate) sources: Option<usize>,
}

/// Runs it.
///
/// # Errors
///
/// Nothing could be measured: no connection came about, or the process can't be read. Failures of
/// single connections, and messages that the server refuses, are counted instead.
pub(crate) fn run(settings: &Settings) -> Result<(Report, Failures), Failure> {
    reserve_descriptors(settings.connections)?;
    let mut progress = Progress::new();
    let (target, shape) = (&settings.target, &settings.shape);
    let sources = Sources::new(target, settings.sources, settings.connections);
    let hello_of = |number: usize| match shape.publish.by() {
        By::Http => Arc::new(Hello::Nothing),
        By::WebSocket => {
            let mut target = target.clone();
            target.path = shape.publisher_path.filled(&blanks(number as u64));
            Arc::new(Hello::upgrade(&target, &settings.fields))
        }
    };
    let opened = open_all(
        target,
        hello_of,
        sources,
        settings.connections,
        &mut progress,
    )?;
    let publish = Arc::new(shape.publish.clone());
    let authors: Vec<Author> = opened
        .connections
        .into_iter()
        .map(|open| {
            let (number, source) = (open.number, sources.source_of(open.number));
            let line = Line::new(open, Arc::clone(&publish), target.address, source)?;
            Ok(Author::new(
                line,
                Arc::clone(&publish),
                number as u64,
                settings,
            ))
        })
        .collect::<Result<_, Failure>>()?;
    let (mut measured, authors) = drive(
        authors,
        settings.threads,
        settings.window,
        settings.pid,
        &mut progress,
    )?;
    measured.failures.merge(opened.failures);
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for author in &authors {
        for (code, count) in &author.refused {
            *refused.entry(code).or_default() += count;
        }
        let words = "the server took a new message for an old one";
        measured
            .failures
            .add_many("duplicate", author.duplicates, words);
    }
    let mut report = Report::new("publish", settings.title());
    report.json("connections", settings.connections.into());
    report.json("in_flight", settings.in_flight.into());
    report.json("batch", settings.batch.into());
    report.json("by", by_name(shape.publish.by()).into());
    report.json("size", settings.size.into());
    report.add("acks", "acknowledged", Figure::Count(measured.answers));
    report.add(
        "acks_per_second",
        "acknowledged/s",
        Figure::Rate(measured.rate()),
    );
    if let Some(ns) = measured.server_ns {
        let us = Figure::Micros(measured.per_answer_us(ns));
        report.add("cpu_us_per_publish", "CPU µs/message, server", us);
    }
    let us = Figure::Micros(measured.per_answer_us(measured.generator_ns));
    report.add(
        "generator_cpu_us_per_publish",
        "CPU µs/message, generator",
        us,
    );
    report.latency(&measured.latency);
    for (code, &count) in &refused {
        let words = "the server did not take a message";
        measured
            .failures
            .add_many(&format!("refused: {code}"), count, words);
    }
    report.json("refused_by_code", json!(refused));
    let reconnects = authors.iter().map(|author| author.reconnects).sum();
    report.add(
        "reconnects",
        "connections made anew",
        Figure::Count(reconnects),
    );
    report.failures(&measured.failures);
    Ok((report, measured.failures))
}

impl Settings {
    fn title(&self) -> String {
        let what = match self.batch {
            Some(count) => format!("batches of {count}"),
            None => "messages".into(),
        };
        format!(
            "publish {} by {}: {} connections, {} {what} in flight, {} bytes, {} s",
            self.target.address,
            by_name(self.shape.publish.by()),
            self.connections,
            self.in_flight,
            self.size,
            self.window.measured.as_secs_f64()
        )
    }
}

/// A message, or a batch, that was asked and isn't forgotten yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at_ns: u64,
    answered: bool,
}

/// One connection that keeps its messages in flight.
#[derive(Debug)]
struct Author {
    line: Line,
    publish: Arc<Publish>,
    number: u64,
    in_flight: usize,
    batch: Option<usize>,
    size: usize,
    /// The last message's number.
    seq: u64,
    asked: VecDeque<Asked>,
    /// Number of the oldest in `asked`, where each has a number of its own.
    oldest: u64,
    refused: BTreeMap<String, u64>,
    duplicates: u64,
    reconnects: u64,
    scratch: Vec<u8>,
    data: Vec<u8>,
}

impl Author {
    fn new(line: Line, publish: Arc<Publish>, number: u64, settings: &Settings) -> Self {
        Self {
            line,
            publish,
            number,
            in_flight: settings.in_flight,
            batch: settings.batch,
            size: settings.size,
            seq: 0,
            asked: VecDeque::with_capacity(settings.in_flight),
            oldest: 1,
            refused: BTreeMap::new(),
            duplicates: 0,
            reconnects: 0,
            scratch: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Asks until the window is full, and writes what the socket takes.
    fn ask(&mut self, now_ns: u64) -> Result<(), Failure> {
        while self.asked.len() < self.in_flight {
            self.asked.push_back(Asked {
                at_ns: now_ns,
                answered: false,
            });
            match self.batch {
                None => self.say(),
                Some(count) => self.say_batch(count),
            }
        }
        self.line.flush()
    }

    fn say(&mut self) {
        let publish = Arc::clone(&self.publish);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let blanks = self.next_message(&publish, &mut scratch);
        publish.wrap(&scratch, &blanks, self.line.out());
        self.scratch = scratch;
    }

    fn say_batch(&mut self, count: usize) {
        let publish = Arc::clone(&self.publish);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(br#"{"messages":["#);
        let mut blanks = Blanks::default();
        for index in 0..count {
            if index > 0 {
                scratch.push(b',');
            }
            blanks = self.next_message(&publish, &mut scratch);
        }
        scratch.extend_from_slice(b"]}");
        publish.wrap(&scratch, &blanks, self.line.out());
        self.scratch = scratch;
    }

    fn next_message(&mut self, publish: &Publish, to: &mut Vec<u8>) -> Blanks<'static> {
        self.seq += 1;
        self.data.clear();
        message(self.number, self.seq, self.size, &mut self.data);
        let plain = Blanks {
            seq: self.seq,
            ..blanks(self.number)
        };
        let data = &self.data;
        publish.content().fill(&Blanks { data, ..plain }, to);
        plain
    }

    fn hear(&mut self, answer: Answer, now_ns: u64, answers: &mut Answers) -> Result<(), Failure> {
        let place = match answer.seq {
            Some(seq) => seq.checked_sub(self.oldest).map(|place| place as usize),
            None => self.asked.iter().position(|asked| !asked.answered),
        };
        let asked = place.and_then(|place| self.asked.get_mut(place));
        let Some(asked) = asked.filter(|asked| !asked.answered) else {
            return Err(Failure::WrongEcho(
                "an answer to nothing that was asked".into(),
            ));
        };
        asked.answered = true;
        let took = now_ns.saturating_sub(asked.at_ns);
        let count = self.batch.unwrap_or(1) as u64;
        match answer.outcome {
            Outcome::Taken {
                refused,
                duplicates,
            } => {
                self.duplicates += duplicates;
                answers.push((took, count.saturating_sub(refused.len() as u64)));
                for code in refused {
                    *self.refused.entry(code).or_default() += 1;
                }
            }
            Outcome::Refused(code) => *self.refused.entry(code).or_default() += count,
        }
        while self.asked.front().is_some_and(|asked| asked.answered) {
            self.asked.pop_front();
            self.oldest += 1;
        }
        Ok(())
    }
}

/// Latency of an answer, and of how many messages it spoke.
type Answers = Vec<(u64, u64)>;

impl Talk for Author {
    fn socket(&self) -> &TcpStream {
        self.line.socket()
    }

    fn begin(&mut self, lap: &mut Lap) -> Result<(), Failure> {
        self.ask(lap.now())
    }

    fn ready(&mut self, lap: &mut Lap) -> Result<Turn, Failure> {
        let mut heard = Vec::new();
        let turn = self
            .line
            .ready(&mut lap.bytes, lap.hung_up, &mut |answer| {
                heard.push(answer)
            })?;
        let (now, mut answers) = (lap.now(), Vec::new());
        for answer in heard {
            self.hear(answer, now, &mut answers)?;
        }
        for (took, count) in answers {
            lap.answered(took, count);
        }
        if turn == Turn::NewSocket {
            self.reconnects += 1;
            self.oldest += self.asked.len() as u64;
            self.asked.clear();
        }
        self.ask(now)?;
        Ok(turn)
    }
}

fn blanks(number: u64) -> Blanks<'static> {
    Blanks {
        member: number,
        publisher: number,
        ..Blanks::default()
    }
}
