//! `/link`: where gateways bring the messages of their outboxes.
//!
//! [`Links`] stands between the server and whoever publishes; `intake` is one link as a pure state
//! machine, `frame` is what goes over it.

pub(crate) mod frame;
pub(crate) mod intake;
mod publisher;
mod refusals;
mod sequenced;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub(super) use publisher::Publisher;
pub use sequenced::{SendAttempt, Sequenced};

use super::frames;
use crate::api::posting::Posting;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::base::Metric;
use crate::base::sync::lock;
use crate::chat::ErrorCode;
use crate::server::{Frame, Handle, WorkerHandle};
use frame::{LinkFrame, Violation};
use intake::{Intake, LinkJudgement};
use refusals::Refusals;

/// Why a message of a gateway isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRefusal {
    /// For good; its number is settled, as durably as that of a message that was taken.
    Final(ErrorCode),
    /// There is no room just now; neither for this one nor for any behind it.
    Busy {
        /// When there may be, in milliseconds.
        after_ms: u64,
    },
}

/// Told once what became of a number, in the order of the numbers.
pub type Done = Box<dyn FnOnce(Result<(), LinkRefusal>) + Send>;

/// Whoever publishes what gateways bring.
///
/// Numbers of one producer come in order. An implementation takes a message and writes its number as
/// the producer's mark in one durable write, or does neither. The first number of an attempt that it
/// refuses as busy breaks the attempt off, and it takes nothing more of it.
pub trait Upstream: Send + Sync {
    /// The durable mark of a producer: everything up to it is settled, and said to be so if that
    /// doesn't take long. 0 when nothing is known.
    fn mark(&self, producer: &str) -> u64;

    /// Publishes a message, and settles its number.
    fn publish(&self, sequenced: Sequenced, posting: &Posting<'_>, done: Done);

    /// Settles everything up to a number without a message.
    fn settle(&self, sequenced: Sequenced, done: Done);
}

/// All links of gateways, and what publishes their messages.
pub struct Links {
    upstream: Box<dyn Upstream>,
    shared: Arc<Mutex<LinkTable>>,
    /// So that servers without gateways needn't look for each message.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct LinkTable {
    links: HashMap<Fd, Arc<Mutex<Intake>>>,
    /// The link that a producer opened last.
    producers: HashMap<Arc<str>, Fd>,
    refusals: Refusals,
    numbers: LinkNumbers,
}

/// Counters of all links together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkNumbers {
    /// Links that are there now.
    pub links: u64,
    /// Messages that were given to be published.
    pub given: u64,
    /// Messages that were dropped, since their numbers were settled or on their way.
    pub repeated: u64,
    /// Messages that were refused for good.
    pub refused: u64,
    /// Times that a gateway was told to wait.
    pub busy: u64,
    /// Links that were ended since the gateway opened another one.
    pub replaced: u64,
    /// Times that a producer's mark was below what its gateway still had.
    pub jumped: u64,
}

impl LinkNumbers {
    /// Each number with its kind and its meaning.
    pub(super) fn described(&self) -> [Metric; 7] {
        [
            Metric::gauge("open", "Links of gateways now.", self.links),
            Metric::counter(
                "given",
                "Messages of gateways that were let in.",
                self.given,
            ),
            Metric::counter(
                "repeated",
                "Messages of gateways that were settled or on their way already.",
                self.repeated,
            ),
            Metric::counter(
                "refused",
                "Messages of gateways that were refused for good.",
                self.refused,
            ),
            Metric::counter("busy", "Times that a gateway was told to wait.", self.busy),
            Metric::counter(
                "replaced",
                "Links that ended since their gateway opened another one.",
                self.replaced,
            ),
            Metric::counter(
                "jumped",
                "Times that a gateway had let go of what its mark asks for.",
                self.jumped,
            ),
        ]
    }
}

