//! Recovery after a failed write or sync.

use std::io;
use std::sync::Arc;

use super::error::StoreError;
use super::files::{OpenMode, StoreFile};
use super::journal::{Health, Journal};
use super::names;
use super::read_view::StoreCounters;
use super::scan::{Scan, ScanStep};
use super::settings::SyncPolicy;

/// The longest pause between two tries: a disk that works again is used within five seconds.
const RECOVER_PAUSE_MS_MAX: u64 = 5_000;

impl Journal {
    /// Reopens the active segment after a failure, verifies all of it, cuts off what was never
    /// acknowledged, and rolls over to a new segment.
    pub(super) fn recover(&mut self, now_ms: u64) -> Result<(), StoreError> {
        if now_ms < self.maintenance.retry_ms
            && let Some(failure) = self.failure()
        {
            return Err(failure);
        }
        let maintenance = &mut self.maintenance;
        maintenance.pause_ms = (maintenance.pause_ms * 2).clamp(100, RECOVER_PAUSE_MS_MAX);
        maintenance.retry_ms = now_ms + maintenance.pause_ms;
        self.abort_rollover();
        self.reopen()?;
        self.finish_rollover()?;
        self.health = Health::Good;
        (self.maintenance.retry_ms, self.maintenance.pause_ms) = (0, 0);
        tracing::warn!(file = %self.active.path.display(), "the store works again, and goes on in a new file");
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let path = self.active.path.clone();
        let io = |what| move |source: io::Error| (what, source);
        let failed = |(what, source)| StoreError::io(what, &path, source);
        // The next segment may be there without anybody knowing; it has nothing but a checkpoint.
        let next = names::segment(self.active.head.number + 1);
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
        let file = (self.files.open(&path, OpenMode::Write))
            .map_err(io("open"))
            .map_err(failed)?;
        let size = file.size().map_err(io("read")).map_err(failed)?;
        if self.settings.sync == SyncPolicy::Always {
            // Nobody was told of more. With another setting somebody was: if the failure has cost
            // us that, it is damage, and stays so until the store is opened again.
            self.active.end = self.active.durable;
        }
        self.verify(Arc::clone(&file))?;
        let end = self.active.end;
        if size > end {
            file.set_size(end).map_err(io("cut")).map_err(failed)?;
            StoreCounters::add(&self.view.counters.torn_bytes, size - end);
        }
        self.rewrite(&*file).map_err(io("write")).map_err(failed)?;
        file.sync_data().map_err(io("sync")).map_err(failed)?;
        self.active.file = file;
        self.active.durable = end;
        self.view.close(self.active.head.number);
        Ok(())
    }

    /// Verifies that everything that was acknowledged is there.
    fn verify(&self, file: Arc<dyn StoreFile>) -> Result<(), StoreError> {
        let mut scan = Scan::begin(file, &self.active.path, self.active.head.number)?;
        scan.end_at(self.active.end);
        if scan.end < self.active.end {
            let end = scan.end;
            return Err(StoreError::damaged(scan.path(), end, "its end is missing"));
        }
        loop {
            match scan.step()? {
                ScanStep::Batch { .. } => {}
                ScanStep::End => return Ok(()),
                ScanStep::Bad { at, flaw, .. } => {
                    return Err(StoreError::damaged(scan.path(), at, flaw));
                }
            }
        }
    }

    /// Writes once more what was never durable: the system may take it for written already.
    fn rewrite(&self, file: &dyn StoreFile) -> io::Result<()> {
        let mut at = self.active.durable;
        let mut bytes = vec![0; 1 << 20];
        while at < self.active.end {
            let size = bytes.len().min((self.active.end - at) as usize);
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
