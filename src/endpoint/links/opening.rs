//! The opening of a link, which goes on once the mark of its producer is known.

use std::sync::{Arc, Mutex};

use super::{LinkPublisher, LinkTable, violated};
use crate::base::sync::lock;
use crate::base::{Fd, ForeignText};
use crate::link::wire::{self, Violation};
use crate::link::{LinkReceiver, SendAttempt, Sequenced};
use crate::server::Handle;

/// A link that is about to be open.
pub(super) struct LinkOpening {
    pub(super) publisher: Arc<dyn LinkPublisher>,
    pub(super) table: Arc<Mutex<LinkTable>>,
    pub(super) link: Arc<Mutex<LinkReceiver>>,
    pub(super) server: Handle,
    pub(super) fd: Fd,
    pub(super) producer: Arc<str>,
    pub(super) name: String,
    /// The first number that the gateway still has.
    pub(super) first: u64,
}

impl LinkOpening {
    /// Opens the link behind this mark, and says so.
    pub(super) fn finish(self, mark: u64) {
        if let Err(violation) = self.open(mark) {
            violated(&self.server, self.fd, &violation);
        }
    }

    fn open(&self, mark: u64) -> Result<(), Violation> {
        let Self {
            fd,
            producer,
            first,
            ..
        } = self;
        let opened = lock(&self.link).open(Arc::clone(producer), *first, mark)?;
        let name = ForeignText(&self.name);
        tracing::info!(%fd, %name, next = opened.next, "a gateway has opened its link");
        if opened.has_jumped {
            self.jump(mark);
        }
        let refusals = &mut lock(&self.table).refusals;
        let refused = refusals.at_open(producer, *first, opened.next);
        let answer = wire::open_ok(opened.next, &refused);
        self.server.push(*fd, &answer).ok();
        Ok(())
    }

    /// Moves the mark to before `first`: the gateway has let go of the numbers behind the mark, so
    /// nobody has them any more.
    fn jump(&self, mark: u64) {
        lock(&self.table).numbers.jumped += 1;
        tracing::warn!(
            name = %ForeignText(&self.name),
            mark,
            first = self.first,
            "messages before the first one that this gateway still has never arrived here: they are lost"
        );
        let sequenced = Sequenced {
            producer: Arc::clone(&self.producer),
            n: self.first - 1,
            attempt: SendAttempt::default(),
        };
        // Were it refused, the next message's number would say the same.
        self.publisher.skip(sequenced, Box::new(|_| {}));
    }
}
