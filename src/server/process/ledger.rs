//! The ledger of one process: its accepted tasks and messages, in the order of acceptance.
//!
//! Pure: [`Ledger::write`] gets the pipe passed in. The ledger keeps each task until
//! [`Ledger::finish`], and each message until all its bytes are written.
//!
//! Invariant: `given` holds tasks only, all of them accepted before every entry of `waiting`.

mod handover;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice, Write};

use bytes::Bytes;

use super::pipe::{HEADER_SIZE, PipeKind, header};

/// Bytes that an entry counts beside its payload: about its own size and its frame's header.
pub(super) const ENTRY_SIZE: usize = 64;

/// Frames in one write: a round number. Each takes two slices, and the kernel takes up to 1,024.
const WRITE_FRAMES_MAX: usize = 128;

/// Bytes after which a write takes no further frame: a round number below the default buffer of a
/// Unix socket (208 KiB), which takes no more at once.
const WRITE_BYTES_MAX: usize = 128 * 1024;

/// A frame on its way to the process.
#[derive(Debug, Clone)]
pub(super) struct LedgerEntry {
    pub kind: PipeKind,
    pub id: u64,
    pub payload: Bytes,
}

impl LedgerEntry {
    /// Counts the entry's bytes against `pipe_bytes_max`.
    pub(super) fn weight(&self) -> usize {
        ENTRY_SIZE + self.payload.len()
    }

    /// The end of a process.
    pub(super) fn stop() -> Self {
        Self {
            kind: PipeKind::Stop,
            id: 0,
            payload: Bytes::new(),
        }
    }

    fn frame_size(&self) -> usize {
        HEADER_SIZE + self.payload.len()
    }
}

/// The result of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// All waiting entries are written.
    All,
    /// The pipe takes no more for now.
    Blocked,
    /// The process reads no more; the next one will get the rest.
    Closed,
}

impl WriteOutcome {
    /// Tells what an error means; `None` if it is to be tried again.
    ///
    /// # Errors
    ///
    /// The pipe failed in another way than being full, interrupted or closed.
    pub(super) fn of(error: io::Error) -> io::Result<Option<Self>> {
        match error.kind() {
            io::ErrorKind::WouldBlock => Ok(Some(Self::Blocked)),
            io::ErrorKind::Interrupted => Ok(None),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(Some(Self::Closed)),
            _ => Err(error),
        }
    }
}

/// The accepted tasks and messages of one process, which outlive each of its lives.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Entries that aren't fully written.
    waiting: VecDeque<LedgerEntry>,
    /// Bytes of the first entry of `waiting` that are written.
    head_written: usize,
    /// Tasks that are written and not finished.
    given: BTreeMap<u64, Bytes>,
    /// Weight of the messages written since the last [`Ledger::take_released`].
    released: usize,
    /// Whether a Stop is written, behind which this process gets nothing.
    is_stop_written: bool,
}

impl Ledger {
    pub(super) fn accept(&mut self, entry: LedgerEntry) {
        self.waiting.push_back(entry);
    }

    /// Puts a Stop before all entries of which no byte is written: those are for the next process.
    pub(super) fn stop_here(&mut self) {
        if self.has_stop() {
            return;
        }
        let begun = usize::from(self.head_written > 0);
        self.waiting.insert(begun, LedgerEntry::stop());
    }

    /// Writes the waiting entries up to a Stop, many frames at once, until all are written or the pipe is full.
    ///
    /// # Errors
    ///
    /// The pipe failed in another way than being full, interrupted or closed.
    pub(super) fn write(&mut self, pipe: &mut impl Write) -> io::Result<WriteOutcome> {
        while self.is_waiting() {
            match self.write_once(pipe) {
                Ok(0) => return Ok(WriteOutcome::Closed),
                Ok(size) => self.advance(size),
                Err(error) => {
                    if let Some(outcome) = WriteOutcome::of(error)? {
                        return Ok(outcome);
                    }
                }
            }
        }
        Ok(WriteOutcome::All)
    }

