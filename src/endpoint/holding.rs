//! The way of a held connection: paused, the log asked, and resumed.

use std::sync::Arc;

use super::attaching::EnterOrder;
use super::holds::{Granted, Holds, Unanswered};
use super::services::Services;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::NodeRequest;
use crate::server::WorkerHandle;

/// How a held command comes once more.
pub(super) enum ComesAgain {
    /// With the message that brought it, which its worker keeps.
    WithMessage,
    /// By this function, ahead of what its connection said afterwards.
    By(Box<dyn FnOnce(&WorkerHandle) + Send>),
}

/// A command that can't be carried out yet.
pub(super) struct HeldCommand<'a> {
    pub(super) server: &'a WorkerHandle,
    pub(super) fd: Fd,
    /// The log's word with which it came before.
    pub(super) before: Option<&'a Granted>,
    pub(super) comes_again: ComesAgain,
}

impl Services {
    /// The table of held connections, on a node of a cluster.
    pub(super) fn holds(&self) -> Option<&Holds> {
        self.cluster.as_ref().map(|cluster| &cluster.holds)
    }

    /// Holds a connection until the log knows its login.
    ///
    /// # Errors
    ///
    /// [`Unanswered::Held`], or a refusal: too many are held.
    pub(super) fn hold_login(
        self: &Arc<Self>,
        command: HeldCommand<'_>,
        order: EnterOrder,
    ) -> Result<(), Unanswered> {
        let uid = order.uid.clone();
        let then = self.hold(command, Some(&uid))?;
        self.enter(order, then);
        Err(Unanswered::Held)
    }

    /// Holds a connection until this node hears channels.
    ///
    /// # Errors
    ///
    /// [`Unanswered::Held`], or a refusal: too many are held.
    pub(super) fn hold_for_channels(
        self: &Arc<Self>,
        command: HeldCommand<'_>,
        channels: &[Box<str>],
        reader: Option<&str>,
    ) -> Result<(), Unanswered> {
        let then = self.hold(command, None)?;
        self.attach(channels, reader, |attached| then(attached.map(|()| None)));
        Err(Unanswered::Held)
    }

    /// Holds a connection; the function that it gives takes the log's word.
    fn hold(
        self: &Arc<Self>,
        command: HeldCommand<'_>,
        uid: Option<&str>,
    ) -> Result<impl FnOnce(Result<Option<Fd>, Refusal>) + Send + 'static, Refusal> {
        let HeldCommand {
            server,
            fd,
            before,
            comes_again,
        } = command;
        if let Some(holds) = self.holds() {
            holds.begin(fd, uid, before)?;
        }
        // Before the log is asked: its word ends the pause.
        server.pause(fd);
        let (services, uid) = (Arc::clone(self), uid.map(Box::<str>::from));
        Ok(move |word: Result<Option<Fd>, Refusal>| {
            if word.is_err() {
                // The log may know of it all the same.
                services.undo_login(fd, uid.as_deref());
            }
            let waits = services.holds().is_some_and(|holds| holds.answer(fd, word));
            if !waits {
                return services.undo_login(fd, uid.as_deref());
            }
            if let Some(server) = services.server() {
                if let ComesAgain::By(function) = comes_again {
                    server.run(fd, function);
                }
                server.resume(fd);
            }
        })
    }

    /// Has the log told that a login which it knows came to nothing, unless the connection belongs to the
    /// user by another one.
    pub(super) fn undo_login(&self, fd: Fd, uid: Option<&str>) {
        if let Some(uid) = uid {
            self.chat.note_connection(fd, uid);
        }
    }

    /// Forgets a held connection that has ended.
    pub(super) fn forget_hold(&self, fd: Fd) {
        if let Some(holds) = self.holds() {
            let uid = holds.forget(fd);
            self.undo_login(fd, uid.as_deref());
        }
    }

    /// Has another node close a connection of its own; nobody waits for that.
    pub(super) fn close_elsewhere(self: &Arc<Self>, fd: Fd, (code, word): (u16, &'static str)) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        if cluster.lookups.take_place().is_err() {
            return tracing::warn!(fd = fd.0, word, "no place to have a node close it");
        }
        let services = Arc::clone(self);
        cluster.lookups.put(move || {
            let Some(nodes) = services.nodes() else {
                return;
            };
            let request = NodeRequest::Kick {
                uid: None,
                fd: Some(fd),
                code,
                reason: word.into(),
            };
            let asked = match nodes.node_of(fd) {
                Ok(Some(node)) if node != nodes.own_generation() => nodes.request(node, &request),
                Ok(_) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = asked {
                tracing::warn!(fd = fd.0, word, %error, "its node doesn't close it");
            }
        });
    }
}
