//! A child in a handover.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::net::UnixStream;

use super::super::child_handle::ChildHandle;
use super::super::handover::ChildHandover;
use super::super::pipe::{PIPE_VERSION, PipeDecoder};
use super::super::settings::ProcessSettings;
use super::{ChildProcess, PipeState, ProcessTokens, Writing, register_death, register_pipe};

impl ChildProcess {
    /// Describes this life; `last_words` end it in the version of its pipe.
    pub(in super::super) fn hand_over(&self, now: Instant, last_words: Vec<u8>) -> ChildHandover {
        let (undecoded, last_words) = match &self.farewell {
            // Nothing that it says is read.
            Some(farewell) => (Vec::new(), farewell.clone()),
            None => (self.decoder.rest().to_vec(), last_words),
        };
        ChildHandover {
            pid: self.child.raw_pid(),
            pidfd: self.child.pidfd(),
            pipe: self.pipe.as_raw_fd(),
            pipe_version: self.pipe_version,
            exited: self.child.exited().map(ExitStatusExt::into_raw),
            age_ms: now.saturating_duration_since(self.started).as_millis() as u64,
            has_finished: self.has_finished,
            is_read_ended: self.reading == PipeState::Ended,
            is_write_ended: self.writing == Writing::Ended,
            undecoded,
            last_words,
        }
    }

    /// Its pidfd and its pipe.
    pub(in super::super) fn descriptors(&self) -> [RawFd; 2] {
        [self.child.pidfd(), self.pipe.as_raw_fd()]
    }

    /// Goes on with a child that was handed over, with the descriptors of its pidfd and its pipe.
    pub(in super::super) fn adopt(
        handover: ChildHandover,
        (pidfd, pipe): (OwnedFd, OwnedFd),
        settings: &ProcessSettings,
        now: Instant,
    ) -> Self {
        let mut decoder = PipeDecoder::new(settings.frame_size_max);
        let is_foreign = handover.pipe_version != PIPE_VERSION;
        if !is_foreign {
            decoder.receive(&handover.undecoded);
        }
        let age = Duration::from_millis(handover.age_ms);
        let exited = handover.exited.map(ExitStatus::from_raw);
        Self {
            child: ChildHandle::adopt(handover.pid, pidfd, exited),
            pipe: UnixStream::from_std(pipe.into()),
            pipe_version: handover.pipe_version,
            farewell: is_foreign.then_some(handover.last_words),
            decoder,
            started: now.checked_sub(age).unwrap_or(now),
            reading: match handover.is_read_ended {
                true => PipeState::Ended,
                false => PipeState::Ready,
            },
            writing: match handover.is_write_ended {
                true => Writing::Ended,
                false => Writing::Ready,
            },
            kill_at: None,
            has_finished: handover.has_finished,
        }
    }

    /// Whether its frames are those of another program, and nothing that it says is read.
    pub(in super::super) fn is_foreign(&self) -> bool {
        self.farewell.is_some()
    }

    /// Has a poll report on a child that was handed over.
    pub(in super::super) fn register(
        &mut self,
        registry: &Registry,
        tokens: ProcessTokens,
    ) -> std::io::Result<()> {
        register_pipe(&mut self.pipe, registry, tokens)?;
        register_death(&self.child, registry, tokens)
    }
}
