//! The two ways in which the commands of a handle travel: each at once, or together once a batch of
//! events is handled.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::freeze::CallPass;
use super::message::Message;
use super::shared::ServerShared;
use crate::base::Fd;
use crate::net::command::{Command, CommandBatch, Outgoing};
use crate::net::reactor::OwnCommands;
use crate::proto::websocket::{encode_message, header_size};

/// A frame of more bytes than this travels in memory of its own instead of being copied into a
/// batch. A round number: a smaller frame is cheaper to copy than to allocate for.
const LARGE_BYTES: usize = 16 * 1024;

/// Encoded bytes for one reactor at which they are sent before the batch is handled.
///
/// A round number: the reactors can start while a callback still pushes, and a batch stays far below
/// the 4 GiB that its `u32` offsets reach.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A way in which commands travel: [`AtOnce`] or [`PerBatch`]; there is no third.
#[expect(
    private_bounds,
    reason = "sealed: a third way could break the order of commands"
)]
pub trait Delivery: Deliver {}

impl Delivery for AtOnce {}
impl Delivery for PerBatch {}

/// The methods of a [`Delivery`], which name types that no user sees.
pub(super) trait Deliver {
    /// Takes a command for a reactor.
    fn put(&self, shared: &ServerShared, reactor: usize, command: Command);

    /// Takes a message for one connection.
    fn push(&self, shared: &ServerShared, fd: Fd, message: Message<'_>);

    /// Whether the last command was a push to `fd` too, so that `fd` needn't be looked up again.
    fn follows(&self, fd: Fd) -> bool;

    /// Sends what was given so far, so that it comes before what another thread sends later.
    fn send_before(&self, shared: &ServerShared);

    /// Begins a call that changes something; waits while the server stands still.
    fn enter<'a>(&self, shared: &'a ServerShared) -> Option<CallPass<'a>>;
}

/// Sends each command when it is given: for threads of your own.
#[derive(Debug, Clone, Copy, Default)]
pub struct AtOnce;

impl Deliver for AtOnce {
    fn put(&self, shared: &ServerShared, reactor: usize, command: Command) {
        shared.send(reactor, CommandBatch::of(command));
    }

    fn push(&self, shared: &ServerShared, fd: Fd, message: Message<'_>) {
        let command = match message.data.len() > LARGE_BYTES {
            true => large(shared, fd, message),
            false => Command::PushLarge {
                fd,
                frame: encoded(message).into(),
            },
        };
        shared.send(fd.reactor(), CommandBatch::of(command));
    }

    fn follows(&self, _: Fd) -> bool {
        false
    }

    /// It is sent already.
    fn send_before(&self, _: &ServerShared) {}

    fn enter<'a>(&self, shared: &'a ServerShared) -> Option<CallPass<'a>> {
        shared.freeze.gate.enter()
    }
}

/// The reactor on whose thread callbacks run.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnReactor {
    pub(super) id: usize,
    /// When their commands for this reactor are carried out.
    pub(super) commands: OwnCommands,
}

/// Collects commands, one batch a reactor, until a batch of events is handled: for callbacks.
#[derive(Debug)]
pub struct PerBatch {
    outgoing: RefCell<Vec<Outgoing>>,
    own: Option<OwnReactor>,
    /// Full batches for the own reactor. They don't go into its mailbox, where commands given
    /// later, which are taken from here, would overtake them.
    own_full: RefCell<VecDeque<CommandBatch>>,
}

impl PerBatch {
    pub(super) fn new(reactors: usize, own: Option<OwnReactor>) -> Self {
        Self {
            own,
            own_full: RefCell::default(),
            outgoing: RefCell::new((0..reactors).map(|_| Outgoing::default()).collect()),
        }
    }

    /// Takes the next batch of commands for the own reactor.
    pub(super) fn take_own(&self) -> Option<CommandBatch> {
        let full = self.own_full.borrow_mut().pop_front();
        full.or_else(|| self.take(self.own?.id))
    }

    /// Takes back the emptied list of a batch for the own reactor.
    pub(super) fn reuse(&self, commands: Vec<Command>) {
        if let Some(own) = self.own {
            self.outgoing.borrow_mut()[own.id].reuse(commands);
        }
    }

    fn take(&self, reactor: usize) -> Option<CommandBatch> {
        let outgoing = &mut self.outgoing.borrow_mut()[reactor];
        (!outgoing.is_empty()).then(|| outgoing.take())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own_full.borrow().is_empty() && self.outgoing.borrow().iter().all(Outgoing::is_empty)
    }

    /// The number of the reactor on whose thread the callbacks run, if they do.
    pub(super) fn own(&self) -> Option<usize> {
        self.own.map(|own| own.id)
    }

    /// Sends all commands that don't come first anyway, so that what is sent later comes after them.
    pub(super) fn flush(&self, shared: &ServerShared) {
        self.send_to_others(shared);
        if let Some(own) = self.own
            && own.commands == OwnCommands::Behind
        {
            while let Some(batch) = self.take_own() {
                shared.send(own.id, batch);
            }
        }
    }

    /// Sends all commands that aren't for the own reactor.
    pub(super) fn send_to_others(&self, shared: &ServerShared) {
        let own = self.own();
        for (reactor, outgoing) in self.outgoing.borrow_mut().iter_mut().enumerate() {
            if !outgoing.is_empty() && Some(reactor) != own {
                shared.send(reactor, outgoing.take());
            }
        }
    }
}

impl Deliver for PerBatch {
    fn put(&self, _: &ServerShared, reactor: usize, command: Command) {
        if let Some(outgoing) = self.outgoing.borrow_mut().get_mut(reactor) {
            outgoing.put(command);
        }
    }

    fn push(&self, shared: &ServerShared, fd: Fd, message: Message<'_>) {
        let mut outgoing = self.outgoing.borrow_mut();
        let Some(outgoing) = outgoing.get_mut(fd.reactor()) else {
            return;
        };
        if message.data.len() > LARGE_BYTES {
            outgoing.put(large(shared, fd, message));
        } else {
            outgoing.push(fd, |frames| {
                encode_message(frames, message.kind, message.data);
            });
        }
        if outgoing.frame_bytes() > BATCH_BYTES_MAX {
            if self.own() == Some(fd.reactor()) {
                self.own_full.borrow_mut().push_back(outgoing.take());
            } else {
                shared.send(fd.reactor(), outgoing.take());
            }
        }
    }

    fn follows(&self, fd: Fd) -> bool {
        let outgoing = self.outgoing.borrow();
        outgoing.get(fd.reactor()).and_then(Outgoing::last_pushed) == Some(fd)
    }

    fn send_before(&self, shared: &ServerShared) {
        self.flush(shared);
    }

    /// Its commands travel later.
    fn enter<'a>(&self, _: &'a ServerShared) -> Option<CallPass<'a>> {
        None
    }
}

/// Makes a push of its own, compressed if the receiver understands that.
fn large(shared: &ServerShared, fd: Fd, message: Message<'_>) -> Command {
    Command::PushLarge {
        fd,
        frame: shared.large_frame(fd, message),
    }
}

/// Encodes a message as one whole frame.
pub(super) fn encoded(message: Message<'_>) -> Vec<u8> {
    let size = message.data.len();
    let mut frame = Vec::with_capacity(header_size(size) + size);
    encode_message(&mut frame, message.kind, message.data);
    frame
}
