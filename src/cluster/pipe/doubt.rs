//! What an answer leaves in doubt: which life the engine has, and whether a call that it didn't take was begun,
//! or may be taken yet.

use super::{Attempt, CallOutcome, HeldCall, Pipe};
use crate::cluster::call::{Answer, Call, Entry};
use crate::cluster::life;

impl Pipe {
    /// Believes in the life of the engine behind the connection, unless somebody has found another one
    /// since it was opened: then it leads to an engine that isn't the present one.
    pub(super) fn find_life(&mut self) -> Attempt {
        let Some(connection) = &mut self.connection else {
            return Attempt::Again;
        };
        if connection.lives != self.shared.lives() {
            self.connection = None;
            return Attempt::Again;
        }
        match life::adopt(&self.shared, &mut *connection.engine) {
            Ok(_) => {
                connection.lives = self.shared.lives();
                Attempt::Again
            }
            Err(error) => {
                self.note_lost(&error);
                Attempt::Later(error.to_string())
            }
        }
    }

    /// Uses up the number of a call of which copies may be on their way to an engine that is full: either
    /// one of them came before, or none is taken any more.
    pub(super) fn fence(&mut self, held: &mut HeldCall, what: String) -> Attempt {
        let Some(connection) = &mut self.connection else {
            return Attempt::Again;
        };
        // As many entries as no answer to the call itself has.
        let entries = vec![Entry::Nothing; held.call.entries.len() + 1];
        let fence = Call {
            entries,
            ..held.call.clone()
        };
        match connection.engine.call(&fence) {
            Ok(answer @ Answer::Done { .. }) => self.answered(held, answer),
            Ok(_) => Attempt::Later(what),
            Err(error) => {
                self.note_lost(&error);
                Attempt::Later(error.to_string())
            }
        }
    }

    /// Finds out whether a call that the engine refused was begun.
    pub(super) fn refused(&mut self, held: &mut HeldCall, was_sent: bool, what: String) -> Attempt {
        let Some(connection) = &mut self.connection else {
            return Attempt::Again;
        };
        match connection.engine.last_call(held.call.caller.generation) {
            Ok(Some(last)) if last.number == held.call.number => self.answered(held, last.answer),
            Ok(_) if was_sent => Attempt::Later(what),
            Ok(_) => {
                held.may_be_taken = false;
                Attempt::Ended(CallOutcome::Away(what.into()))
            }
            Err(error) => {
                self.note_lost(&error);
                Attempt::Later(what)
            }
        }
    }

    pub(super) fn skip_to_kept(&mut self, generation: u64) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        match connection.engine.last_call(generation) {
            Ok(Some(last)) if generation == self.generation => {
                self.number = self.number.max(last.number);
            }
            Ok(_) => {}
            Err(error) => self.note_lost(&error),
        }
    }
}
