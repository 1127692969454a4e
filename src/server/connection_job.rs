//! What the thread that runs the callbacks of a connection is asked to do about it, behind what it was
//! given before.

use std::any::Any;
use std::fmt;

use crossbeam_channel::{Receiver, Sender};

use super::pauses::PauseNumber;
use crate::base::Fd;

/// A job that concerns one connection.
#[derive(Debug)]
pub(super) enum ConnectionJob {
    /// Ends a pause, and goes on with what it has held back.
    GoOn { fd: Fd, pause: PauseNumber },
    /// Calls a function.
    Call { fd: Fd, function: UserFunction },
}

type ErasedFunction = dyn FnOnce(&dyn Any) + Send;

/// A function of [`Handle::run`](super::Handle::run). It is given the handle of its thread, whose type
/// the queues in which it waits needn't know.
pub(super) struct UserFunction(Box<ErasedFunction>);

impl UserFunction {
    /// Makes a function that wants a handle of this type.
    pub(super) fn new<H: Any>(function: impl FnOnce(&H) + Send + 'static) -> Self {
        Self(Box::new(move |handle| {
            let handle = handle.downcast_ref();
            function(handle.expect("callbacks get one type of handle"));
        }))
    }

    pub(super) fn call(self, handle: &impl Any) {
        (self.0)(handle);
    }
}

/// Takes the functions out of a queue that nobody else uses meanwhile; the rest stays in its order.
pub(super) fn take_functions<T>(
    (sender, receiver): (&Sender<T>, &Receiver<T>),
    function_of: impl Fn(T) -> Result<(Fd, UserFunction), T>,
) -> Vec<(Fd, UserFunction)> {
    let mut functions = Vec::new();
    let waiting: Vec<T> = receiver.try_iter().collect();
    for item in waiting {
        match function_of(item) {
            Ok(function) => functions.push(function),
            Err(other) => drop(sender.send(other)),
        }
    }
    functions
}

impl ConnectionJob {
    /// The function that the job is.
    ///
    /// # Errors
    ///
    /// The job, which is another one.
    pub(super) fn into_function(self) -> Result<(Fd, UserFunction), Self> {
        match self {
            Self::Call { fd, function } => Ok((fd, function)),
            other => Err(other),
        }
    }
}

impl fmt::Debug for UserFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserFunction")
    }
}
