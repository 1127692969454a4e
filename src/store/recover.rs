//! Going on after a failed write or sync.

use std::io;
use std::sync::Arc;

use super::error::StoreError;
use super::files::{Access, File};
use super::journal::{Health, Journal};
use super::names;
use super::scan::{Scan, Step};
use super::settings::SyncPolicy;
use super::view::Counters;

/// The longest pause between two tries to recover.
const RECOVER_PAUSE_MS_MAX: u64 = 5_000;

impl Journal {
    /// Opens the newest file anew after a failure, verifies all of it, cuts off what nobody was
    /// told of, and begins a new one.
    pub(super) fn recover(&mut self, now_ms: u64) -> Result<(), StoreError> {
        if now_ms < self.upkeep.retry_ms
            && let Some(failure) = self.failure()
        {
            return Err(failure);
        }
        let upkeep = &mut self.upkeep;
        upkeep.pause_ms = (upkeep.pause_ms * 2).clamp(100, RECOVER_PAUSE_MS_MAX);
        upkeep.retry_ms = now_ms + upkeep.pause_ms;
        self.reopen()?;
        self.begin_segment()?;
        self.health = Health::Good;
        (self.upkeep.retry_ms, self.upkeep.pause_ms) = (0, 0);
        tracing::warn!(file = %self.tail.path.display(), "goes on in a new file");
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let path = self.tail.path.clone();
        let io = |what| move |source: io::Error| (what, source);
        let failed = |(what, source)| StoreError::io(what, &path, source);
        // A file that was begun but isn't surely there: it has nothing but a checkpoint.
        let next = names::segment(self.tail.head.number + 1);
        let next = self.settings.directory.join(next);
        match self.files.remove(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &next, error));
            }
            _ => {}
        }
        (self.files.sync_directory(&self.settings.directory))
            .map_err(io("sync the directory of"))
            .map_err(failed)?;
        let file = (self.files.open(&path, Access::Write))
            .map_err(io("open"))
            .map_err(failed)?;
        let size = file.size().map_err(io("read")).map_err(failed)?;
        if self.settings.sync == SyncPolicy::Always {
            // Nobody was told of more. With another setting somebody was: if the failure has cost
            // us that, it is damage, and stays so until somebody opens the store anew.
            self.tail.end = self.tail.durable;
        }
        self.verify(Arc::clone(&file))?;
        let end = self.tail.end;
        if size > end {
            file.set_size(end).map_err(io("cut")).map_err(failed)?;
            Counters::add(&self.view.counters.torn_bytes, size - end);
        }
        self.rewrite(&*file).map_err(io("write")).map_err(failed)?;
        file.sync_data().map_err(io("sync")).map_err(failed)?;
        self.tail.file = file;
        self.tail.durable = end;
        self.view.close(self.tail.head.number);
        Ok(())
    }

    /// Everything that somebody was told of has to be there.
    fn verify(&self, file: Arc<dyn File>) -> Result<(), StoreError> {
        let mut scan = Scan::begin(file, &self.tail.path, self.tail.head.number)?;
        scan.end_at(self.tail.end);
        if scan.end < self.tail.end {
            let end = scan.end;
            return Err(StoreError::damaged(scan.path(), end, "its end is missing"));
        }
        loop {
            match scan.step()? {
                Step::Batch { .. } => {}
                Step::End => return Ok(()),
                Step::Bad { at, flaw, .. } => {
                    return Err(StoreError::damaged(scan.path(), at, flaw));
                }
            }
        }
    }

    /// Writes once more what was never durable: the system may take it to be written already.
    fn rewrite(&self, file: &dyn File) -> io::Result<()> {
        let mut at = self.tail.durable;
        let mut bytes = vec![0; 1 << 20];
        while at < self.tail.end {
            let size = bytes.len().min((self.tail.end - at) as usize);
            let filled = file.read_full_at(&mut bytes[..size], at)?;
            if filled == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all_at(&bytes[..filled], at)?;
            at += filled as u64;
        }
        Ok(())
    }
}
