//! The processes in a handover: what each has been given, what waits for it, and the child that runs.
//!
//! To be written once nothing is read, written, started or reaped any more, and what was accepted is in
//! the ledgers. It is taken over in two steps: [`ProcessesHandover::read`] checks everything while the
//! descriptors are bare numbers, which an error leaves alone; then [`Supervisor::adopt`](super::Supervisor::adopt) owns them, and
//! can't fail.
//!
//! A child may have been started by a program whose frames are others. It is told what ends the frame
//! under way and then Stop, both in bytes of that program, and nothing that it says is read.

use std::borrow::Borrow;
use std::os::fd::RawFd;

use rustix::process::Pid;

use super::ledger::Ledger;
use super::settings::ProcessSettings;
use crate::handover::{HandoverError, RecordReader, RecordWriter, Section, SectionFormat};

/// The section of the processes.
pub const PROCESSES_FORMAT: SectionFormat = SectionFormat {
    name: "processes",
    version: 1,
    oldest_reader: 1,
};

/// The processes as they were handed over; their descriptors are numbers.
#[derive(Debug)]
pub struct ProcessesHandover {
    pub(super) processes: Vec<ProcessHandover>,
}

/// One process as it is handed over.
#[derive(Debug)]
pub(super) struct ProcessHandover<L = Ledger> {
    pub(super) name: String,
    /// Pause before the next restart, in milliseconds.
    pub(super) backoff_ms: u64,
    /// Whether the child that runs was told to make room for the next one.
    pub(super) is_renewing: bool,
    pub(super) counts: TaskCounts,
    pub(super) ledger: L,
    pub(super) life: LifeHandover,
}

/// What the link to a process counts, beside what the ledger has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskCounts {
    pub(super) next_id: u64,
    pub(super) starts: u64,
    pub(super) tasks_finished: u64,
}

/// What a process was at.
#[derive(Debug)]
pub(super) enum LifeHandover {
    /// It was to be started so many milliseconds later.
    Waiting(u64),
    Running(Box<ChildHandover>),
}

/// A child that runs, or has died and isn't buried yet.
#[derive(Debug)]
pub(super) struct ChildHandover {
    pub(super) pid: Pid,
    pub(super) pidfd: RawFd,
    pub(super) pipe: RawFd,
    /// The version of the frames on its pipe.
    pub(super) pipe_version: u16,
    /// The status of `wait(2)`, if the child was reaped.
    pub(super) exited: Option<i32>,
    /// How long it has run, in milliseconds.
    pub(super) age_ms: u64,
    pub(super) has_finished: bool,
    /// Whether it has closed its pipe, or isn't trusted any more.
    pub(super) is_read_ended: bool,
    /// Whether it reads no more.
    pub(super) is_write_ended: bool,
    /// What was read and is no whole frame yet.
    pub(super) undecoded: Vec<u8>,
    /// The bytes that end the frame under way, if there is one, and then the child: in its own version.
    pub(super) last_words: Vec<u8>,
}

impl ProcessesHandover {
    /// Reads the section; a program without these processes, or with smaller frames, refuses it.
    ///
    /// # Errors
    ///
    /// The section is one that this program can't read, contradicts itself, or doesn't fit the program.
    pub fn read(
        section: &Section<'_>,
        names: &[&str],
        settings: &ProcessSettings,
    ) -> Result<Self, HandoverError> {
        section.check(PROCESSES_FORMAT.version)?;
        let mut processes: Vec<ProcessHandover> = Vec::new();
        for record in section.records() {
            let mut record = record?;
            let process = ProcessHandover::read(&mut record)?;
            if processes.iter().any(|known| known.name == process.name) {
                return Err(record.refuse("two processes have one name"));
            }
            if !names.contains(&&*process.name) {
                return Err(record.refuse("this program has no such process"));
            }
            if process.ledger.payload_max() > settings.frame_size_max as usize {
                return Err(record.refuse("a task is larger than a frame may be"));
            }
            processes.push(process);
        }
        Ok(Self { processes })
    }

    /// Lists the descriptors that are handed over.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let lives = self
            .processes
            .iter()
            .filter_map(|process| match &process.life {
                LifeHandover::Waiting(_) => None,
                LifeHandover::Running(child) => Some([child.pidfd, child.pipe]),
            });
        lives.flatten()
    }
}

impl<L: Borrow<Ledger>> ProcessHandover<L> {
    pub(super) fn write(&self, record: &mut RecordWriter<'_>) {
        record.text(&self.name);
        record.u64(self.backoff_ms);
        record.flag(self.is_renewing);
        record.u64(self.counts.next_id);
        record.u64(self.counts.starts);
        record.u64(self.counts.tasks_finished);
        record.record(|record| self.ledger.borrow().hand_over(record));
        match &self.life {
            LifeHandover::Waiting(ms) => {
                record.flag(false);
                record.u64(*ms);
            }
            LifeHandover::Running(child) => {
                record.flag(true);
                record.record(|record| child.write(record));
            }
        }
    }
}

