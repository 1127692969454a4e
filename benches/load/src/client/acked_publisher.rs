//! One connection that publishes as fast as it is acknowledged: a fixed number of messages unanswered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::client::ack::{Answer, Outcome};
use crate::client::dialect::PublishTemplate;
use crate::client::load_client::{Interval, LoadClient, NextSocket};
use crate::client::marker::message;
use crate::client::publisher::Publisher;
use crate::client::socket::LoadSocket;
use crate::client::template::Blanks;
use crate::measure::failure::Failure;
use crate::wire::read::ReadBuffer;

/// A message, or a batch, that was asked and isn't forgotten yet.
#[derive(Clone, Copy, Debug)]
struct AskedMessage {
    at_ns: u64,
    answered: bool,
}

/// How much one connection publishes before it waits for acknowledgements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublishWindow {
    /// Unanswered messages, or batches.
    pub(crate) in_flight: usize,
    /// Messages a request; `None` for single ones.
    pub(crate) batch: Option<usize>,
    /// A message's data, in bytes.
    pub(crate) size: usize,
}

/// One connection that keeps its messages in flight.
#[derive(Debug)]
pub(crate) struct AckedPublisher {
    publisher: Publisher,
    publish: Arc<PublishTemplate>,
    number: u64,
    in_flight: usize,
    batch: Option<usize>,
    size: usize,
    /// The last message's number.
    seq: u64,
    asked: VecDeque<AskedMessage>,
    /// Number of the oldest in `asked`, where each has a number of its own.
    oldest: u64,
    refused: BTreeMap<String, u64>,
    duplicates: u64,
    reconnects: u64,
    scratch: Vec<u8>,
    data: Vec<u8>,
}

impl AckedPublisher {
    /// Takes over a connection, which is the one with this number.
    pub(crate) fn new(
        publisher: Publisher,
        publish: Arc<PublishTemplate>,
        number: u64,
        window: PublishWindow,
    ) -> Self {
        let PublishWindow {
            in_flight,
            batch,
            size,
        } = window;
        Self {
            publisher,
            publish,
            number,
            in_flight,
            batch,
            size,
            seq: 0,
            asked: VecDeque::with_capacity(in_flight),
            oldest: 1,
            refused: BTreeMap::new(),
            duplicates: 0,
            reconnects: 0,
            scratch: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Messages that the server did not take, by code.
    pub(crate) fn refused(&self) -> &BTreeMap<String, u64> {
        &self.refused
    }

    /// Messages that the server took for old ones.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How often the connection was made anew.
    pub(crate) fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// Asks until the window is full, and writes what the socket takes.
    fn ask(&mut self, now_ns: u64) -> Result<(), Failure> {
        while self.asked.len() < self.in_flight {
            self.asked.push_back(AskedMessage {
                at_ns: now_ns,
                answered: false,
            });
            match self.batch {
                None => self.publish_one(),
                Some(count) => self.publish_batch(count),
            }
        }
        self.publisher.flush()
    }

    fn publish_one(&mut self) {
        let publish = Arc::clone(&self.publish);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let blanks = self.next_message(&publish, &mut scratch);
        publish.wrap(&scratch, &blanks, self.publisher.out());
        self.scratch = scratch;
    }

    fn publish_batch(&mut self, count: usize) {
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
        publish.wrap(&scratch, &blanks, self.publisher.out());
        self.scratch = scratch;
    }

    fn next_message(&mut self, publish: &PublishTemplate, to: &mut Vec<u8>) -> Blanks<'static> {
        self.seq += 1;
        self.data.clear();
        message(self.number, self.seq, self.size, &mut self.data);
        let plain = Blanks {
            seq: self.seq,
            member: self.number,
            publisher: self.number,
            ..Blanks::default()
        };
        let data = &self.data;
        publish.content().fill(&Blanks { data, ..plain }, to);
        plain
    }

    /// Counts an answer.
    fn receive(
        &mut self,
        answer: Answer,
        now_ns: u64,
        interval: &mut Interval,
    ) -> Result<(), Failure> {
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
                interval.answered(took, count.saturating_sub(refused.len() as u64));
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

impl LoadClient for AckedPublisher {
    fn socket(&self) -> &LoadSocket {
        self.publisher.socket()
    }

    fn begin(&mut self, interval: &mut Interval) -> Result<(), Failure> {
        self.ask(interval.now())
    }

    fn ready(
        &mut self,
        buffer: &mut ReadBuffer,
        interval: &mut Interval,
    ) -> Result<NextSocket, Failure> {
        let mut answers = Vec::new();
        let next = self
            .publisher
            .ready(buffer, &mut |answer| answers.push(answer))?;
        let now = interval.now();
        for answer in answers {
            self.receive(answer, now, interval)?;
        }
        if next == NextSocket::New {
            self.reconnects += 1;
            self.oldest += self.asked.len() as u64;
            self.asked.clear();
        }
        self.ask(now)?;
        Ok(next)
    }
}
