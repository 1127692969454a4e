//! The server of the simulation: real receivers, a disk that may have no room, and a restart that
//! keeps the disk alone.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::random::Random;
use super::socket::Socket;
use super::{Kind, PRODUCER, kind};
use crate::api::refusal::Refusal;
use crate::chat::ErrorCode;
use crate::link::wire::{self, SenderFrame};
use crate::link::{LinkReceiver, LinkRefusal, Received, RecentRefusals, Sequenced};

/// Time until there may be room again, in milliseconds.
const BUSY_MS: u64 = 10;

/// A number that waits for the disk.
#[derive(Debug)]
struct Job {
    socket: usize,
    sequenced: Sequenced,
    /// Why the message is refused for good, if it is: then only its number is written.
    refused: Option<Refusal>,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    /// On disk: everything up to here is acknowledged.
    pub(super) mark: u64,
    /// On disk: the messages, in the order in which they were written.
    pub(super) log: Vec<u64>,
    links: HashMap<usize, LinkReceiver>,
    /// The socket of the producer's last link.
    last: Option<usize>,
    refusals: RecentRefusals,
    jobs: VecDeque<Job>,
    /// Refused on disk by a server that died since; those may go unnoticed.
    pub(super) forgotten: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// How often something happened that a run should meet.
    pub(super) busy: u64,
    pub(super) replaced: u64,
    pub(super) repeated: u64,
}

impl Server {
    pub(super) fn accept(&mut self, socket: usize) {
        self.links.insert(socket, LinkReceiver::default());
    }

    pub(super) fn has(&self, socket: usize) -> bool {
        self.links.contains_key(&socket)
    }

    pub(super) fn closed(&mut self, socket: usize) {
        self.links.remove(&socket);
    }

    /// Reads one frame of a socket.
    pub(super) fn read(
        &mut self,
        at: usize,
        sockets: &mut [Socket],
        random: &mut Random,
        busy_odds: Option<(u64, u64)>,
    ) {
        let Some(text) = sockets[at].to_server.pop_front() else {
            return;
        };
        let Some(link) = self.links.get_mut(&at) else {
            return;
        };
        let frame = SenderFrame::read(&text).expect("a sender writes frames of the protocol");
        let received = match link.receive(frame) {
            Ok(received) => received,
            Err(violation) => {
                assert!(
                    matches!(link, LinkReceiver::Replaced),
                    "{violation}: {text}"
                );
                sockets[at].say_to_gateway(wire::err(&violation));
                sockets[at].close_as_server();
                return self.closed(at);
            }
        };
        match received {
            Received::Ping => sockets[at].say_to_gateway(wire::PONG.into()),
            Received::Open {
                producer, first, ..
            } => {
                assert_eq!(producer, PRODUCER);
                self.open(at, sockets, first, random);
            }
            Received::Publish { sequenced, posting } => {
                let n: u64 = posting.message.data.parse().unwrap();
                assert_eq!(n, sequenced.n);
                // The worker finds no room, while numbers before it are still before the disk.
                if sequenced.attempt.is_broken()
                    || busy_odds.is_some_and(|odds| random.one_in(odds.0))
                {
                    let busy = Err(LinkRefusal::Busy { after_ms: BUSY_MS });
                    return self.complete(at, &sequenced, busy, sockets);
                }
                let refused = (kind(n) == Kind::Rejected)
                    .then(|| Refusal::new(ErrorCode::TooLarge, "too large"));
                self.jobs.push_back(Job {
                    socket: at,
                    sequenced,
                    refused,
                });
            }
            Received::Refuse { sequenced, refusal } => {
                assert_eq!(kind(sequenced.n), Kind::Unreadable);
                self.jobs.push_back(Job {
                    socket: at,
                    sequenced,
                    refused: Some(refusal),
                });
            }
            Received::Repeat { ack } => {
                self.repeated += 1;
                if let Some(ack) = ack {
                    sockets[at].say_to_gateway(ack);
                }
            }
        }
    }

    fn open(&mut self, at: usize, sockets: &mut [Socket], first: u64, random: &mut Random) {
        if let Some(before) = self.last.replace(at).filter(|before| *before != at)
            && let Some(link) = self.links.get_mut(&before)
        {
            self.replaced += 1;
            link.replace();
            let kick = r#"{"type":"kick","code":"replaced","message":"another link"}"#;
            sockets[before].say_to_gateway(kick.into());
            // What was read from the socket before may still come to its link.
            if random.one_in(2) {
                sockets[before].close_as_server();
                self.closed(before);
            }
        }
        // It waits until what is durable is said to be so, if that doesn't take long.
        if random.one_in(2) {
            while !self.jobs.is_empty() {
                self.write(sockets, random, None);
            }
        }
        let link = self.links.get_mut(&at).expect("its frame was just read");
        let opened = link.open(PRODUCER.into(), first, self.mark).unwrap();
        assert!(
            !opened.has_jumped,
            "{first} is kept, but the mark is {}",
            self.mark
        );
        let refused = self.refusals.at_open(PRODUCER, first, opened.next);
        sockets[at].say_to_gateway(wire::open_ok(opened.next, &refused));
    }

    /// Writes the first number that waits.
    pub(super) fn write(
        &mut self,
        sockets: &mut [Socket],
        random: &mut Random,
        busy_odds: Option<(u64, u64)>,
    ) {
        let Some(job) = self.jobs.pop_front() else {
            return;
        };
        let Sequenced { n, attempt, .. } = &job.sequenced;
        let busy = Err(LinkRefusal::Busy { after_ms: BUSY_MS });
        let outcome = if attempt.is_broken() {
            busy
        } else if busy_odds.is_some_and(|odds| random.one_in(odds.1)) {
            attempt.break_off();
            busy
        } else {
            if *n > self.mark {
                assert_eq!(*n, self.mark + 1, "the mark passes over nothing");
                self.mark = *n;
                if job.refused.is_none() {
                    self.log.push(*n);
                } else {
                    self.refused.insert(*n);
                }
            }
            job.refused
                .map_or(Ok(()), |refusal| Err(LinkRefusal::Final(refusal)))
        };
        self.complete(job.socket, &job.sequenced, outcome, sockets);
    }

    fn complete(
        &mut self,
        at: usize,
        sequenced: &Sequenced,
        outcome: Result<(), LinkRefusal>,
        sockets: &mut [Socket],
    ) {
        if let Err(LinkRefusal::Final(refusal)) = &outcome {
            self.refusals
                .record(&sequenced.producer, sequenced.n, refusal.clone());
        }
        self.busy += u64::from(matches!(outcome, Err(LinkRefusal::Busy { .. })));
        if let Some(link) = self.links.get_mut(&at) {
            for frame in link.complete(sequenced, outcome) {
                sockets[at].say_to_gateway(frame);
            }
        }
    }

    /// Dies and comes back: the disk is kept, with some of what waited for it.
    pub(super) fn restart(&mut self, sockets: &mut [Socket], random: &mut Random) {
        for _ in 0..random.below(self.jobs.len() as u64 + 1) {
            self.write(sockets, random, None);
        }
        for at in std::mem::take(&mut self.links).into_keys() {
            sockets[at].leave_as_server(random);
        }
        self.forgotten.append(&mut self.refused);
        *self = Self {
            mark: self.mark,
            log: std::mem::take(&mut self.log),
            forgotten: std::mem::take(&mut self.forgotten),
            busy: self.busy,
            replaced: self.replaced,
            repeated: self.repeated,
            ..Self::default()
        };
    }
}