impl ProcessHandover {
    fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let this = Self {
            name: record.text()?.to_owned(),
            backoff_ms: record.u64()?,
            is_renewing: record.flag()?,
            counts: TaskCounts {
                next_id: record.u64()?,
                starts: record.u64()?,
                tasks_finished: record.u64()?,
            },
            ledger: Ledger::take_over(&mut record.record()?)?,
            life: match record.flag()? {
                false => LifeHandover::Waiting(record.u64()?),
                true => {
                    LifeHandover::Running(Box::new(ChildHandover::read(&mut record.record()?)?))
                }
            },
        };
        if this.ledger.last_task() >= this.counts.next_id {
            return Err(record.refuse("a task has a number that is still to be given"));
        }
        Ok(this)
    }
}

impl ChildHandover {
    fn write(&self, record: &mut RecordWriter<'_>) {
        record.i64(self.pid.as_raw_pid().into());
        record.i64(self.pidfd.into());
        record.i64(self.pipe.into());
        record.u64(self.pipe_version.into());
        record.optional(self.exited, |record, status| record.i64(status.into()));
        record.u64(self.age_ms);
        record.flag(self.has_finished);
        record.flag(self.is_read_ended);
        record.flag(self.is_write_ended);
        record.bytes(&self.undecoded);
        record.bytes(&self.last_words);
    }

    fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        // It takes no negative number.
        let pid = Some(narrow(record)?).filter(|pid| *pid > 0);
        let pid = pid.and_then(Pid::from_raw);
        let this = Self {
            pid: pid.ok_or_else(|| record.refuse("a process has no PID"))?,
            pidfd: narrow(record)?,
            pipe: narrow(record)?,
            pipe_version: record.u16()?,
            exited: record.optional(narrow)?,
            age_ms: record.u64()?,
            has_finished: record.flag()?,
            is_read_ended: record.flag()?,
            is_write_ended: record.flag()?,
            undecoded: record.bytes()?.to_vec(),
            last_words: record.bytes()?.to_vec(),
        };
        match this.pidfd >= 0 && this.pipe >= 0 && this.pidfd != this.pipe {
            true => Ok(this),
            false => Err(record.refuse("a process has descriptors that none can have")),
        }
    }
}

