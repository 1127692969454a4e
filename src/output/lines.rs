//! Lines for a stream that may be stuck, full or closed: a bounded queue, and a thread that writes.
//!
//! A caller never waits for the stream: [`LineQueue::push`] queues a line or drops it. The thread
//! writes each line by one call, so that lines of several processes that share a pipe stay whole.
//!
//! Invariant: each line is written or counted as dropped, and never half of one is left in front of
//! the next.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tidings::base::sync::lock;

/// Shortest time between two notices about dropped lines, while lines keep being dropped: a notice
/// takes the place of a line too.
const NOTICE_EVERY: Duration = Duration::from_secs(1);

thread_local! {
    /// The number of dropped lines that this thread is telling of; 0 outside of a notice.
    static TELLING: Cell<u64> = const { Cell::new(0) };
}

/// The queue of one stream; shared by all threads.
#[derive(Debug)]
pub(super) struct LineQueue {
    shared: Arc<Shared>,
    /// Most bytes that wait; a line that doesn't fit is dropped.
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<WaitingLines>,
    /// Notified when a line is queued.
    filled: Condvar,
    /// Notified when every line is written or dropped.
    drained: Condvar,
    /// Lines dropped since the start.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct WaitingLines {
    lines: VecDeque<QueuedLine>,
    /// The size of all lines in the queue.
    bytes: usize,
    /// Whether the thread has a line in its hands.
    is_writing: bool,
    /// Dropped lines that no notice has told of.
    untold: u64,
    /// The time of the last notice.
    told_at: Option<Instant>,
}

#[derive(Debug)]
struct QueuedLine {
    bytes: Box<[u8]>,
    /// The number of dropped lines that this line tells of; 0 for all lines but notices.
    tells: u64,
}

