//! Answers that come ahead of the sender's own copy of a private message, on a node of a cluster: the copy
//! comes from the bus, on another thread, and may be there first.
//!
//! From the moment on in which such a message is given to the log until its answer is out, its copy waits,
//! and so does everything that comes behind it in the sender's line.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use foldhash::fast::RandomState;

use crate::base::sync::lock;
use crate::base::{Fd, Position};
use crate::chat::{HeardMessage, KeptMessage};

/// Messages of one line that wait for an answer at the most; beyond it they are posted ahead of it.
const HELD_MAX: usize = 1_000;

/// The lines in which a copy waits for its answer.
#[derive(Debug, Default)]
pub(super) struct FirstAnswers {
    /// The lines in the table: nearly always none.
    count: AtomicUsize,
    lines: Mutex<HashMap<Box<str>, HeldLine, RandomState>>,
}

#[derive(Debug, Default)]
struct HeldLine {
    /// The ids of the messages whose answers aren't out.
    unanswered: Vec<Box<str>>,
    held: Vec<HeldMessage>,
}

/// A message of the bus that waits.
#[derive(Debug)]
struct HeldMessage {
    position: Option<Position>,
    message: Arc<KeptMessage>,
    except: Box<[Fd]>,
}

impl FirstAnswers {
    /// Notes that a message is about to be given to the log, whose copy in the sender's line is to wait.
    pub(super) fn expect(&self, line: &str, id: &str) {
        let mut lines = lock(&self.lines);
        let held = lines.entry(line.into()).or_default();
        held.unanswered.push(id.into());
        self.count.store(lines.len(), SeqCst);
    }

    /// Keeps a message that has to wait; whether it did. What waited is posted first where it is too much.
    pub(super) fn holds(
        &self,
        heard: &HeardMessage<'_>,
        post: &mut dyn FnMut(&HeardMessage<'_>),
    ) -> bool {
        if self.count.load(SeqCst) == 0 || !heard.channel.starts_with('@') {
            return false;
        }
        let mut lines = lock(&self.lines);
        let Some(line) = lines.get_mut(heard.channel) else {
            return false;
        };
        let mut unanswered = line.unanswered.iter();
        if line.held.is_empty() && !unanswered.any(|id| **id == *heard.message.id()) {
            return false;
        }
        if line.held.len() == HELD_MAX {
            line.post(heard.channel, post);
            return false;
        }
        line.held.push(HeldMessage {
            position: heard.position,
            message: Arc::clone(&heard.message),
            except: heard.except.into(),
        });
        true
    }

    /// Notes that the answer to a message is out, and posts what waited for it.
    pub(super) fn answered(&self, line: &str, id: &str, post: &mut dyn FnMut(&HeardMessage<'_>)) {
        let mut lines = lock(&self.lines);
        let Some(held) = lines.get_mut(line) else {
            return;
        };
        if let Some(place) = held.unanswered.iter().position(|known| **known == *id) {
            held.unanswered.swap_remove(place);
        }
        if !held.unanswered.is_empty() {
            return;
        }
        // Under the lock: whatever comes meanwhile comes behind it.
        held.post(line, post);
        lines.remove(line);
        self.count.store(lines.len(), SeqCst);
    }
}

impl HeldLine {
    fn post(&mut self, channel: &str, post: &mut dyn FnMut(&HeardMessage<'_>)) {
        for HeldMessage {
            position,
            message,
            except,
        } in self.held.drain(..)
        {
            post(&HeardMessage {
                channel,
                position,
                message,
                except: &except,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Epoch, MessageBody};

    fn heard(channel: &str, offset: u64) -> HeardMessage<'_> {
        let body = MessageBody {
            id: &*format!("m{offset}"),
            from: None,
            to: None,
            ts: 1,
            data: "1",
        };
        HeardMessage {
            channel,
            position: Some(Position {
                epoch: Epoch::NONE,
                offset,
            }),
            message: Arc::new(KeptMessage::of_body(&body)),
            except: &[],
        }
    }

    #[test]
    fn a_copy_waits_for_its_answer_and_what_is_behind_it_waits_with_it() {
        let (answers, mut posted) = (FirstAnswers::default(), Vec::new());
        let mut post = |heard: &HeardMessage<'_>| posted.push(heard.position.unwrap().offset);
        assert!(!answers.holds(&heard("@shop", 1), &mut post));
        answers.expect("@shop", "m3");
        answers.expect("@shop", "m4");
        assert!(
            !answers.holds(&heard("@shop", 2), &mut post),
            "it comes before"
        );
        assert!(
            !answers.holds(&heard("@ann", 3), &mut post),
            "it is the receiver's"
        );
        for offset in 3..6 {
            assert!(answers.holds(&heard("@shop", offset), &mut post));
        }
        answers.answered("@shop", "m3", &mut post);
        assert!(answers.holds(&heard("@shop", 6), &mut post));
        answers.answered("@shop", "m4", &mut post);
        assert!(!answers.holds(&heard("@shop", 7), &mut post));
        assert_eq!(posted, [3, 4, 5, 6]);
    }

    #[test]
    fn an_answer_that_does_not_come_keeps_a_bounded_number_waiting() {
        let (answers, mut posted) = (FirstAnswers::default(), Vec::new());
        let mut post = |heard: &HeardMessage<'_>| posted.push(heard.position.unwrap().offset);
        answers.expect("@shop", "m1");
        let all = 1..=HELD_MAX as u64;
        assert!(
            all.clone()
                .all(|offset| answers.holds(&heard("@shop", offset), &mut post))
        );
        let next = heard("@shop", HELD_MAX as u64 + 1);
        assert!(!answers.holds(&next, &mut post), "it is posted now");
        assert!(posted.iter().copied().eq(all));
    }
}