fn narrow(record: &mut RecordReader<'_>) -> Result<i32, HandoverError> {
    let number = record.i64()?;
    i32::try_from(number).map_err(|_| record.refuse("a number is out of range"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use mio::{Events, Poll};

    use super::super::child_handle::ChildHandle;
    use super::super::ledger::LedgerEntry;
    use super::super::pipe::{HEADER_SIZE, PIPE_VERSION, PipeKind};
    use super::super::settings::ProcessSpec;
    use super::super::{ProcessEvent, Supervisor};
    use super::*;
    use crate::handover::SectionWriter;

    fn child(pipe_version: u16, numbers: (Pid, RawFd, RawFd)) -> ChildHandover {
        ChildHandover {
            pid: numbers.0,
            pidfd: numbers.1,
            pipe: numbers.2,
            pipe_version,
            exited: None,
            age_ms: 5,
            has_finished: false,
            is_read_ended: false,
            is_write_ended: false,
            undecoded: b"half a frame".to_vec(),
            last_words: b"<the rest><stop>".to_vec(),
        }
    }

    /// One task is given, one half written, and a message waits.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for (kind, id, payload) in [
            (PipeKind::Task, 1, "one"),
            (PipeKind::Task, 2, "two"),
            (PipeKind::Message, 0, "m"),
        ] {
            let payload = Bytes::from(payload);
            ledger.accept(LedgerEntry { kind, id, payload });
        }
        let mut taken = [0; HEADER_SIZE + 3 + 5];
        let _ = ledger.write(&mut &mut taken[..]);
        ledger
    }

    fn process(life: LifeHandover) -> ProcessHandover {
        ProcessHandover {
            name: "p".to_owned(),
            backoff_ms: 100,
            is_renewing: false,
            counts: TaskCounts {
                next_id: 3,
                starts: 4,
                tasks_finished: 5,
            },
            ledger: ledger(),
            life,
        }
    }

    fn written(process: &ProcessHandover) -> SectionWriter {
        let mut section = SectionWriter::new();
        section.record(|record| process.write(record));
        section
    }

    fn read(section: &SectionWriter, names: &[&str]) -> Result<ProcessesHandover, HandoverError> {
        let section = Section::of("processes", 1, section.as_bytes());
        ProcessesHandover::read(&section, names, &ProcessSettings::default())
    }

    fn running(pid: i32, pidfd: RawFd, pipe: RawFd) -> LifeHandover {
        let pid = Pid::from_raw(pid).expect("it is positive");
        LifeHandover::Running(Box::new(child(PIPE_VERSION, (pid, pidfd, pipe))))
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for life in [LifeHandover::Waiting(700), running(77, 5, 6)] {
            let descriptors = match life {
                LifeHandover::Waiting(_) => vec![],
                LifeHandover::Running(_) => vec![5, 6],
            };
            let section = written(&process(life));
            let read = read(&section, &["q", "p"]).expect("it is right");
            assert!(read.descriptors().eq(descriptors));
            assert_eq!(written(&read.processes[0]), section);
        }
    }

    #[test]
    fn every_byte_that_is_changed_or_missing_is_refused_or_read_as_something_else() {
        let section = written(&process(running(77, 5, 6)));
        let bytes = section.as_bytes();
        let settings = ProcessSettings::default();
        let read = |bytes: &[u8]| {
            let section = Section::of("processes", 1, bytes);
            ProcessesHandover::read(&section, &["p"], &settings)
        };
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.to_vec();
                bytes[at] ^= 1 << bit;
                if let Ok(read) = read(&bytes) {
                    let same = read.processes.iter().all(|one| written(one) == section);
                    assert!(!same, "byte {at}, bit {bit}");
                }
            }
            assert!(at == 0 || read(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_program_without_the_process_or_with_smaller_frames_refuses_it() {
        let mut section = written(&process(LifeHandover::Waiting(1)));
        assert!(read(&section, &["q"]).is_err());
        let small = ProcessSettings {
            frame_size_max: 2,
            ..ProcessSettings::default()
        };
        let of_small = Section::of("processes", 1, section.as_bytes());
        assert!(ProcessesHandover::read(&of_small, &["p"], &small).is_err());
        section.record(|record| process(LifeHandover::Waiting(1)).write(record));
        assert!(read(&section, &["p"]).is_err(), "twice");
        let mut late = process(LifeHandover::Waiting(1));
        late.counts.next_id = 2;
        assert!(
            read(&written(&late), &["p"]).is_err(),
            "its number is to be given"
        );
    }

    /// Starts a child that is no process of ours: it says what would be a result if anybody listened, and
    /// writes down what it is told.
    fn stranger(told: &std::path::Path) -> (ChildHandle, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pipe");
        ours.set_nonblocking(true).expect("it doesn't wait");
        // In the frames of this program: the result of task 1.
        let result = r"\0\0\0\0\3\1\0\0\0\0\0\0\0";
        let script = format!("printf '{result}' >&0; exec cat > {}", told.display());
        let child = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn();
        (
            ChildHandle::of(child.expect("a shell")).expect("a pidfd"),
            ours,
        )
    }

    #[test]
    fn a_process_of_another_version_is_told_its_last_words_and_its_tasks_are_given_to_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("told");
        let (handle, pipe) = stranger(&told);
        let (pid, pidfd) = handle.numbers();
        let numbers = (pid, pidfd.as_raw_fd(), pipe.as_raw_fd());
        let life = LifeHandover::Running(Box::new(child(PIPE_VERSION + 1, numbers)));
        let handover = read(&written(&process(life)), &["p"]).expect("it is right");
        let settings = ProcessSettings {
            stop_ms_max: 1_000,
            ..ProcessSettings::default()
        };
        let mut spec = ProcessSpec::new("p").expect("a name");
        spec.program = "/dev/null/absent".into();
        let mut supervisor =
            Supervisor::new(vec![spec], settings, Arc::new(|| {})).expect("one process");
        let mut owned = [Some(pidfd), Some(OwnedFd::from(pipe))];
        let mut own = |number: RawFd| {
            let mut all = owned.iter_mut();
            let known = all.find(|fd| fd.as_ref().is_some_and(|fd| fd.as_raw_fd() == number));
            known.and_then(Option::take).expect("once for each")
        };
        supervisor.adopt(handover, &mut own, Instant::now());
        let mut poll = Poll::new().expect("a poll");
        let link = supervisor.link("p").expect("it is there");
        assert_eq!(link.stats().tasks_unfinished, 2);
        link.task("three").expect("it is taken");
        supervisor.start(poll.registry(), 0).expect("a registry");
        let mut events = Events::with_capacity(8);
        let until = Instant::now() + Duration::from_secs(20);
        let died = loop {
            if let Some(event) = supervisor.next_event() {
                break event;
            }
            assert!(Instant::now() < until, "it has not died: {supervisor:?}");
            let deadline = supervisor.deadline().unwrap_or(until);
            let wait = deadline.saturating_duration_since(Instant::now());
            if poll.poll(&mut events, Some(wait)).is_err() {
                // A signal.
                continue;
            }
            events.iter().for_each(|event| supervisor.ready(event));
            supervisor.turn(Instant::now());
        };
        let died = matches!(died, ProcessEvent::Died { restart_in, .. } if restart_in == Some(Duration::ZERO));
        assert!(died, "killed, for its successor");
        let told = std::fs::read(told).expect("it was told something");
        assert_eq!(String::from_utf8_lossy(&told), "<the rest><stop>");
        let stats = link.stats();
        assert_eq!((stats.tasks_unfinished, stats.tasks_finished), (3, 5));
        supervisor.kill();
    }
}