impl LineQueue {
    /// Starts the thread that writes to `stream`.
    ///
    /// Once writing works again after lines were dropped, the thread calls `notice` with their
    /// number; a line that `notice` pushes is written next. Without a thread, which the system may
    /// refuse, every line is dropped.
    pub(super) fn new(
        name: &str,
        bytes_max: usize,
        stream: impl Write + Send + 'static,
        notice: impl Fn(u64) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || theirs.write_all(stream, notice));
        Self {
            shared,
            bytes_max: if started.is_ok() { bytes_max } else { 0 },
        }
    }

    /// Queues a line, which has its line break already; drops it when the queue is full.
    pub(super) fn push(&self, line: &[u8]) {
        let tells = TELLING.get();
        let line = QueuedLine {
            bytes: line.into(),
            tells,
        };
        let mut waiting = lock(&self.shared.waiting);
        if tells > 0 {
            // One at a time, so the bound is exceeded by no more than that.
            waiting.bytes += line.bytes.len();
            waiting.lines.push_front(line);
        } else if waiting.bytes + line.bytes.len() > self.bytes_max {
            waiting.untold += 1;
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        } else {
            waiting.bytes += line.bytes.len();
            waiting.lines.push_back(line);
        }
        drop(waiting);
        self.shared.filled.notify_one();
    }

    /// Waits until the queue is empty, but no longer than `time`.
    pub(super) fn flush(&self, time: Duration) {
        let waiting = lock(&self.shared.waiting);
        let is_busy = |waiting: &mut WaitingLines| waiting.is_writing || !waiting.lines.is_empty();
        // A lock that is poisoned, or lines that are left: the process ends all the same.
        drop((self.shared.drained).wait_timeout_while(waiting, time, is_busy));
    }

    /// Counts the lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn write_all(&self, mut stream: impl Write, notice: impl Fn(u64)) {
        let mut is_torn = false;
        loop {
            let line = self.next();
            if write_line(&mut stream, &line.bytes, &mut is_torn).is_err() {
                self.lost(&line);
            } else if let Some(untold) = self.untold(Instant::now()) {
                TELLING.set(untold);
                notice(untold);
                TELLING.set(0);
            }
        }
    }

    /// Waits for the next line.
    fn next(&self) -> QueuedLine {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.bytes.len();
                waiting.is_writing = true;
                return line;
            }
            waiting.is_writing = false;
            self.drained.notify_all();
            waiting = match self.filled.wait(waiting) {
                Ok(waiting) => waiting,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    /// Counts a line that couldn't be written. What a lost notice told of is untold again.
    fn lost(&self, line: &QueuedLine) {
        let count = line.tells.max(1);
        lock(&self.waiting).untold += count;
        if line.tells == 0 {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of dropped lines to tell of now, if a notice is due.
    fn untold(&self, now: Instant) -> Option<u64> {
        let mut waiting = lock(&self.waiting);
        let was_told = waiting.told_at.is_some_and(|at| now < at + NOTICE_EVERY);
        if waiting.untold == 0 || (was_told && !waiting.lines.is_empty()) {
            return None;
        }
        waiting.told_at = Some(now);
        Some(std::mem::take(&mut waiting.untold))
    }
}

/// Writes a line; behind one that broke off in the middle, begins a new line first.
fn write_line(stream: &mut impl Write, line: &[u8], is_torn: &mut bool) -> io::Result<()> {
    let whole = if *is_torn {
        [b"\n", line].concat()
    } else {
        line.to_vec()
    };
    let mut rest = &*whole;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(size) => {
                rest = &rest[size..];
                *is_torn = !rest.is_empty();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A stream that asks the test before each write.
    struct Asking {
        written: Sender<Vec<u8>>,
        /// The most bytes of the next write, or an error.
        allowed: Receiver<Option<usize>>,
    }

    impl Write for Asking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let allowed = self.allowed.recv().unwrap_or(Some(usize::MAX));
            let size = allowed.ok_or(io::ErrorKind::StorageFull)?.min(bytes.len());
            // The test may have ended.
            _ = self.written.send(bytes[..size].to_vec());
            Ok(size)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct World {
        queue: Arc<LineQueue>,
        allow: Sender<Option<usize>>,
        written: Receiver<Vec<u8>>,
    }

    impl World {
        /// A queue of `bytes_max` bytes, whose notices are lines such as `2 dropped`.
        fn new(bytes_max: usize) -> Self {
            let (sender, written) = channel();
            let (allow, allowed) = channel();
            let stream = Asking {
                written: sender,
                allowed,
            };
            let (own, told) = channel::<Arc<LineQueue>>();
            let notice = Cell::new(None);
            let queue = Arc::new(LineQueue::new("lines", bytes_max, stream, move |count| {
                let queue = notice.take().or_else(|| told.recv().ok());
                let queue = queue.expect("the test gives the queue");
                queue.push(format!("{count} dropped\n").as_bytes());
                notice.set(Some(queue));
            }));
            own.send(Arc::clone(&queue)).expect("the thread runs");
            Self {
                queue,
                allow,
                written,
            }
        }

        fn allow(&self, size: Option<usize>) {
            self.allow.send(size).expect("the thread runs");
        }

        fn written(&self) -> String {
            let bytes = self.written.recv_timeout(PATIENCE).expect("a write");
            String::from_utf8(bytes).expect("text")
        }
    }

    #[test]
    fn a_full_queue_drops_whole_lines_and_tells_their_number_once_writing_works() {
        let world = World::new(8);
        // "a" is in the thread's hands or waits; "b" waits; the others don't fit beside them.
        for line in ["aaaa\n", "bbb\n", "cccc\n", "dddd\n", "eeee\n"] {
            world.queue.push(line.as_bytes());
        }
        let dropped = world.queue.dropped();
        assert!((3..=4).contains(&dropped), "{dropped}");
        for _ in 0..8 {
            world.allow(Some(usize::MAX));
        }
        let mut lines = vec![world.written()];
        while !lines.last().is_some_and(|line| line.ends_with("dropped\n")) {
            lines.push(world.written());
        }
        assert_eq!(lines.last(), Some(&format!("{dropped} dropped\n")));
        assert_eq!(lines[0], "aaaa\n");
    }

    #[test]
    fn a_line_that_broke_off_is_counted_and_the_next_one_begins_anew() {
        let world = World::new(1_000);
        world.queue.push(b"first\n");
        world.allow(Some(3));
        world.allow(None);
        assert_eq!(world.written(), "fir");
        world.queue.push(b"second\n");
        world.allow(Some(usize::MAX));
        world.allow(Some(usize::MAX));
        assert_eq!(world.written(), "\nsecond\n");
        assert_eq!(world.written(), "1 dropped\n");
        assert_eq!(world.queue.dropped(), 1);
    }

    #[test]
    fn a_notice_that_is_lost_is_told_again() {
        let world = World::new(1_000);
        world.queue.push(b"a\n");
        world.allow(None);
        world.queue.flush(PATIENCE);
        world.queue.push(b"b\n");
        world.allow(Some(usize::MAX));
        assert_eq!(world.written(), "b\n");
        // The notice itself fails.
        world.allow(None);
        world.queue.flush(PATIENCE);
        world.queue.push(b"c\n");
        world.allow(Some(usize::MAX));
        world.allow(Some(usize::MAX));
        assert_eq!(world.written(), "c\n");
        assert_eq!(world.written(), "1 dropped\n");
        assert_eq!(world.queue.dropped(), 1);
    }

    #[test]
    fn a_flush_waits_for_the_lines_and_never_longer_than_told() {
        let world = World::new(1_000);
        world.queue.push(b"stuck\n");
        let began = Instant::now();
        world.queue.flush(Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50));
        world.allow(Some(usize::MAX));
        world.queue.flush(PATIENCE);
        assert_eq!(world.written(), "stuck\n");
    }
}
