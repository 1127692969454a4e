//! The disk thread: one commit for what waits, and everybody told, in order.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::broken::{self, Fault};
use super::common::{message, settings};
use crate::base::pressure::Watermarks;
use crate::base::rest::RestOrder;
use crate::store::disk::{Condition, Disk, DiskSettings};
use crate::store::{
    Appended, DiskJob, JobOutcomes, Journal, MemoryStore, Reader, Record, Store, StoreError,
    StoreSettings,
};

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the store is asked to do.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Commit { records: usize },
    Maintain,
}

/// What its next commit does.
#[derive(Debug, Clone, Copy)]
enum Next {
    Works,
    Fails,
}

/// A store that commits when the test says so.
struct Slow {
    store: Journal,
    broken: broken::Disk,
    waiting: usize,
    calls: Sender<Call>,
    next: Receiver<Next>,
}

impl Store for Slow {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        let appended = self.store.append(now_ms, record)?;
        self.waiting += 1;
        Ok(appended)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let records = std::mem::take(&mut self.waiting);
        _ = self.calls.send(Call::Commit { records });
        match self
            .next
            .recv_timeout(PATIENCE)
            .expect("the test says what")
        {
            Next::Works => self.store.commit(),
            Next::Fails => {
                // The sync, after the write.
                self.broken.fail(1, 1, Fault::Forgets);
                self.store.commit()
            }
        }
    }

    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError> {
        _ = self.calls.send(Call::Maintain);
        self.store.maintain(now_ms)
    }

    fn set_settings(&mut self, settings: StoreSettings) {
        self.store.set_settings(settings);
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.store.reader()
    }
}

/// Says one thing in one channel so many times, and tells the test what became of it.
struct Say {
    number: usize,
    times: usize,
    channel: &'static str,
    data: String,
}

/// What the jobs share: the way to tell the test.
type Teller = Sender<(usize, Result<Appended, String>)>;

impl DiskJob for Say {
    type Context = Teller;

    fn size(&self) -> usize {
        100
    }

    fn records(&self) -> usize {
        self.times
    }

    fn record<'a>(&'a self, _place: usize, _teller: &'a Teller) -> Record<'a> {
        Record::Message(message(self.channel, "id", &self.data))
    }

    fn done(self, teller: &Teller, outcomes: JobOutcomes<'_>) {
        assert_eq!(outcomes.iter().count(), self.times);
        for outcome in outcomes.iter() {
            let outcome = outcome.map_err(|error| error.to_string());
            teller.send((self.number, outcome)).unwrap();
        }
    }
}

struct Bench {
    disk: Option<Disk<Say>>,
    thread: Option<JoinHandle<()>>,
    calls: Receiver<Call>,
    next: Sender<Next>,
    on_low: Receiver<()>,
    told: Receiver<(usize, Result<Appended, String>)>,
}

impl Bench {
    fn new(disk_settings: DiskSettings, settings: StoreSettings) -> Self {
        let (call, calls) = channel();
        let (next, nexts) = channel();
        let (relieve, on_low) = channel();
        let (tell, told) = channel();
        let broken = broken::Disk::default();
        let store = Slow {
            store: Journal::open_on(Arc::new(broken.clone()), settings).unwrap(),
            broken,
            waiting: 0,
            calls: call,
            next: nexts,
        };
        let relieve = move || _ = relieve.send(());
        let (disk, queue) = Disk::new(disk_settings);
        let thread = queue.start(Box::new(store), tell, relieve, || {}).unwrap();
        Self {
            disk: Some(disk),
            thread: Some(thread),
            calls,
            next,
            on_low,
            told,
        }
    }

    fn plain() -> Self {
        Self::new(no_delay(), settings(Path::new("/store")))
    }

    fn disk(&self) -> &Disk<Say> {
        self.disk.as_ref().unwrap()
    }

    fn submit(&self, number: usize) {
        self.submit_to("tea", number);
    }

    fn submit_to(&self, channel: &'static str, number: usize) {
        self.disk().submit(Say {
            number,
            times: 1,
            channel,
            data: number.to_string(),
        });
    }

