//! The connections that are held: what one asked for needs channels that this node of a cluster doesn't
//! hear, or the log's word on a login, so nothing of it is handled until that is there.
//!
//! A connection is paused, the log is asked, and the disk thread notes its answer here and resumes the
//! connection; then the same command is carried out once more, on its own thread, before everything that
//! came behind it. Its deadlines go on meanwhile.
//!
//! Invariant: of a login that the log was told, and that came to nothing here, the log is told that too,
//! whatever happened meanwhile: [`Holds::forget`] and [`Holds::answer`] say so.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::base::metric::numbers;
use crate::base::sync::lock;
use crate::chat::{ChatError, ErrorCode};

/// Times that one command asks the log: what it needs may have left the node again, just before.
const TRIES_MAX: u32 = 5;

/// The log's word, with which a command is carried out once more.
#[derive(Debug)]
pub(super) struct Granted {
    /// The oldest connection of a user who has one too many now.
    pub(super) replaced: Option<Fd>,
    /// The user whose login the log knows now.
    pub(super) uid: Option<Box<str>>,
    tries: u32,
}

/// The reason why a command isn't answered at once.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The command is refused.
    Refused(Refusal),
    /// The connection is held; the command comes again.
    Held,
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ChatError> for Unanswered {
    fn from(error: ChatError) -> Self {
        Self::Refused(error.into())
    }
}

/// What is known of a held connection.
#[derive(Debug)]
struct Hold {
    /// The user whose login the log is told.
    uid: Option<Box<str>>,
    tries: u32,
    /// The log's word, once it is there.
    word: Option<Result<Option<Fd>, Refusal>>,
}

numbers! {
    /// Counters of held connections, and their number.
    pub(super) struct HoldStats {
        /// Connections that wait for the cluster, with what they asked for.
        Gauge waiting,
        /// Times that a connection was held.
        Counter held,
        /// Logins and joins that were refused since too many waited.
        Counter refused,
    }
}

/// The held connections of a node.
#[derive(Debug)]
pub(super) struct Holds {
    logins_max: usize,
    table: Mutex<HashMap<Fd, Hold, foldhash::fast::FixedState>>,
    /// The number of them: asked for with each command.
    waiting: AtomicUsize,
    held: AtomicU64,
    refused: AtomicU64,
}

impl Holds {
    /// Makes the table, for so many connections.
    pub(super) fn new(logins_max: usize) -> Self {
        Self {
            logins_max,
            table: Mutex::default(),
            waiting: AtomicUsize::new(0),
            held: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Notes that a connection is held; `before` is the word with which the same command came before.
    ///
    /// # Errors
    ///
    /// Too many are held, or this one was too often.
    pub(super) fn begin(
        &self,
        fd: Fd,
        uid: Option<&str>,
        before: Option<&Granted>,
    ) -> Result<(), Refusal> {
        let tries = before.map_or(0, |granted| granted.tries) + 1;
        let mut table = lock(&self.table);
        if tries > TRIES_MAX || (table.len() >= self.logins_max && !table.contains_key(&fd)) {
            self.refused.fetch_add(1, Relaxed);
            let message = "too many logins wait for the cluster; try again later";
            return Err(Refusal::new(ErrorCode::Unavailable, message));
        }
        let (uid, word) = (uid.map(Box::from), None);
        table.insert(fd, Hold { uid, tries, word });
        self.waiting.store(table.len(), SeqCst);
        self.held.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Notes the log's word; `false` if nobody waits for it any more.
    pub(super) fn answer(&self, fd: Fd, word: Result<Option<Fd>, Refusal>) -> bool {
        match lock(&self.table).get_mut(&fd) {
            Some(hold) => {
                hold.word = Some(word);
                true
            }
            None => false,
        }
    }

    /// Takes the log's word for a command that comes once more; `None` for one that comes first.
    #[inline]
    pub(super) fn take(&self, fd: Fd) -> Option<Result<Granted, Refusal>> {
        match self.waiting.load(SeqCst) {
            0 => None,
            _ => self.take_word(fd),
        }
    }

    #[cold]
    fn take_word(&self, fd: Fd) -> Option<Result<Granted, Refusal>> {
        let mut table = lock(&self.table);
        table.get(&fd)?.word.as_ref()?;
        let Hold { uid, tries, word } = table.remove(&fd)?;
        self.waiting.store(table.len(), SeqCst);
        let granted = |replaced| Granted {
            replaced,
            uid,
            tries,
        };
        Some(word?.map(granted))
    }

    /// Forgets a connection that has ended; gives the user whose login the log was told in vain.
    pub(super) fn forget(&self, fd: Fd) -> Option<Box<str>> {
        if self.waiting.load(SeqCst) == 0 {
            return None;
        }
        let mut table = lock(&self.table);
        let hold = table.remove(&fd)?;
        self.waiting.store(table.len(), SeqCst);
        // Without a word yet, whoever brings it finds nobody here.
        hold.word.and(hold.uid)
    }

    pub(super) fn stats(&self) -> HoldStats {
        HoldStats {
            waiting: self.waiting.load(Relaxed) as u64,
            held: self.held.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FD: Fd = Fd(640);

    #[test]
    fn a_word_is_taken_once_by_the_command_that_waited_for_it() {
        let holds = Holds::new(9);
        assert!(holds.take(FD).is_none());
        holds.begin(FD, Some("ann"), None).unwrap();
        assert!(holds.take(FD).is_none(), "it isn't there yet");
        assert!(holds.answer(FD, Ok(Some(Fd(64)))));
        let granted = holds.take(FD).unwrap().unwrap();
        assert_eq!(granted.replaced, Some(Fd(64)));
        assert!(holds.take(FD).is_none());
        assert_eq!((holds.forget(FD), holds.stats().waiting), (None, 0));
    }

    #[test]
    fn what_the_log_was_told_in_vain_is_said_once_by_whoever_comes_last() {
        let holds = Holds::new(9);
        holds.begin(FD, Some("ann"), None).unwrap();
        assert_eq!(holds.forget(FD), None, "the word is still to come");
        assert!(!holds.answer(FD, Ok(None)), "and finds nobody");
        holds.begin(FD, Some("ann"), None).unwrap();
        assert!(holds.answer(FD, Ok(None)));
        assert_eq!(holds.forget(FD).as_deref(), Some("ann"));
        assert_eq!(holds.forget(FD), None);
        holds.begin(FD, None, None).unwrap();
        assert!(holds.answer(FD, Ok(None)));
        assert_eq!(holds.forget(FD), None, "no login");
    }

    #[test]
    fn a_bounded_number_is_held_each_a_bounded_number_of_times() {
        let holds = Holds::new(2);
        for fd in [64, 128, 128] {
            holds.begin(Fd(fd), None, None).unwrap();
        }
        let refused = holds.begin(FD, None, None).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unavailable);
        let mut before = None;
        for _ in 0..TRIES_MAX {
            holds.begin(Fd(64), None, before.as_ref()).unwrap();
            holds.answer(Fd(64), Ok(None));
            before = Some(holds.take(Fd(64)).unwrap().unwrap());
        }
        assert!(holds.begin(Fd(64), None, before.as_ref()).is_err());
        assert_eq!(holds.stats().refused, 2);
    }
}
