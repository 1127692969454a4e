//! Sending by HTTP, and the messages of the past.

use super::body::{self, Posting};
use super::error;
use super::route::Query;
use crate::chat::{self, Actor, Keep, Range, Said, Say};
use crate::door::command::To;
use crate::door::door::Door;
use crate::door::frames;
use crate::door::json::Json;
use crate::door::native::{HISTORY_LIMIT, page};
use crate::door::poster::{Poster, Reply};
use crate::door::refusal::Refusal;
use crate::net::Fd;
use crate::server::WorkerHandle;

impl Door {
    /// `POST /v1/messages`
    pub(super) fn post_message(
        &self,
        server: &WorkerHandle,
        actor: Actor<'_>,
        body: &str,
    ) -> Result<Json, Refusal> {
        let results = self.post(server, actor, &body::posting(body)?)?;
        Ok(Json::object().array("results", results))
    }

    /// `POST /v1/messages/batch`: each message by itself.
    pub(super) fn post_batch(
        &self,
        server: &WorkerHandle,
        actor: Actor<'_>,
        body: &str,
    ) -> Result<Json, Refusal> {
        let mut results = Vec::new();
        let batch = body::batch(body)?;
        self.counts_as(actor, batch.len());
        for posting in batch {
            match posting.and_then(|posting| self.post(server, actor, &posting)) {
                Ok(said) => results.extend(said),
                Err(refusal) => results.push(error(&refusal).end()),
            }
        }
        Ok(Json::object().array("results", results))
    }

    /// Says one message; a result for each receiver, as JSON.
    fn post(
        &self,
        server: &WorkerHandle,
        actor: Actor<'_>,
        posting: &Posting<'_>,
    ) -> Result<Vec<String>, Refusal> {
        self.check_size(posting.data)?;
        let except: Vec<Fd> = posting.except.iter().copied().map(Fd).collect();
        let say = Say {
            from: posting.from.as_deref(),
            id: posting.id.as_deref(),
            keep: if posting.store { Keep::Yes } else { Keep::No },
            except: &except,
            data: posting.data,
        };
        let mut post = Poster::new(server.handle(), Reply::Silent);
        let mut one = |to| {
            Ok(vec![result(&self.chat.say(
                &mut post,
                self.now(),
                actor,
                to,
                &say,
            )?)])
        };
        let several: Vec<chat::To<'_>> = match &posting.to {
            To::Room(room) => return one(chat::To::Room(room)),
            To::User(user) => return one(chat::To::User(user)),
            To::Fd(fd) => return one(chat::To::Fd(Fd(*fd))),
            To::All => return one(chat::To::All),
            To::Rooms(rooms) => rooms.iter().map(|room| chat::To::Room(room)).collect(),
            To::Users(users) => users.iter().map(|user| chat::To::User(user)).collect(),
        };
        self.counts_as(actor, several.len());
        let said = self
            .chat
            .say_to_each(&mut post, self.now(), actor, &several, &say)?;
        Ok(said
            .into_iter()
            .map(|said| match said {
                Ok(said) => result(&said),
                Err(refused) => error(&refused.into()).end(),
            })
            .collect())
    }

    /// A request, counted as one so far, turns out to be so many.
    fn counts_as(&self, actor: Actor<'_>, count: usize) {
        if let Actor::Key(key) = actor {
            let more = count.saturating_sub(1);
            self.limits.request_was(self.now().tick.0, key, more);
        }
    }

    /// `GET /v1/rooms/{room}/messages`, `GET /v1/users/{uid}/messages`
    pub(super) fn history(
        &self,
        actor: Actor<'_>,
        channel: &str,
        query: &Query<'_>,
    ) -> Result<Json, Refusal> {
        let range = Range {
            after: query.number("after")?,
            before: query.number("before")?,
            limit: query.number("limit")?.unwrap_or(HISTORY_LIMIT) as usize,
        };
        Ok(page(
            Json::object(),
            &self.chat.history(self.now(), actor, channel, range)?,
        ))
    }

    /// `DELETE /v1/rooms/{room}/messages`
    pub(super) fn purge(&self, server: &WorkerHandle, room: &str) -> Result<Json, Refusal> {
        let mut post = Poster::new(server.handle(), Reply::Silent);
        let position = self.chat.purge(&mut post, room)?;
        Ok(frames::place(
            Json::object().string("channel", room),
            Some(position),
        ))
    }
}

fn result(said: &Said) -> String {
    frames::said(Json::object(), said).end()
}
