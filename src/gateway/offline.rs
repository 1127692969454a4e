//! An outbox for people who look into it: a view, also while its gateway runs, and one that nobody
//! else has open, which can be changed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::outbox::{DEAD, OUTBOX, message, store_settings};
use crate::base::clock::unix_ms;
use crate::store::{
    Journal, PageRange, Reader, Record, Store, StoreError, StoreSettings, StoredMessage, look,
};

/// Bytes that are read at once: a page fits into the memory of any machine, and the whole outbox
/// may not.
const PAGE_BYTES_MAX: usize = 1 << 20;
const PAGE_MESSAGES_MAX: usize = 1_000;

/// What an outbox holds at this moment.
pub struct OutboxView {
    reader: Arc<dyn Reader>,
}

/// An open outbox, which no gateway can open meanwhile.
pub struct OfflineOutbox {
    journal: Journal,
    view: OutboxView,
}

/// The reason why an outbox can't be shown or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineOutboxError {
    /// The store failed.
    #[error("the outbox can't be read or written")]
    Store(#[from] StoreError),
    /// The output can't be written.
    #[error("can't write the output")]
    Write(#[from] io::Error),
    /// A dead letter holds no posting.
    #[error("dead letter {0} holds no posting")]
    Letter(u64),
}

/// Shows one line.
type Show<'a> = &'a mut dyn FnMut(&str) -> io::Result<()>;

/// No bound: what is there already fits, and a retry must not fail half-way for it.
fn unbounded(directory: &Path) -> StoreSettings {
    store_settings(StoreSettings::new(directory), u64::MAX >> 1)
}

impl OutboxView {
    /// Reads the outbox in a directory, whether or not its gateway runs.
    ///
    /// # Errors
    ///
    /// The store can't be read.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let reader = look(&unbounded(directory))?;
        Ok(Self { reader })
    }

    /// Shows the messages that wait: `{"n","ts","posting"}` a line.
    ///
    /// # Errors
    ///
    /// [`OfflineOutboxError`].
    pub fn waiting(&self, limit: usize, show: Show<'_>) -> Result<(), OfflineOutboxError> {
        self.each(OUTBOX, limit, &mut |one| {
            let (n, ts, posting) = (one.position.offset, one.body.ts, &one.body.data);
            Ok(show(&format!(
                "{{\"n\":{n},\"ts\":{ts},\"posting\":{posting}}}"
            ))?)
        })
    }

    /// Shows the dead letters: `{"upstream","n","code","message","ts","posting"}` a line.
    ///
    /// # Errors
    ///
    /// [`OfflineOutboxError`].
    pub fn dead(&self, limit: usize, show: Show<'_>) -> Result<(), OfflineOutboxError> {
        self.each(DEAD, limit, &mut |one| Ok(show(&one.body.data)?))
    }

    fn each(
        &self,
        channel: &str,
        limit: usize,
        take: &mut dyn FnMut(StoredMessage) -> Result<(), OfflineOutboxError>,
    ) -> Result<(), OfflineOutboxError> {
        let (mut after, mut left) = (None, limit);
        while left > 0 {
            let range = PageRange {
                after,
                before: None,
                limit: left.min(PAGE_MESSAGES_MAX),
                bytes_max: PAGE_BYTES_MAX,
            };
            let page = self.reader.page(channel, range)?;
            left = left.saturating_sub(page.messages.len());
            for one in page.messages {
                after = Some(one.position.offset);
                take(one)?;
            }
            if !page.more {
                break;
            }
        }
        Ok(())
    }
}

impl OfflineOutbox {
    /// Opens the outbox in a directory.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] while the gateway runs, or the store can't be read.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let journal = Journal::open(unbounded(directory))?;
        let view = OutboxView {
            reader: journal.reader(),
        };
        Ok(Self { journal, view })
    }

    /// Puts all dead letters at the end of the outbox, or none, and gives their number.
    ///
    /// # Errors
    ///
    /// [`OfflineOutboxError`].
    pub fn retry(&mut self) -> Result<usize, OfflineOutboxError> {
        let mut letters = Vec::new();
        self.view.each(DEAD, usize::MAX, &mut |one| {
            letters.push(one);
            Ok(())
        })?;
        let Some(last) = letters.last() else {
            return Ok(0);
        };
        let through = last.position.offset;
        let now = unix_ms();
        for letter in &letters {
            let no_letter = |_| OfflineOutboxError::Letter(letter.position.offset);
            let posting: LetterPosting<'_> =
                serde_json::from_str(&letter.body.data).map_err(no_letter)?;
            let posting = posting.posting.get();
            let id: PostingId<'_> = serde_json::from_str(posting).map_err(no_letter)?;
            let again = Record::Message(message(OUTBOX, &id.id, now, posting));
            self.journal.append(now, &again)?;
        }
        let gone = Record::Trim {
            channel: DEAD,
            through,
        };
        self.journal.append(now, &gone)?;
        self.journal.commit()?;
        Ok(letters.len())
    }
}

#[derive(serde::Deserialize)]
struct LetterPosting<'a> {
    #[serde(borrow)]
    posting: &'a serde_json::value::RawValue,
}

#[derive(serde::Deserialize)]
struct PostingId<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(shown: impl FnOnce(Show<'_>) -> Result<(), OfflineOutboxError>) -> Vec<String> {
        let mut lines = Vec::new();
        shown(&mut |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        lines
    }

    #[test]
    fn dead_letters_wait_again_and_are_dead_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut offline = OfflineOutbox::open(folder.path()).unwrap();
        assert_eq!(offline.retry().unwrap(), 0);
        let letter = |n: u64| {
            format!(
                r#"{{"upstream":"u","n":{n},"code":"c","ts":1,"posting":{{"data": 1.0,"id":"i{n}"}}}}"#
            )
        };
        for n in 1..=3 {
            let dead = letter(n);
            let record = Record::Message(message(DEAD, "x", 1, &dead));
            offline.journal.append(1, &record).unwrap();
        }
        offline.journal.commit().unwrap();
        // A view needs no lock.
        let view = OutboxView::open(folder.path()).unwrap();
        assert_eq!(lines(|show| view.dead(2, show)), [letter(1), letter(2)]);
        assert_eq!(offline.retry().unwrap(), 3);
        drop(offline);
        let view = OutboxView::open(folder.path()).unwrap();
        assert_eq!(lines(|show| view.dead(9, show)), [""; 0]);
        let waiting = lines(|show| view.waiting(9, show));
        assert_eq!(waiting.len(), 3);
        assert!(waiting[1].starts_with(r#"{"n":2,"ts":"#), "{}", waiting[1]);
        assert!(waiting[1].ends_with(r#""posting":{"data": 1.0,"id":"i2"}}"#));
    }

    #[test]
    fn an_outbox_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let _held = OfflineOutbox::open(folder.path()).unwrap();
        assert!(matches!(
            OfflineOutbox::open(folder.path()),
            Err(StoreError::Locked { .. })
        ));
    }
}