    fn write_once(&self, pipe: &mut impl Write) -> io::Result<usize> {
        let (mut size, mut is_behind_stop) = (0, false);
        let batch = self
            .waiting
            .iter()
            .take(WRITE_FRAMES_MAX)
            .take_while(|entry| {
                let fits = size < WRITE_BYTES_MAX && !is_behind_stop;
                size += entry.frame_size();
                is_behind_stop = entry.kind == PipeKind::Stop;
                fits
            });
        let batch: Vec<_> = batch
            .map(|entry| {
                (
                    header(entry.kind, entry.id, entry.payload.len()),
                    &entry.payload,
                )
            })
            .collect();
        let mut slices = Vec::with_capacity(2 * batch.len());
        for (header, payload) in &batch {
            slices.push(IoSlice::new(header));
            slices.push(IoSlice::new(payload));
        }
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, self.head_written);
        pipe.write_vectored(rest)
    }

    /// Moves on by `size` written bytes.
    fn advance(&mut self, size: usize) {
        self.head_written += size;
        while let Some(entry) = self
            .waiting
            .pop_front_if(|entry| entry.frame_size() <= self.head_written)
        {
            self.head_written -= entry.frame_size();
            match entry.kind {
                PipeKind::Task => {
                    self.given.insert(entry.id, entry.payload);
                }
                PipeKind::Message => self.released += entry.weight(),
                PipeKind::Stop => self.is_stop_written = true,
                PipeKind::Finish | PipeKind::Failed => {}
            }
        }
        debug_assert!(
            self.head_written == 0 || !self.waiting.is_empty(),
            "written more than there was"
        );
    }

    /// Removes a finished task; returns its weight, or `None` if no such task is unfinished.
    pub(super) fn finish(&mut self, id: u64) -> Option<usize> {
        self.given
            .remove(&id)
            .map(|payload| ENTRY_SIZE + payload.len())
    }

    /// Starts over for a new process: all unfinished tasks wait again, before the other entries.
    pub(super) fn give_again(&mut self) {
        self.head_written = 0;
        self.is_stop_written = false;
        for (id, payload) in std::mem::take(&mut self.given).into_iter().rev() {
            self.waiting.push_front(LedgerEntry {
                kind: PipeKind::Task,
                id,
                payload,
            });
        }
        // The new process gets a Stop of its own, after the last task.
        self.waiting.retain(|entry| entry.kind != PipeKind::Stop);
    }

    /// Takes the weight of the messages written since the last call.
    pub(super) fn take_released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    /// Whether an entry waits to be written to this process.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() && !self.is_stop_written
    }

    fn has_stop(&self) -> bool {
        self.is_stop_written
            || self
                .waiting
                .iter()
                .any(|entry| entry.kind == PipeKind::Stop)
    }

    /// Whether no task is unfinished and no entry waits, except for a Stop.
    pub(super) fn is_settled(&self) -> bool {
        self.given.is_empty()
            && self
                .waiting
                .iter()
                .all(|entry| entry.kind == PipeKind::Stop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pipe::PipeDecoder;
    use super::*;

    /// Takes up to `room` bytes, then blocks.
    pub(super) struct Pipe {
        pub(super) bytes: Vec<u8>,
        pub(super) room: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let size = bytes.len().min(self.room);
            if size == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.bytes.extend_from_slice(&bytes[..size]);
            self.room -= size;
            Ok(size)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.write(
                &slices
                    .iter()
                    .flat_map(|slice| slice.to_vec())
                    .collect::<Vec<_>>(),
            )
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(super) fn pipe(room: usize) -> Pipe {
        Pipe {
            bytes: Vec::new(),
            room,
        }
    }

    pub(super) fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for (kind, id, payload) in [
            (PipeKind::Task, 1, "one"),
            (PipeKind::Message, 0, "m"),
            (PipeKind::Task, 2, ""),
            (PipeKind::Task, 3, "three"),
        ] {
            ledger.accept(LedgerEntry {
                kind,
                id,
                payload: Bytes::from(payload),
            });
        }
        ledger
    }

    pub(super) fn frames(bytes: &[u8]) -> Vec<(PipeKind, u64)> {
        let mut decoder = PipeDecoder::new(100);
        decoder.receive(bytes);
        std::iter::from_fn(|| decoder.next_frame().unwrap())
            .map(|frame| (frame.kind, frame.id))
            .collect()
    }

    const ALL: [(PipeKind, u64); 4] = [
        (PipeKind::Task, 1),
        (PipeKind::Message, 0),
        (PipeKind::Task, 2),
        (PipeKind::Task, 3),
    ];
    pub(super) const ALL_BYTES: usize = 4 * HEADER_SIZE + 9;

    #[test]
    fn a_write_cut_at_any_byte_goes_on_where_it_stopped() {
        for cut in 0..ALL_BYTES {
            let (mut ledger, mut pipe) = (ledger(), pipe(cut));
            assert_eq!(ledger.write(&mut pipe).unwrap(), WriteOutcome::Blocked);
            pipe.room = usize::MAX;
            assert_eq!(ledger.write(&mut pipe).unwrap(), WriteOutcome::All);
            assert_eq!(frames(&pipe.bytes), ALL, "cut at {cut}");
            assert_eq!(ledger.given.len(), 3);
            assert_eq!(ledger.take_released(), ENTRY_SIZE + 1);
        }
    }

    #[test]
    fn after_a_death_at_any_byte_the_next_gets_all_tasks_and_the_unwritten_messages_in_order() {
        for cut in 0..=ALL_BYTES {
            let mut ledger = ledger();
            let _ = ledger.write(&mut pipe(cut)).unwrap();
            ledger.give_again();
            let mut next = pipe(usize::MAX);
            assert_eq!(ledger.write(&mut next).unwrap(), WriteOutcome::All);
            let is_message_gone = cut >= 2 * HEADER_SIZE + 4;
            let expected: Vec<_> = ALL
                .into_iter()
                .filter(|(kind, _)| *kind == PipeKind::Task || !is_message_gone)
                .collect();
            assert_eq!(frames(&next.bytes), expected, "cut at {cut}");
        }
    }

    #[test]
    fn one_that_is_renewed_at_any_byte_gets_whole_frames_and_the_next_one_the_rest() {
        for cut in 0..=ALL_BYTES {
            let (mut ledger, mut pipe) = (ledger(), pipe(cut));
            let _ = ledger.write(&mut pipe).unwrap();
            ledger.stop_here();
            ledger.accept(LedgerEntry {
                kind: PipeKind::Message,
                id: 0,
                payload: Bytes::from("late"),
            });
            pipe.room = usize::MAX;
            assert_eq!(ledger.write(&mut pipe).unwrap(), WriteOutcome::All);
            ledger.stop_here();
            assert!(!ledger.is_waiting(), "nothing follows a Stop");
            let mut given = frames(&pipe.bytes);
            assert_eq!(given.pop(), Some((PipeKind::Stop, 0)), "cut at {cut}");
            // It finishes all tasks that it was given, and ends.
            for (_, id) in given.iter().filter(|(kind, _)| *kind == PipeKind::Task) {
                assert!(ledger.finish(*id).is_some());
            }
            ledger.give_again();
            let mut next = self::pipe(usize::MAX);
            assert_eq!(ledger.write(&mut next).unwrap(), WriteOutcome::All);
            given.extend(frames(&next.bytes));
            let all: Vec<_> = ALL.into_iter().chain([(PipeKind::Message, 0)]).collect();
            assert_eq!(given, all, "cut at {cut}");
        }
    }

    #[test]
    fn a_finished_task_is_not_given_again() {
        let mut ledger = ledger();
        ledger.write(&mut pipe(usize::MAX)).unwrap();
        assert_eq!(ledger.finish(2), Some(ENTRY_SIZE));
        assert_eq!(ledger.finish(2), None);
        ledger.give_again();
        let mut next = pipe(usize::MAX);
        ledger.write(&mut next).unwrap();
        assert_eq!(
            frames(&next.bytes),
            [(PipeKind::Task, 1), (PipeKind::Task, 3)]
        );
    }

    #[test]
    fn a_task_that_was_not_written_cannot_be_finished() {
        assert_eq!(ledger().finish(1), None);
    }

    #[test]
    fn it_is_settled_once_every_task_is_finished() {
        let mut ledger = ledger();
        ledger.accept(LedgerEntry::stop());
        ledger.write(&mut pipe(ALL_BYTES)).unwrap();
        for id in 1..=3 {
            assert!(!ledger.is_settled());
            ledger.finish(id);
        }
        assert!(ledger.is_settled());
    }

    #[test]
    fn many_small_frames_are_one_write() {
        struct Counted(Pipe, usize);
        impl Write for Counted {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.write(bytes)
            }
            fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
                self.1 += 1;
                self.0.write_vectored(slices)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut ledger = Ledger::default();
        for id in 0..WRITE_FRAMES_MAX as u64 {
            ledger.accept(LedgerEntry {
                kind: PipeKind::Task,
                id,
                payload: Bytes::from_static(b"task"),
            });
        }
        let mut counted = Counted(pipe(usize::MAX), 0);
        ledger.write(&mut counted).unwrap();
        assert_eq!(counted.1, 1);
        assert_eq!(counted.0.bytes.len(), WRITE_FRAMES_MAX * (HEADER_SIZE + 4));
    }
}
