//! The feeder: a thread of the gateway that gives the push process pages of the outbox, and writes
//! down what upstreams have settled.
//!
//! It may wait for the disk, which no callback and no disk thread of ours may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use serde_json::json;

use super::numbers::Numbers;
use super::outbox::{OUTBOX, Outbox, OutboxJob, unix_ms};
use super::posted::letter_sameness;
use super::push::pipe::{Assignment, FromPush, OutboxPage, ToPush};
use super::settling::Settling;
use super::target::Target;
use crate::link::LinkSettings;
use crate::link::NumberedPosting;
use crate::server::process::{ProcessLink, TaskError};
use crate::store::PageRange;

/// Bytes of a page; one message may exceed it.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// Time until something that the disk or the pipe refused is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Time for what was given to the disk last.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Something that the feeder has to know.
pub(super) enum News {
    /// The push process said something.
    Said(Bytes),
    /// The outbox has more.
    Grown,
    /// The disk refused marks.
    NotSettled,
    /// The dead letter of a message is on disk, or isn't.
    Buried {
        upstream: usize,
        n: u64,
        is_kept: bool,
    },
    Stop,
}

/// Tells the feeder; cloned freely, never waits.
#[derive(Clone)]
pub(super) struct Told {
    sender: Sender<News>,
    /// Whether the feeder will look at the outbox anyway.
    has_grown: Arc<AtomicBool>,
}

impl Told {
    fn tell(&self, news: News) {
        // After the feeder's end nobody needs to know.
        self.sender.send(news).ok();
    }

    pub(super) fn said(&self, message: Bytes) {
        self.tell(News::Said(message));
    }

    pub(super) fn grown(&self) {
        if !self.has_grown.swap(true, Ordering::AcqRel) {
            self.tell(News::Grown);
        }
    }

    pub(super) fn not_settled(&self) {
        self.tell(News::NotSettled);
    }

    pub(super) fn buried(&self, upstream: usize, n: u64, is_kept: bool) {
        self.tell(News::Buried {
            upstream,
            n,
            is_kept,
        });
    }

    pub(super) fn stop(&self) {
        self.tell(News::Stop);
    }
}

/// What is to be done; most of it is what the push process is told first.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) producer: String,
    pub(super) name: String,
    pub(super) link: LinkSettings,
    pub(super) drain_ms_max: u64,
    /// Time in which marks gather.
    pub(super) settle_ms: u64,
    pub(super) targets: Vec<Target>,
}

/// See the module.
pub(super) struct Feeder {
    outbox: Arc<Outbox>,
    process: ProcessLink,
    task: Task,
    numbers: Arc<Numbers>,
    settling: Settling,
    /// What each upstream waits for: behind which number, and how many.
    wanted: Vec<Option<(u64, usize)>>,
    /// The push process that lives, once it has said hello.
    incarnation: Option<u64>,
    must_begin: bool,
    told: Told,
    news: Receiver<News>,
    settle_at: Option<Instant>,
    retry_at: Option<Instant>,
    /// Refused letters to bury again.
    unburied: Vec<(usize, u64)>,
}

/// The way to tell a feeder, and what it hears.
pub(super) fn channel() -> (Told, Receiver<News>) {
    let (sender, news) = unbounded();
    let has_grown = Arc::default();
    (Told { sender, has_grown }, news)
}

/// What a feeder works with.
pub(super) struct Feeding {
    pub(super) outbox: Arc<Outbox>,
    pub(super) process: ProcessLink,
    pub(super) task: Task,
    pub(super) numbers: Arc<Numbers>,
}

impl Feeder {
    pub(super) fn new(feeding: Feeding, told: Told, news: Receiver<News>) -> Self {
        let Feeding {
            outbox,
            process,
            task,
            numbers,
        } = feeding;
        let upstreams = task.targets.iter().map(|target| {
            let name: Arc<str> = target.url().into();
            let settled = outbox.settled(&name);
            (name, settled)
        });
        let settling = Settling::new(upstreams, outbox.kept().0 - 1);
        Self {
            wanted: vec![None; task.targets.len()],
            settling,
            outbox,
            process,
            task,
            numbers,
            incarnation: None,
            must_begin: false,
            told,
            news,
            // What those who left the settings had kept back goes right away.
            settle_at: Some(Instant::now()),
            retry_at: None,
            unburied: Vec::new(),
        }
    }

