//! `/link`, to which gateways bring the messages of their outboxes.
//!
//! [`Links`] stands between the server's callbacks and a [`LinkPublisher`], which publishes the
//! messages and writes their numbers down. A [`LinkReceiver`] decides what one link may do;
//! [`Links`] knows which connections are links, and which link each producer has.
//!
//! Locks: the lock of a link comes before that of the table.

mod handover;
mod numbers;
mod opening;
mod publisher;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub use numbers::LinkNumbers;
pub(super) use publisher::ChatPublisher;

use self::opening::LinkOpening;
use super::frames;
use crate::api::Posting;
use crate::base::sync::lock;
use crate::base::{Fd, ForeignText};
use crate::link::wire::{self, SenderFrame, Violation};
use crate::link::{LinkReceiver, LinkRefusal, Received, RecentRefusals, Sequenced};
use crate::server::{Frame, Handle, WorkerHandle};

/// A function that is called once with the outcome of a number, in the order of the numbers.
pub type OnComplete = Box<dyn FnOnce(Result<(), LinkRefusal>) + Send>;

/// A function that is called once with the mark of a producer.
pub type OnMark = Box<dyn FnOnce(u64) + Send>;

/// Publishes the messages that gateways bring.
///
/// Numbers of one producer come in order. An implementation takes a message and writes its number as
/// the producer's mark in one durable write, or does neither. The first number of an attempt that it
/// refuses as busy breaks the attempt off, and it takes nothing more of that attempt.
pub trait LinkPublisher: Send + Sync {
    /// Returns the durable mark of a producer, or 0. Waits a little while for the calls of
    /// [`OnComplete`] of all numbers up to the mark.
    fn mark(&self, producer: &str) -> u64;

    /// Calls `then` with [`LinkPublisher::mark`], now or once it is read; no frame of this link is handled
    /// meanwhile.
    fn read_mark(&self, _server: &Handle, _fd: Fd, producer: &Arc<str>, then: OnMark) {
        then(self.mark(producer));
    }

