//! Binding a connection to a user for the back end, on a node of a cluster: the log is told of it first.

use std::sync::Arc;

use super::Sessions;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat;
use crate::endpoint::attaching::EnterOrder;
use crate::endpoint::services::Services;
use crate::server::WorkerHandle;

/// Takes what became of a binding.
pub(in crate::endpoint) type BindAnswer = Box<dyn FnOnce(Result<Json, Refusal>) + Send>;

/// A request to bind a connection, which is answered once: if nobody else does, since the connection has
/// ended.
struct BindRequest {
    services: Arc<Services>,
    answer: Option<BindAnswer>,
    fd: Fd,
    uid: Box<str>,
}

impl BindRequest {
    fn answer(mut self, bound: Result<(), Refusal>) {
        if bound.is_err() {
            self.services.undo_login(self.fd, Some(&self.uid));
        }
        let Some(answer) = self.answer.take() else {
            return;
        };
        answer(bound.map(|()| {
            let json = Json::object().number("fd", self.fd.0);
            json.string("uid", &self.uid)
        }));
    }
}

impl Drop for BindRequest {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.services.undo_login(self.fd, Some(&self.uid));
            let refusal = Refusal::not_found(format!("there is no connection {}", self.fd));
            answer(Err(refusal));
        }
    }
}

impl Sessions {
    /// What the log has to be told before a connection can be bound to a user; `None` where it can be bound
    /// now.
    pub(in crate::endpoint) fn bind_order(
        &self,
        fd: Fd,
        uid: &str,
    ) -> Result<Option<EnterOrder>, Refusal> {
        if self.services.cluster.is_none() {
            return Ok(None);
        }
        let login = chat::Login {
            fd,
            uid,
            rights: self.bound_rights(),
            rooms: &[],
            resume: &[],
        };
        let channels = self.services.chat.login_channels(&login)?;
        Ok(channels.map(|channels| EnterOrder {
            fd,
            uid: uid.into(),
            channels,
            asks_acks: false,
        }))
    }

    /// Tells the log, and binds the connection on the thread of its callbacks.
    pub(in crate::endpoint) fn bind_by_log(
        self: &Arc<Self>,
        order: EnterOrder,
        answer: BindAnswer,
    ) {
        let request = BindRequest {
            services: Arc::clone(&self.services),
            answer: Some(answer),
            fd: order.fd,
            uid: order.uid.clone(),
        };
        let sessions = Arc::clone(self);
        self.services.enter(order, move |word| {
            let replaced = match word {
                Ok(replaced) => replaced,
                Err(refusal) => return request.answer(Err(refusal)),
            };
            let Some(server) = sessions.services.server() else {
                return;
            };
            let theirs = Arc::clone(&sessions);
            server.run(request.fd, move |server| {
                theirs.bind_now(server, request, replaced);
            });
        });
    }

    fn bind_now(&self, server: &WorkerHandle, request: BindRequest, replaced: Option<Fd>) {
        let bound = self.bind(server, request.fd, &request.uid);
        if let (Ok(()), Some(oldest)) = (&bound, replaced) {
            self.replace(server, oldest);
        }
        request.answer(bound);
    }
}