    /// Runs until it is told to stop; then everything that it gave to the disk is done.
    pub(super) fn run(mut self) {
        loop {
            let soon = [self.settle_at, self.retry_at].into_iter().flatten().min();
            let news = match soon {
                Some(at) => self.news.recv_deadline(at),
                None => self.news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut next = match news {
                Ok(news) => Some(news),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(news) = next {
                if matches!(news, News::Stop) {
                    return self.finish();
                }
                self.take(news);
                next = self.news.try_recv().ok();
            }
            self.retry();
            self.serve();
            self.settle();
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Said(message) => match FromPush::decode(&message) {
                Some(said) => self.said(said),
                None => tracing::error!("the push process sent something that is no message"),
            },
            News::Grown => self.told.has_grown.store(false, Ordering::Release),
            News::NotSettled => {
                self.settling.give_again(self.outbox.kept().0 - 1);
                self.settle_at = Some(Instant::now() + RETRY);
            }
            News::Buried {
                upstream,
                n,
                is_kept: true,
            } => {
                self.settling.buried(upstream, n);
                self.numbers.dead.fetch_add(1, Ordering::Relaxed);
                self.settle_soon();
            }
            News::Buried { upstream, n, .. } => {
                self.unburied.push((upstream, n));
                self.retry_soon();
            }
            News::Stop => {}
        }
    }

    fn said(&mut self, said: FromPush) {
        match said {
            FromPush::Hello { incarnation } => {
                self.incarnation = Some(incarnation);
                self.must_begin = true;
                self.wanted.fill(None);
                self.numbers.begun();
            }
            FromPush::Want {
                upstream,
                after,
                count,
            } => {
                if let Some(wanted) = self.wanted.get_mut(upstream) {
                    *wanted = Some((after, count));
                }
            }
            FromPush::Acked { upstream, n } => {
                self.settling.settle(upstream, n);
                self.numbers.settled(upstream, n);
                self.settle_soon();
            }
            FromPush::Refused { upstream, n, code } => {
                if self.settling.refuse(upstream, n, &code) {
                    self.bury(upstream, n);
                }
            }
            FromPush::Report(report) => self.numbers.reported(report),
        }
    }

    /// Has a message that was refused for good kept apart.
    fn bury(&mut self, upstream: usize, n: u64) {
        let Some(code) = self.settling.unburied(upstream, n) else {
            return;
        };
        let url = self.task.targets[upstream].url();
        let posting = match self.read(n - 1, 1) {
            Ok(messages) => messages.into_iter().find(|message| message.n == n),
            Err(()) => {
                self.unburied.push((upstream, n));
                return self.retry_soon();
            }
        };
        let Some(posting) = posting else {
            // All have settled it long since.
            return self.settling.buried(upstream, n);
        };
        tracing::error!(
            upstream = url,
            n,
            code,
            "a message was refused for good; `tidings outbox dead` shows it"
        );
        let ts = unix_ms();
        let said = json!({ "upstream": url, "n": n, "code": code, "ts": ts }).to_string();
        let fields = said.trim_end_matches('}');
        let letter = format!("{fields},\"posting\":{}}}", posting.posting);
        self.outbox.disk.submit(OutboxJob::Bury {
            upstream,
            n,
            id: format!("{upstream}-{n}"),
            letter,
            ts,
            sameness: letter_sameness(self.outbox.reader.key(), url, n),
        });
    }

    /// Tries again what the disk refused.
    fn retry(&mut self) {
        if self.retry_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        for (upstream, n) in std::mem::take(&mut self.unburied) {
            self.bury(upstream, n);
        }
    }

    /// Gives what is wanted and there.
    fn serve(&mut self) {
        let Some(incarnation) = self.incarnation else {
            return;
        };
        if self.must_begin && !self.begin(incarnation) {
            return;
        }
        for upstream in 0..self.wanted.len() {
            let Some((after, count)) = self.wanted[upstream] else {
                continue;
            };
            let kept = self.outbox.kept();
            if kept.1 <= after {
                continue;
            }
            let Ok(messages) = self.read(after, count) else {
                self.retry_soon();
                continue;
            };
            let page = ToPush::Page(OutboxPage {
                incarnation,
                upstream,
                after,
                kept,
                messages,
            });
            if self.give(&page) {
                self.wanted[upstream] = None;
            }
        }
    }

    fn begin(&mut self, incarnation: u64) -> bool {
        let Task {
            producer,
            name,
            link,
            drain_ms_max,
            targets,
            ..
        } = self.task.clone();
        let begin = ToPush::Begin(Assignment {
            incarnation,
            producer,
            name,
            settings: link,
            drain_ms_max,
            targets,
            kept: self.outbox.kept(),
        });
        let given = self.give(&begin);
        self.must_begin = !given;
        given
    }

    /// Whether the push process will get it; otherwise it is tried again.
    fn give(&mut self, message: &ToPush) -> bool {
        match self.process.send(message.encode()) {
            // At a stop it goes on with what it has.
            Ok(()) | Err(TaskError::Stopping) => true,
            Err(error) => {
                tracing::debug!(%error, "the push process takes nothing now");
                self.retry_soon();
                false
            }
        }
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<NumberedPosting>, ()> {
        let range = PageRange {
            after: Some(after),
            before: None,
            limit,
            bytes_max: PAGE_BYTES_MAX,
        };
        let page = self.outbox.reader.page(OUTBOX, range).map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, after, "the outbox can't be read");
        })?;
        let numbered = page.messages.into_iter().map(|message| NumberedPosting {
            n: message.position.offset,
            posting: message.body.data,
        });
        Ok(numbered.collect())
    }

    /// Writes marks down, and lets go of what all have settled.
    fn settle(&mut self) {
        if self.settle_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.settle_at = None;
        for (upstream, n) in self.settling.marks_to_give() {
            self.outbox.disk.submit(OutboxJob::Settle { upstream, n });
        }
        if let Some(through) = self.settling.trim_to_give() {
            self.outbox.disk.submit(OutboxJob::Trim { through });
        }
    }

    fn settle_soon(&mut self) {
        let soon = Instant::now() + Duration::from_millis(self.task.settle_ms);
        self.settle_at.get_or_insert(soon);
    }

    fn retry_soon(&mut self) {
        let soon = Instant::now() + RETRY;
        self.retry_at.get_or_insert(soon);
    }

    fn finish(mut self) {
        self.settle_at = Some(Instant::now());
        self.settle();
        let (sender, flushed) = crossbeam_channel::bounded(1);
        self.outbox.disk.submit(OutboxJob::Flush(sender));
        if flushed.recv_timeout(FLUSH_MAX).is_err() {
            tracing::error!("the disk took too long; messages may be sent again");
        }
        let names = self.settling.upstreams().iter();
        for upstream in names {
            tracing::debug!(upstream = %upstream.name, mark = upstream.mark(), "settled");
        }
    }
}
