//! Sending by HTTP, and the messages of the past.

use super::Answer;
use super::route::Query;
use crate::api::json::Json;
use crate::api::posting::{self, Posting, To};
use crate::api::refusal::Refusal;
use crate::api::reply::{JoinedReply, ReplyResult, ReplyShape};
use crate::base::Fd;
use crate::chat::{
    self, Actor, HistoryRange, Keep, Moment, NewMessage, PendingMessage, PurgeOutcome, SayOutcome,
};
use crate::endpoint::endpoint::Endpoint;
use crate::endpoint::history::HISTORY_LIMIT;
use crate::endpoint::server_sink::{Reply, ServerSink};
use crate::endpoint::work::{Done, ReplyTo, StoreJob, StoreTask};
use crate::server::{Responder, WorkerHandle};

/// What is known of one receiver's message.
enum Part {
    /// Its result.
    Ready(ReplyResult),
    /// The result comes once it is stored.
    Later(PendingMessage),
}

impl Endpoint {
    /// `POST /v1/messages`
    pub(super) fn post_message(
        &self,
        server: &WorkerHandle,
        actor: Actor<'_>,
        body: &str,
        responder: &mut Option<Responder>,
    ) -> Result<Answer, Refusal> {
        let posting = posting::posting(body)?;
        let has_several = matches!(posting.to, To::Rooms(_) | To::Users(_));
        let mut post = self.post(server, Reply::Silent);
        let mut parts = Vec::new();
        self.post_parts(&mut post, self.now(), actor, &posting, &mut parts)?;
        if !has_several
            && let Some(Part::Later(draft)) = parts.pop_if(|part| matches!(part, Part::Later(_)))
            && let Some(responder) = responder.take()
        {
            let answer = ReplyTo::Request(responder);
            self.services
                .disk
                .submit(StoreJob::new(StoreTask::Say(draft, None), answer));
            return Ok(Answer::Later);
        }
        Ok(self.answer_parts(parts, responder))
    }

    /// `POST /v1/messages/batch`: each message by itself.
    pub(super) fn post_batch(
        &self,
        server: &WorkerHandle,
        actor: Actor<'_>,
        body: &str,
        responder: &mut Option<Responder>,
    ) -> Result<Answer, Refusal> {
        let batch = posting::batch(body)?;
        self.counts_as(actor, batch.len());
        let mut parts = Vec::with_capacity(batch.len());
        let (mut post, now) = (self.post(server, Reply::Silent), self.now());
        for posting in batch {
            let posted = posting
                .and_then(|posting| self.post_parts(&mut post, now, actor, &posting, &mut parts));
            if let Err(refusal) = posted {
                parts.push(Part::Ready(Err(refusal)));
            }
        }
        Ok(self.answer_parts(parts, responder))
    }

    /// Answers at once, or when all that has to be stored is.
    fn answer_parts(&self, parts: Vec<Part>, responder: &mut Option<Responder>) -> Answer {
        let mut drafts = Vec::new();
        let results = parts.into_iter().map(|part| match part {
            Part::Ready(result) => Some(result),
            Part::Later(draft) => {
                drafts.push(draft);
                None
            }
        });
        let results = results.collect();
        let Some(responder) = responder.take() else {
            return Answer::Later;
        };
        let slots = JoinedReply::start(responder, (ReplyShape::Several, 200), results);
        for (slot, draft) in slots.into_iter().zip(drafts) {
            let task = StoreTask::Say(draft, None);
            let job = StoreJob::new(task, ReplyTo::Slot(slot));
            self.services.disk.submit(job);
        }
        Answer::Later
    }

    /// Says one message; a part for each receiver, unless it is refused as a whole.
    fn post_parts(
        &self,
        post: &mut ServerSink<'_>,
        now: Moment,
        actor: Actor<'_>,
        posting: &Posting<'_>,
        parts: &mut Vec<Part>,
    ) -> Result<(), Refusal> {
        self.check_size(posting.data)?;
        let except: Vec<Fd> = posting.except.iter().copied().map(Fd).collect();
        let say = NewMessage {
            from: posting.from.as_deref(),
            id: posting.id.as_deref(),
            keep: if posting.store { Keep::Yes } else { Keep::No },
            except: &except,
            data: posting.data,
        };
        let mut one = |to| {
            parts.push(part(self.services.chat.say(post, now, actor, to, &say)?));
            Ok(())
        };
        let several: Vec<chat::Recipient<'_>> = match &posting.to {
            To::Room(room) => return one(chat::Recipient::Room(room)),
            To::User(user) => return one(chat::Recipient::User(user)),
            To::Fd(fd) => return one(chat::Recipient::Fd(Fd(*fd))),
            To::All => return one(chat::Recipient::All),
            To::Rooms(rooms) => rooms
                .iter()
                .map(|room| chat::Recipient::Room(room))
                .collect(),
            To::Users(users) => users
                .iter()
                .map(|user| chat::Recipient::User(user))
                .collect(),
        };
        self.counts_as(actor, several.len());
        let said = self
            .services
            .chat
            .say_to_each(post, now, actor, &several, &say)?;
        parts.extend(said.into_iter().map(|said| match said {
            Ok(saying) => part(saying),
            Err(refused) => Part::Ready(Err(refused.into())),
        }));
        Ok(())
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
        let range = HistoryRange {
            after: query.number("after")?,
            before: query.number("before")?,
            limit: query.number("limit")?.unwrap_or(HISTORY_LIMIT) as usize,
        };
        self.page(Json::object(), actor, channel, range)
    }

    /// `DELETE /v1/rooms/{room}/messages`
    pub(super) fn purge(
        &self,
        server: &WorkerHandle,
        room: &str,
        responder: &mut Option<Responder>,
    ) -> Result<Answer, Refusal> {
        let mut post = self.post(server, Reply::Silent);
        match self.services.chat.purge(&mut post, room)? {
            PurgeOutcome::Done(position) => {
                let done = Done::Purged(room.into(), position);
                Ok(Answer::Object(done.fields(Json::object())))
            }
            PurgeOutcome::Stored(epoch) => {
                let room = room.into();
                Ok(self.later(StoreTask::Purge { room, epoch }, responder))
            }
        }
    }

    /// Has the disk thread do something, and answer.
    pub(super) fn later(&self, task: StoreTask, responder: &mut Option<Responder>) -> Answer {
        let answer = responder.take().map(ReplyTo::Request);
        self.services
            .disk
            .submit(StoreJob::new(task, answer.unwrap_or(ReplyTo::Nobody)));
        Answer::Later
    }
}

fn part(saying: SayOutcome) -> Part {
    match saying {
        SayOutcome::Said(said) => Part::Ready(Ok(Done::Said(said).fields(Json::object()).end())),
        SayOutcome::Pending(draft) => Part::Later(draft),
    }
}