    /// Publishes a message, and moves the mark to its number.
    fn publish(&self, sequenced: Sequenced, posting: &Posting<'_>, on_complete: OnComplete);

    /// Moves the mark to a number without a message.
    fn skip(&self, sequenced: Sequenced, on_complete: OnComplete);
}

/// The links of all gateways.
pub struct Links {
    publisher: Arc<dyn LinkPublisher>,
    table: Arc<Mutex<LinkTable>>,
    /// The number of links: a server without any looks up nothing for a message.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct LinkTable {
    links: HashMap<Fd, Arc<Mutex<LinkReceiver>>>,
    /// The link that each producer opened last.
    producers: HashMap<Arc<str>, Fd>,
    refusals: RecentRefusals,
    numbers: LinkNumbers,
}

/// Ends the link of a gateway that broke the protocol.
fn violated(server: &Handle, fd: Fd, violation: &Violation) {
    let why = ForeignText(&violation.0);
    tracing::warn!(%fd, %why, "a gateway broke the protocol");
    server.push(fd, &wire::err(violation)).ok();
    server.disconnect(fd, 1002, &violation.0).ok();
}

impl Links {
    /// Makes links that give their messages to this publisher.
    #[must_use]
    pub fn new(publisher: Box<dyn LinkPublisher>) -> Self {
        Self {
            publisher: Arc::from(publisher),
            table: Arc::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// Adds the link of a gateway that has opened a WebSocket at `/link` and shown the key.
    pub fn opened(&self, fd: Fd) {
        lock(&self.table).links.insert(fd, Arc::default());
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Whether this connection is a link.
    #[must_use]
    pub fn contains(&self, fd: Fd) -> bool {
        self.count.load(Ordering::Acquire) > 0 && lock(&self.table).links.contains_key(&fd)
    }

    /// Removes a link that has ended; `false` if the connection was no link.
    pub fn closed(&self, fd: Fd) -> bool {
        let mut table = lock(&self.table);
        let was_link = table.links.remove(&fd).is_some();
        if was_link {
            self.count.fetch_sub(1, Ordering::Release);
            table.producers.retain(|_, link| *link != fd);
        }
        was_link
    }

    /// Closes all links, since their key was withdrawn.
    pub(in crate::endpoint) fn close_all(&self, server: &Handle) {
        let links: Vec<Fd> = lock(&self.table).links.keys().copied().collect();
        for fd in links {
            self.close(server, fd);
        }
    }

    /// Closes a link, since its key was withdrawn. The gateway comes again with another one, and loses
    /// nothing.
    pub(in crate::endpoint) fn close(&self, server: &Handle, fd: Fd) {
        tracing::info!(%fd, "a link is closed, since its key was withdrawn");
        server.disconnect(fd, 4001, "the key was withdrawn").ok();
    }

    /// Reads the numbers of this moment.
    #[must_use]
    pub fn numbers(&self) -> LinkNumbers {
        let table = lock(&self.table);
        LinkNumbers {
            open: table.links.len() as u64,
            ..table.numbers
        }
    }

    /// Takes a frame of a gateway.
    pub fn message(&self, server: &WorkerHandle, frame: Frame<'_>) {
        // A handle that sends at once, as the one that later answers use: else one answer could
        // overtake another.
        let (fd, server) = (frame.fd, &server.handle());
        let Some(link) = lock(&self.table).links.get(&fd).cloned() else {
            return;
        };
        let taken = match frame.text() {
            Some(text) => self.receive(server, fd, &link, text),
            None => Err(Violation("only text frames are taken here".into())),
        };
        if let Err(violation) = taken {
            violated(server, fd, &violation);
        }
    }

    fn receive(
        &self,
        server: &Handle,
        fd: Fd,
        link: &Arc<Mutex<LinkReceiver>>,
        text: &str,
    ) -> Result<(), Violation> {
        let frame = SenderFrame::read(text)?;
        // The lock of the link is free again before anything else is done.
        let received = lock(link).receive(frame)?;
        match received {
            Received::Ping => drop(server.push(fd, wire::PONG)),
            Received::Open {
                producer,
                name,
                first,
            } => self.open(server, fd, link, (&producer, &name), first),
            Received::Publish { sequenced, posting } => {
                self.count(|numbers| numbers.given += 1);
                let on_complete = self.on_complete(server, fd, link, &sequenced);
                self.publisher.publish(sequenced, &posting, on_complete);
            }
            Received::Refuse { sequenced, refusal } => {
                self.count(|numbers| numbers.given += 1);
                let on_complete = self.on_complete(server, fd, link, &sequenced);
                let refused = Box::new(move |skipped: Result<(), LinkRefusal>| {
                    on_complete(skipped.and(Err(LinkRefusal::Final(refusal))));
                });
                self.publisher.skip(sequenced, refused);
            }
            Received::Repeat { ack } => {
                self.count(|numbers| numbers.repeated += 1);
                if let Some(ack) = ack {
                    server.push(fd, &ack).ok();
                }
            }
        }
        Ok(())
    }

    fn open(
        &self,
        server: &Handle,
        fd: Fd,
        link: &Arc<Mutex<LinkReceiver>>,
        (producer, name): (&str, &str),
        first: u64,
    ) {
        let producer: Arc<str> = Arc::from(producer);
        // Before the mark is read, so that nothing more is acknowledged to a link that is gone.
        self.replace(server, fd, &producer);
        let opening = LinkOpening {
            publisher: Arc::clone(&self.publisher),
            table: Arc::clone(&self.table),
            link: Arc::clone(link),
            server: server.clone(),
            fd,
            producer: Arc::clone(&producer),
            name: name.to_owned(),
            first,
        };
        let then = Box::new(move |mark| opening.finish(mark));
        self.publisher.read_mark(server, fd, &producer, then);
    }

    /// Makes the call that tells the gateway the outcome of a number.
    fn on_complete(
        &self,
        server: &Handle,
        fd: Fd,
        link: &Arc<Mutex<LinkReceiver>>,
        sequenced: &Sequenced,
    ) -> OnComplete {
        let (link, table) = (Arc::clone(link), Arc::clone(&self.table));
        let (server, sequenced) = (server.clone(), sequenced.clone());
        Box::new(move |outcome| {
            // Held until the answers are given away, so that they go out in their order.
            let mut link = lock(&link);
            let answers = link.complete(&sequenced, outcome.clone());
            if let Err(LinkRefusal::Final(refusal)) = &outcome {
                // Also of a link that is gone: the producer's next one has to be told.
                lock(&table)
                    .refusals
                    .record(&sequenced.producer, sequenced.n, refusal.clone());
            }
            match outcome {
                _ if answers.is_empty() => {}
                Err(LinkRefusal::Busy { .. }) => lock(&table).numbers.busy += 1,
                Err(LinkRefusal::Final(_)) => lock(&table).numbers.refused += 1,
                Ok(()) => {}
            }
            for answer in answers {
                server.push(fd, &answer).ok();
            }
        })
    }

    fn count(&self, count: impl FnOnce(&mut LinkNumbers)) {
        count(&mut lock(&self.table).numbers);
    }

    /// Ends the link that a producer had before.
    fn replace(&self, server: &Handle, fd: Fd, producer: &Arc<str>) {
        let mut table = lock(&self.table);
        let before = table.producers.insert(Arc::clone(producer), fd);
        let before = before.filter(|before| *before != fd);
        let link = before.and_then(|before| table.links.get(&before).cloned());
        table.numbers.replaced += u64::from(before.is_some());
        // The link's lock comes before the table's.
        drop(table);
        if let Some(link) = link {
            lock(&link).replace();
        }
        if let Some(before) = before {
            let message = "another link of this outbox is open";
            if server
                .push(before, &frames::kick("replaced", message))
                .is_ok()
            {
                server.disconnect(before, 4004, message).ok();
            }
        }
    }
}