    fn submit_times(&self, number: usize, times: usize) {
        self.disk().submit(Say {
            number,
            times,
            channel: "tea",
            data: number.to_string(),
        });
    }

    /// Waits until a commit has begun, and says how many records it has.
    fn commit_begins(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.calls.recv_timeout(left).expect("a commit begins") {
                Call::Commit { records } => return records,
                Call::Maintain => {}
            }
        }
    }

    fn told(&self) -> (usize, Result<Appended, String>) {
        self.told.recv_timeout(PATIENCE).expect("a job is told")
    }

    fn wait_for(&self, condition: Condition) {
        let deadline = Instant::now() + PATIENCE;
        while self.disk().condition() != condition {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{:?}", self.disk().condition());
            // Every maintenance may change it.
            _ = self.calls.recv_timeout(left);
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.disk = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(!matches!(ended, Some(Err(_))) || std::thread::panicking());
    }
}

fn no_delay() -> DiskSettings {
    DiskSettings {
        commit_delay_percent: 0,
        ..DiskSettings::default()
    }
}

#[test]
fn what_waits_for_the_disk_is_one_commit_and_told_in_its_order() {
    let bench = Bench::plain();
    bench.submit(0);
    assert_eq!(bench.commit_begins(), 1);
    for number in 1..=100 {
        bench.submit(number);
    }
    assert!(
        bench.told.try_recv().is_err(),
        "nobody is told before it is durable"
    );
    bench.next.send(Next::Works).unwrap();
    assert_eq!(bench.commit_begins(), 100);
    assert_eq!(bench.told().0, 0);
    assert!(bench.told.try_recv().is_err());
    bench.next.send(Next::Works).unwrap();
    for number in 1..=100 {
        let (told, outcome) = bench.told();
        assert_eq!(told, number);
        let Ok(Appended::Message(position, None)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(position.offset, number as u64 + 1);
    }
}

#[test]
fn the_thread_rests_with_all_told_that_was_given_also_meanwhile_and_then_goes_on() {
    let bench = Bench::plain();
    bench.submit(0);
    bench.commit_begins();
    let (tell, arrived) = channel();
    let order = RestOrder::new(7, move || tell.send(()).unwrap());
    bench.disk().rest(order);
    // As the answer to the first one may give it more.
    bench.submit(1);
    bench.next.send(Next::Works).unwrap();
    assert_eq!((bench.commit_begins(), bench.told().0), (1, 0));
    assert!(arrived.try_recv().is_err(), "there is something to write");
    bench.next.send(Next::Works).unwrap();
    assert_eq!(bench.told().0, 1);
    arrived.recv_timeout(PATIENCE).unwrap();
    while bench.calls.try_recv().is_ok() {}
    bench.submit(2);
    bench.next.send(Next::Works).unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(150) {
        std::thread::yield_now();
    }
    assert!(bench.calls.try_recv().is_err(), "nothing is done at rest");
    bench.disk().thaw();
    assert_eq!((bench.commit_begins(), bench.told().0), (1, 2));
}

#[test]
fn an_order_that_is_taken_back_keeps_nobody() {
    let bench = Bench::plain();
    bench.submit(0);
    bench.commit_begins();
    let order = RestOrder::new(7, || panic!("it never rests"));
    bench.disk().rest(order);
    bench.disk().thaw();
    bench.next.send(Next::Works).unwrap();
    assert_eq!(bench.told().0, 0);
    bench.submit(1);
    bench.next.send(Next::Works).unwrap();
    assert_eq!((bench.commit_begins(), bench.told().0), (1, 1));
}

#[test]
fn a_failed_commit_is_told_to_all_of_its_batch_and_to_no_other() {
    let bench = Bench::plain();
    bench.submit(0);
    bench.commit_begins();
    for number in 1..=3 {
        bench.submit(number);
    }
    bench.next.send(Next::Works).unwrap();
    assert!(bench.told().1.is_ok());
    assert_eq!(bench.commit_begins(), 3);
    bench.next.send(Next::Fails).unwrap();
    for number in 1..=3 {
        let (told, outcome) = bench.told();
        assert_eq!((told, outcome.is_err()), (number, true));
    }
    bench.wait_for(Condition::Good);
    bench.submit(4);
    bench.commit_begins();
    bench.next.send(Next::Works).unwrap();
    let (told, outcome) = bench.told();
    assert_eq!(told, 4);
    let Ok(Appended::Message(position, None)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(position.offset, 2, "what failed has no place");
}

#[test]
fn the_condition_is_that_of_the_last_thing_and_comes_back_by_itself() {
    let bench = Bench::plain();
    assert_eq!(bench.disk().condition(), Condition::Good);
    bench.submit(0);
    bench.commit_begins();
    bench.next.send(Next::Fails).unwrap();
    assert!(bench.told().1.is_err());
    bench.wait_for(Condition::Good);
}

#[test]
fn a_refused_job_refuses_no_other() {
    let mut store = settings(Path::new("/store"));
    store.channels_max = 1;
    let bench = Bench::new(no_delay(), store);
    bench.submit_to("tea", 0);
    bench.commit_begins();
    bench.submit_to("pot", 1);
    bench.submit_to("tea", 2);
    bench.next.send(Next::Works).unwrap();
    bench.next.send(Next::Works).unwrap();
    let outcomes: Vec<bool> = (0..3).map(|_| bench.told().1.is_ok()).collect();
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!(bench.disk().condition(), Condition::Good);
}

#[test]
fn the_records_of_one_job_are_in_one_batch_and_each_is_told() {
    let limits = DiskSettings {
        batch_records_max: 2,
        ..no_delay()
    };
    let bench = Bench::new(limits, settings(Path::new("/store")));
    bench.submit(0);
    assert_eq!(bench.commit_begins(), 1);
    bench.submit_times(1, 3);
    bench.submit(2);
    assert_eq!(bench.disk().pressure().items(), 4);
    bench.next.send(Next::Works).unwrap();
    assert_eq!(bench.commit_begins(), 3, "a job isn't cut");
    bench.next.send(Next::Works).unwrap();
    assert_eq!(bench.commit_begins(), 1);
    bench.next.send(Next::Fails).unwrap();
    let told: Vec<_> = (0..5).map(|_| bench.told()).collect();
    let offsets = told.iter().map(|(number, outcome)| match outcome {
        Ok(Appended::Message(position, None)) => (*number, Some(position.offset)),
        _ => (*number, None),
    });
    assert_eq!(
        offsets.collect::<Vec<_>>(),
        [
            (0, Some(1)),
            (1, Some(2)),
            (1, Some(3)),
            (1, Some(4)),
            (2, None)
        ]
    );
    assert_eq!(bench.disk().pressure().items(), 0);
}

#[test]
fn a_batch_is_bounded_by_jobs_and_by_bytes() {
    for (batch_records_max, batch_bytes_max) in [(10, usize::MAX), (usize::MAX, 1_000)] {
        let settings_of_disk = DiskSettings {
            batch_records_max,
            batch_bytes_max,
            ..no_delay()
        };
        let bench = Bench::new(settings_of_disk, settings(Path::new("/store")));
        bench.submit(0);
        bench.commit_begins();
        for number in 1..=25 {
            bench.submit(number);
        }
        let mut batches = Vec::new();
        for _ in 0..3 {
            bench.next.send(Next::Works).unwrap();
            batches.push(bench.commit_begins());
        }
        bench.next.send(Next::Works).unwrap();
        assert_eq!(batches, [10, 10, 5]);
        for number in 0..=25 {
            assert_eq!(bench.told().0, number);
        }
    }
}

#[test]
fn who_feeds_it_is_pressed_and_relieved() {
    let marks = Watermarks {
        items_high: 4,
        items_low: 1,
        bytes_high: usize::MAX,
        bytes_low: usize::MAX,
    };
    let bench = Bench::new(
        DiskSettings {
            marks,
            ..no_delay()
        },
        settings(Path::new("/store")),
    );
    bench.submit(0);
    bench.commit_begins();
    for number in 1..=5 {
        bench.submit(number);
    }
    assert!(bench.disk().pressure().is_high());
    assert!(bench.on_low.try_recv().is_err());
    bench.next.send(Next::Works).unwrap();
    bench.commit_begins();
    bench.on_low.recv_timeout(PATIENCE).expect("it says so");
    assert!(!bench.disk().pressure().is_high());
    assert_eq!(
        (
            bench.disk().pressure().items(),
            bench.disk().pressure().bytes()
        ),
        (0, 0)
    );
    bench.next.send(Next::Works).unwrap();
    for number in 0..=5 {
        assert_eq!(bench.told().0, number);
    }
    assert!(bench.on_low.try_recv().is_err(), "nobody is woken twice");
}

#[test]
fn a_batch_gathers_those_who_were_answered_last() {
    let bench = Bench::new(
        DiskSettings {
            // Not by time: each batch ends when all are there.
            commit_delay_percent: 100_000_000,
            commit_delay_us_max: u32::MAX,
            ..DiskSettings::default()
        },
        settings(Path::new("/store")),
    );
    bench.submit(0);
    bench.commit_begins();
    bench.submit(1);
    bench.next.send(Next::Works).unwrap();
    assert_eq!(bench.told().0, 0);
    // Two are expected now: who waited, and who was answered.
    bench.submit(2);
    assert_eq!(bench.commit_begins(), 2);
    bench.next.send(Next::Works).unwrap();
    assert_eq!((bench.told().0, bench.told().0), (1, 2));
    for number in 3..=4 {
        bench.submit(number);
    }
    assert_eq!(bench.commit_begins(), 2);
    bench.next.send(Next::Works).unwrap();
}

#[test]
fn it_ends_with_everything_done_that_was_given() {
    let mut bench = Bench::plain();
    bench.submit(0);
    bench.commit_begins();
    for number in 1..=1_000 {
        bench.submit(number);
    }
    bench.disk = None;
    bench.next.send(Next::Works).unwrap();
    bench.next.send(Next::Works).unwrap();
    bench.thread.take().unwrap().join().unwrap();
    let told: Vec<usize> = bench.told.try_iter().map(|(number, _)| number).collect();
    assert!(told.into_iter().eq(0..=1_000));
}

#[test]
fn the_store_is_maintained_while_nothing_comes_and_while_much_does() {
    let bench = Bench::plain();
    let call = bench.calls.recv_timeout(PATIENCE).unwrap();
    assert_eq!(call, Call::Maintain, "nothing was given");
    let deadline = Instant::now() + PATIENCE;
    for number in 0.. {
        bench.submit(number);
        bench.next.send(Next::Works).unwrap();
        assert!(bench.told().1.is_ok());
        if bench.calls.try_iter().any(|call| call == Call::Maintain) {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

/// A job that submits the next one by the way to the disk in its context.
struct Chained(usize);

impl DiskJob for Chained {
    type Context = Arc<(Disk<Self>, Sender<usize>)>;

    fn size(&self) -> usize {
        1
    }

    fn record<'a>(&'a self, _place: usize, _context: &'a Self::Context) -> Record<'a> {
        Record::Serials { below: 1 }
    }

    fn done(self, context: &Self::Context, outcomes: JobOutcomes<'_>) {
        let (disk, told) = &**context;
        assert!(outcomes.first().is_ok());
        told.send(self.0).unwrap();
        if self.0 > 0 {
            disk.submit(Self(self.0 - 1));
        }
    }
}

#[test]
fn a_context_that_holds_the_disk_serves_its_jobs_and_goes_with_the_thread() {
    let (disk, queue) = Disk::new(no_delay());
    let (tell, told) = channel();
    let context = Arc::new((disk.clone(), tell));
    let kept = Arc::downgrade(&context);
    let store = MemoryStore::new(settings(Path::new("/store")));
    let thread = queue.start(Box::new(store), context, || {}, || {}).unwrap();
    disk.submit(Chained(2));
    for left in [2, 1, 0] {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(left));
    }
    disk.end();
    thread.join().unwrap();
    assert!(kept.upgrade().is_none(), "the thread owned it alone");
}