impl Links {
    /// Links to this publisher.
    #[must_use]
    pub fn new(upstream: Box<dyn Upstream>) -> Self {
        Self {
            upstream,
            shared: Arc::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// A gateway has opened a WebSocket at `/link`, and shown the key.
    pub fn opened(&self, fd: Fd) {
        lock(&self.shared).links.insert(fd, Arc::default());
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Whether this connection is a link.
    #[must_use]
    pub fn contains(&self, fd: Fd) -> bool {
        self.count.load(Ordering::Acquire) > 0 && lock(&self.shared).links.contains_key(&fd)
    }

    /// A link has ended; `false` when it was none.
    pub fn closed(&self, fd: Fd) -> bool {
        let mut shared = lock(&self.shared);
        let was_link = shared.links.remove(&fd).is_some();
        if was_link {
            self.count.fetch_sub(1, Ordering::Release);
            shared.producers.retain(|_, link| *link != fd);
        }
        was_link
    }

    /// The numbers of this moment.
    #[must_use]
    pub fn numbers(&self) -> LinkNumbers {
        let shared = lock(&self.shared);
        LinkNumbers {
            links: shared.links.len() as u64,
            ..shared.numbers
        }
    }

    /// A gateway said something.
    pub fn message(&self, server: &WorkerHandle, frame: Frame<'_>) {
        // At once, as what is answered later: else one could overtake the other.
        let (fd, server) = (frame.fd, &server.handle());
        let Some(link) = lock(&self.shared).links.get(&fd).cloned() else {
            return;
        };
        let done = match frame.text() {
            Some("PING") => {
                server.push(fd, "PONG").ok();
                Ok(())
            }
            Some(text) => self.take(server, fd, &link, text),
            None => Err(Violation("only text frames are taken here".into())),
        };
        if let Err(Violation(message)) = done {
            tracing::warn!(%fd, message, "a gateway broke the protocol");
            server.push(fd, &frame::err(&message)).ok();
            server.disconnect(fd, 1002, &message).ok();
        }
    }

    fn take(
        &self,
        server: &Handle,
        fd: Fd,
        link: &Arc<Mutex<Intake>>,
        text: &str,
    ) -> Result<(), Violation> {
        match frame::read(text)? {
            LinkFrame::Open {
                producer,
                name,
                first,
            } => {
                lock(link).may_open()?;
                let producer: Arc<str> = Arc::from(&*producer);
                // First, so that nothing more is settled that nobody hears of.
                self.replace(server, fd, &producer);
                let mark = self.upstream.mark(&producer);
                let opened = lock(link).open(Arc::clone(&producer), first, mark)?;
                tracing::info!(%fd, name = &*name, next = opened.next, "a gateway has opened its link");
                if opened.has_jumped {
                    self.jump(&producer, &name, mark, first);
                }
                let refusals = &mut lock(&self.shared).refusals;
                let refused = refusals.told(&producer, first, opened.next);
                server.push(fd, &frame::open_ok(opened.next, &refused)).ok();
            }
            LinkFrame::Pub { n, posting } => self.publish(server, fd, link, n, posting)?,
        }
        Ok(())
    }

    /// The gateway has let go of what comes behind the mark: nobody has it any more.
    fn jump(&self, producer: &Arc<str>, name: &str, mark: u64, first: u64) {
        self.count(|numbers| numbers.jumped += 1);
        tracing::warn!(
            name,
            mark,
            first,
            "a gateway's messages before its first one are not here, and nowhere else"
        );
        let sequenced = Sequenced {
            producer: Arc::clone(producer),
            n: first - 1,
            attempt: SendAttempt::default(),
        };
        // Were it refused, the next message's number would say the same.
        self.upstream.settle(sequenced, Box::new(|_| {}));
    }

    fn publish(
        &self,
        server: &Handle,
        fd: Fd,
        link: &Arc<Mutex<Intake>>,
        n: u64,
        posting: Result<Posting<'_>, Refusal>,
    ) -> Result<(), Violation> {
        let (judged, sequenced) = lock(link).judge(n)?;
        self.count(|numbers| match judged {
            LinkJudgement::Take => numbers.given += 1,
            LinkJudgement::Settled { .. } | LinkJudgement::Drop => numbers.repeated += 1,
        });
        let producer = Arc::clone(&sequenced.producer);
        let done = || self.done(server.clone(), fd, link, producer, n);
        match (judged, posting) {
            (LinkJudgement::Take, Ok(posting)) => {
                self.upstream.publish(sequenced, &posting, done());
            }
            (LinkJudgement::Take, Err(refusal)) => {
                let done = done();
                let refused = Box::new(move |settled: Result<(), LinkRefusal>| {
                    done(settled.and(Err(LinkRefusal::Final(refusal.code))));
                });
                self.upstream.settle(sequenced, refused);
            }
            (LinkJudgement::Settled { mark }, _) => drop(server.push(fd, &frame::pub_ack(mark))),
            (LinkJudgement::Drop, _) => {}
        }
        Ok(())
    }

    /// Tells the gateway what became of a number.
    fn done(
        &self,
        server: Handle,
        fd: Fd,
        link: &Arc<Mutex<Intake>>,
        producer: Arc<str>,
        n: u64,
    ) -> Done {
        let (link, shared) = (Arc::clone(link), Arc::clone(&self.shared));
        Box::new(move |outcome| {
            // Under its lock, so that the answers go out in their order.
            let mut link = lock(&link);
            let answers = link.done(n, outcome);
            if let Err(LinkRefusal::Final(code)) = outcome {
                lock(&shared).refusals.note(&producer, n, code);
            }
            match outcome {
                _ if answers.is_empty() => {}
                Err(LinkRefusal::Busy { .. }) => lock(&shared).numbers.busy += 1,
                Err(LinkRefusal::Final(_)) => lock(&shared).numbers.refused += 1,
                Ok(()) => {}
            }
            for answer in answers {
                server.push(fd, &answer).ok();
            }
        })
    }

    fn count(&self, count: impl FnOnce(&mut LinkNumbers)) {
        count(&mut lock(&self.shared).numbers);
    }

    /// Has a producer's earlier link go.
    fn replace(&self, server: &Handle, fd: Fd, producer: &Arc<str>) {
        let mut shared = lock(&self.shared);
        let before = shared.producers.insert(Arc::clone(producer), fd);
        let before = before.filter(|before| *before != fd);
        let link = before.and_then(|before| shared.links.get(&before).cloned());
        shared.numbers.replaced += u64::from(before.is_some());
        // A link's lock comes before this one.
        drop(shared);
        if let Some(link) = link {
            lock(&link).end();
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
