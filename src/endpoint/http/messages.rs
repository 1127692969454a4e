//! Sending by HTTP, and the messages of the past.

use super::HttpApi;
use super::call::ApiCall;
use super::reply::{ApiReply, ApiResult, FarMessage};
use crate::api::json::Json;
use crate::api::posting::{self, Posting, Recipients};
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{ChatError, HistoryRange, Moment, NewMessage, PurgeOutcome, check_room};
use crate::endpoint::history::{self, HISTORY_LIMIT, HistoryQuestion};
use crate::endpoint::server_sink::{Confirmation, ServerSink};
use crate::endpoint::store_task::{StoreTask, Stored};

impl HttpApi {
    /// `POST /v1/messages`
    pub(super) fn post_message(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let posting = posting::posting(call.body()?)?;
        let mut results = Vec::new();
        let mut sink = ServerSink::of_worker(&self.services, call.server, Confirmation::Silent);
        let now = self.services.now();
        self.post(&mut sink, (call, now), &posting, &mut results)?;
        // The refusal of a single message is the answer's.
        if let Recipients::One(_) = posting.to.recipients()
            && let Some(ApiResult::Stored(draft)) =
                results.pop_if(|result| matches!(result, ApiResult::Stored(_)))
        {
            return Ok(ApiReply::Stored(StoreTask::Say(draft, None)));
        }
        if let Recipients::One(_) = posting.to.recipients()
            && let Some(ApiResult::Far(message)) =
                results.pop_if(|result| matches!(result, ApiResult::Far(_)))
        {
            return Ok(message.alone());
        }
        Ok(ApiReply::Each(results))
    }

    /// `POST /v1/messages/batch`: each message is judged by itself.
    pub(super) fn post_batch(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let batch = posting::batch(call.body()?)?;
        self.sessions
            .charge(call.request.fd, call.actor(), batch.len());
        let mut results = Vec::with_capacity(batch.len());
        let mut sink = ServerSink::of_worker(&self.services, call.server, Confirmation::Silent);
        let now = self.services.now();
        for posting in batch {
            let posted = posting
                .and_then(|posting| self.post(&mut sink, (call, now), &posting, &mut results));
            if let Err(refusal) = posted {
                self.note_wrong(call.request, &refusal);
                results.push(ApiResult::Ready(Err(refusal)));
            }
        }
        Ok(ApiReply::Each(results))
    }

    /// Says one message; adds a result for each receiver, unless the message is refused as a whole.
    fn post(
        &self,
        sink: &mut ServerSink<'_>,
        (call, now): (&ApiCall<'_>, Moment),
        posting: &Posting<'_>,
        results: &mut Vec<ApiResult>,
    ) -> Result<(), Refusal> {
        let message = &posting.message;
        self.services.check_size(message.data)?;
        let (chat, actor) = (&self.services.chat, call.actor());
        match posting.to.recipients() {
            Recipients::One(recipient) => {
                if let Some(fd) = self.services.is_far(call.server, recipient) {
                    results.push(ApiResult::Far(self.far(call, fd, message)?));
                    return Ok(());
                }
                results.push(chat.say(sink, now, actor, recipient, message)?.into());
            }
            Recipients::Several(recipients) => {
                self.sessions
                    .charge(call.request.fd, call.actor(), recipients.len());
                let said = chat.say_to_each(sink, now, actor, &recipients, message)?;
                let each = said.into_iter().zip(recipients);
                results.extend(each.map(|(outcome, recipient)| {
                    match (outcome, self.services.is_far(call.server, recipient)) {
                        (Err(ChatError::NoConnection(_)), Some(fd)) => {
                            match self.far(call, fd, message) {
                                Ok(message) => ApiResult::Far(message),
                                Err(refusal) => ApiResult::Ready(Err(refusal)),
                            }
                        }
                        (Ok(outcome), _) => outcome.into(),
                        (Err(error), _) => ApiResult::Ready(Err(error.into())),
                    }
                }));
            }
        }
        Ok(())
    }

    /// Makes a message for a connection that another node may have.
    fn far(
        &self,
        call: &ApiCall<'_>,
        fd: Fd,
        message: &NewMessage<'_>,
    ) -> Result<FarMessage, Refusal> {
        let services = &self.services;
        let json = Json::object();
        let (text, receipt) = services.message_to_far(call.actor(), fd, message, json)?;
        Ok(FarMessage {
            fd,
            text,
            receipt: receipt.end(),
        })
    }

    /// `GET /v1/rooms/{room}/messages`
    pub(super) fn room_history(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.history(call, &call.names.room)
    }

    /// `GET /v1/users/{uid}/messages`
    pub(super) fn user_history(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.history(call, &format!("@{}", call.names.uid))
    }

    fn history(&self, call: &ApiCall<'_>, channel: &str) -> Result<ApiReply, Refusal> {
        let range = HistoryRange {
            after: call.query.number("after")?,
            before: call.query.number("before")?,
            limit: call.query.number("limit")?.unwrap_or(HISTORY_LIMIT) as usize,
        };
        if self.services.cluster.is_some() {
            let asked = HistoryQuestion::judge(&self.services, call.actor(), channel, range)?;
            return Ok(ApiReply::History(asked));
        }
        let page = history::page(&self.services, Json::object(), call.actor(), channel, range)?;
        Ok(page.into())
    }

    /// `DELETE /v1/rooms/{room}/messages`
    pub(super) fn purge_room(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        check_room("room", &call.names.room)?;
        self.purge(call, &call.names.room)
    }

    /// `DELETE /v1/users/{uid}/messages`
    pub(super) fn purge_inbox(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.purge(call, &format!("@{}", call.names.uid))
    }

    fn purge(&self, call: &ApiCall<'_>, channel: &str) -> Result<ApiReply, Refusal> {
        let mut sink = ServerSink::of_worker(&self.services, call.server, Confirmation::Silent);
        Ok(match self.services.chat.purge(&mut sink, channel)? {
            PurgeOutcome::Done(position) => {
                let purged = Stored::Purged(channel.into(), position);
                purged.fields(Json::object()).into()
            }
            PurgeOutcome::Stored(epoch) => ApiReply::Stored(StoreTask::Purge {
                channel: channel.into(),
                epoch,
            }),
        })
    }
}
