//! The disk thread's side of a task: its record, and what follows once that is durable.

use super::answers::DiskContext;
use super::attaching::attached;
use super::frames;
use super::link_part::LinkPart;
use super::server_sink::ServerSink;
use super::services::Services;
use super::store_task::{MessageGroup, ReplyTo, StoreJob, StoreTask, Stored};
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::chat::{ChatError, ErrorCode, HeardMessage, PendingMessage, Receipt};
use crate::server::Response;
use crate::store::{Appended, Channel, DiskJob, JobOutcomes, MessageRecord, Record, StoreError};

/// A record that changes nothing.
const NOTHING: Record<'static> = Record::Serials { below: 0 };

/// Seconds after which a sender over its share of ids may try again: some are forgotten every few minutes.
const SHARE_RETRY_S: u64 = 10;

/// Bytes that are set aside for the result of a message, which most of them don't exceed.
const RESULT_BYTES: usize = 128;

impl DiskJob for StoreJob {
    type Context = DiskContext;

    fn size(&self) -> usize {
        let task = match &self.task {
            StoreTask::Say(draft, _) => draft.size(),
            StoreTask::SayEach(group) => group.size(),
            StoreTask::Attach(order) => order.size(),
            _ => 0,
        };
        size_of::<Self>() + task
    }

    fn records(&self) -> usize {
        match &self.task {
            StoreTask::SayEach(group) => group.drafts.len(),
            StoreTask::Attach(order) => order.records(),
            _ => 1,
        }
    }

    fn record<'a>(&'a self, place: usize, context: &'a DiskContext) -> Record<'a> {
        let services = &context.services;
        if self.link_part().is_some_and(|part| !part.may_be_written()) {
            return NOTHING;
        }
        match &self.task {
            StoreTask::Say(draft, part) => record_of(services, draft, part.as_ref()),
            StoreTask::SayEach(group) => record_of(services, &group.drafts[place], None),
            StoreTask::Settle(part) => {
                let (producer, number) = part.mark();
                Record::Mark { producer, number }
            }
            StoreTask::Purge { channel, epoch } => Record::Purge {
                channel,
                epoch: *epoch,
            },
            StoreTask::Forget(channel) => Record::Forget { channel },
            StoreTask::Claim(channel) => Record::Claim { channel },
            StoreTask::Ack {
                channel,
                user,
                offset,
            } => Record::Ack {
                channel,
                reader: user.uid(),
                offset: *offset,
            },
            StoreTask::Member { room, uid, lasting } => Record::Member {
                room,
                user: uid,
                lasting: *lasting,
            },
            StoreTask::Serials(below) => Record::Serials { below: *below },
            StoreTask::Attach(order) => order.record(place),
            StoreTask::Detach(channel) => Record::Detach { channel },
            StoreTask::Nothing => NOTHING,
        }
    }

    fn refused(&self) {
        if let Some(part) = self.link_part() {
            part.break_off();
        }
    }

    fn done(self, context: &DiskContext, outcomes: JobOutcomes<'_>) {
        let services = &context.services;
        if let ReplyTo::FrameFirst(..) = self.reply_to {
            // This answer doesn't wait for others, and shall not overtake earlier ones.
            context.flush();
        }
        let stored = match (outcomes.first(), self.link_part()) {
            _ if let StoreTask::SayEach(group) = &self.task => {
                Ok(say_each(services, group, outcomes))
            }
            _ if let StoreTask::Attach(order) = &self.task => attached(services, order, outcomes),
            (Ok(_) | Err(_), _) if let StoreTask::Detach(channel) = &self.task => {
                services.chat.detached(channel);
                Ok(Stored::Silently)
            }
            (Ok(_), Some(part)) if part.was_passed_over() => Err(Refusal::new(
                ErrorCode::Unavailable,
                "what comes before it was refused",
            )),
            (Ok(appended), _) => apply(services, &self, appended),
            (Err(error), _) => {
                // The whole batch may have failed.
                self.refused();
                Err(error.into())
            }
        };
        match (&self.reply_to, self.task) {
            (ReplyTo::FrameFirst(..), StoreTask::Say(draft, _)) if services.cluster.is_some() => {
                self.reply_to.tell(Some(context), stored);
                context.flush();
                post_copies(services, &draft);
            }
            _ => self.reply_to.tell(Some(context), stored),
        }
    }

    fn begins(context: &DiskContext) {
        context.services.wait_for_begin();
    }

    fn all_done(context: &DiskContext) {
        context.flush();
    }
}

fn record_of<'a>(
    services: &Services,
    draft: &'a PendingMessage,
    part: Option<&'a LinkPart>,
) -> Record<'a> {
    let (first, second) = draft.channels();
    let epochs = services.chat.epochs_of(draft);
    let channel = |name, epoch| Channel {
        name,
        epoch,
        kind: services.chat.kind_in_log(draft, name),
    };
    Record::Message(MessageRecord {
        channel: channel(first, epochs.0),
        second: second
            .zip(epochs.1)
            .map(|(name, epoch)| channel(name, epoch)),
        body: draft.message().body(),
        idempotency_key: draft.idempotency_key(),
        id_owner: draft.id_owner(),
        opens: draft.is_opened(),
        mark: part.map(LinkPart::mark),
        except: draft.except(),
    })
}

/// Posts the sender's own copy of a message, and what waited behind it: the answer is out.
fn post_copies(services: &Services, draft: &PendingMessage) {
    if let (Some(cluster), (_, Some(line))) = (&services.cluster, draft.channels())
        && let Some(mut sink) = ServerSink::anywhere(services)
    {
        let now = services.tick();
        let mut post = |heard: &HeardMessage<'_>| {
            services.chat.hear(&mut sink, now, heard);
        };
        (cluster.first_answers).answered(line, draft.message().id(), &mut post);
    }
}

/// Has the chat deliver what is durable of a group, and writes the result of each message.
fn say_each(services: &Services, group: &MessageGroup, outcomes: JobOutcomes<'_>) -> Stored {
    let Some(mut sink) = ServerSink::anywhere(services) else {
        return Stored::Silently;
    };
    let mut delivery = services.chat.delivery(&mut sink, services.tick());
    let mut results = String::with_capacity(group.drafts.len() * RESULT_BYTES);
    for (draft, outcome) in group.drafts.iter().zip(outcomes.iter()) {
        if !results.is_empty() {
            results.push(',');
        }
        let receipt = match outcome {
            Ok(Appended::Message(first, second)) => delivery.deliver(draft, (first, second)),
            Ok(Appended::Repeat(first)) => services.chat.answer_repeat(draft, first),
            Ok(Appended::Sent {
                first, receivers, ..
            }) => services.chat.answer_sent(draft, first, receivers),
            // None of them comes of a message without a mark.
            Ok(Appended::Settled | Appended::Noted | Appended::Entered(_)) => {
                results = Json::behind(results).end();
                continue;
            }
            Err(error) => {
                results.push_str(&Refusal::from(error).json().end());
                continue;
            }
        };
        results = frames::said(Json::behind(results), &receipt).end();
    }
    Stored::SaidEach(results)
}

/// Has the chat do what is durable now.
fn apply(services: &Services, job: &StoreJob, appended: Appended) -> Result<Stored, Refusal> {
    let (chat, task) = (&services.chat, &job.task);
    let Some(mut sink) = ServerSink::anywhere(services) else {
        return Ok(Stored::Silently);
    };
    match (task, appended) {
        (StoreTask::Say(draft, _), Appended::Message(first, second)) => {
            let first_told = match &job.reply_to {
                ReplyTo::FrameFirst(fd, seq) => Some((*fd, &**seq)),
                _ => None,
            };
            if let Some((fd, seq)) = first_told {
                sink.answer_first(fd, seq);
            }
            let receipt = chat.deliver_stored(&mut sink, services.tick(), draft, (first, second));
            Ok(match sink.has_still_to_answer(first_told.is_some()) {
                true => Stored::Said(receipt.into_owned()),
                false => Stored::Told,
            })
        }
        (
            StoreTask::Say(draft, _),
            Appended::Sent {
                first, receivers, ..
            },
        ) => {
            let receipt = chat.answer_sent(draft, first, receivers);
            Ok(Stored::Said(receipt.into_owned()))
        }
        (StoreTask::Say(draft, _), Appended::Repeat(first)) => {
            Ok(Stored::Said(chat.answer_repeat(draft, first).into_owned()))
        }
        (StoreTask::Purge { channel, epoch }, _) => {
            let position = chat.purged(&mut sink, channel, *epoch);
            Ok(Stored::Purged(channel.clone(), position))
        }
        (StoreTask::Member { room, uid, lasting }, _) if chat.is_in_cluster() => {
            chat.note_lasting(room, uid);
            Ok(match lasting {
                true => Stored::Added(true),
                false => Stored::Removed(true),
            })
        }
        (StoreTask::Member { room, uid, lasting }, _) => {
            let now = services.now();
            let changed = match lasting {
                true => chat
                    .add_member(&mut sink, now, room, uid)
                    .map(Stored::Added),
                false => {
                    let removed = chat.remove_member(&mut sink, now, room, uid);
                    removed.map(Stored::Removed)
                }
            };
            changed.map_err(|error| {
                take_back_member(services, (&**room, &**uid, *lasting), &error);
                error.into()
            })
        }
        (StoreTask::Forget(channel), _) => {
            // A channel in which something was said meanwhile stays.
            if services.reader.channel(channel).is_none() {
                chat.forget_channel(&mut sink, services.now(), channel);
            }
            Ok(Stored::Silently)
        }
        (
            StoreTask::Say(..)
            | StoreTask::SayEach(_)
            | StoreTask::Settle(_)
            | StoreTask::Ack { .. }
            | StoreTask::Claim(_)
            | StoreTask::Serials(_)
            | StoreTask::Attach(_)
            | StoreTask::Detach(_)
            | StoreTask::Nothing,
            _,
        ) => Ok(Stored::Silently),
    }
}

/// Undoes on disk a change of membership for which the tables of the chat had no room.
fn take_back_member(
    services: &Services,
    (room, uid, lasting): (&str, &str, bool),
    error: &ChatError,
) {
    tracing::warn!(%error, "a lasting membership is taken back");
    let task = StoreTask::Member {
        room: room.into(),
        uid: uid.into(),
        lasting: !lasting,
    };
    services.store(task, ReplyTo::Nobody);
}

impl ReplyTo {
    /// Tells the outcome of a task, together with others of its batch on the disk thread.
    pub(super) fn tell(self, context: Option<&DiskContext>, stored: Result<Stored, Refusal>) {
        match self {
            Self::Nobody => {}
            Self::FrameFirst(fd, seq) => {
                if !matches!(stored, Ok(Stored::Told)) {
                    Self::Frame(fd, Some(seq)).tell(context, stored);
                }
            }
            Self::Frame(fd, seq) => {
                let text = match &stored {
                    Ok(stored) if seq.is_some() => stored.fields(frames::ok(seq.as_deref())).end(),
                    Ok(_) => return,
                    Err(refusal) => frames::err(seq.as_deref(), refusal),
                };
                if let Some(context) = context {
                    context.push(fd, &text);
                }
            }
            Self::Request(responder) => {
                let response = match &stored {
                    Ok(Stored::Said(receipt)) => Response::json(only_result(receipt)),
                    Ok(stored) => Response::json(stored.fields(Json::object()).end()),
                    Err(refusal) => refusal.response(),
                };
                match context {
                    Some(context) => context.end(responder, response),
                    None => responder.end(response),
                }
            }
            Self::Slot(slot) => slot.fill(stored.map(|stored| match stored {
                Stored::SaidEach(results) => results,
                stored => stored.fields(Json::object()).end(),
            })),
            Self::Call(call) => call(stored),
        }
    }
}

/// Writes the answer to a request with one message.
fn only_result(receipt: &Receipt<'_>) -> String {
    let mut text = String::with_capacity(2 * RESULT_BYTES);
    text.push_str("{\"results\":[");
    let mut text = frames::said(Json::behind(text), receipt).end();
    text.push_str("]}");
    text
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::DiskFull { .. } => Self::new(ErrorCode::DiskFull, error.to_string()),
            StoreError::LogFull(_) => Self::new(ErrorCode::DiskFull, "the shared log is full"),
            StoreError::Unsettled => Self::new(ErrorCode::Unsettled, error.to_string()),
            StoreError::Full { .. } | StoreError::TooMany { .. } => {
                Self::new(ErrorCode::Unavailable, error.to_string())
            }
            StoreError::OverShare { .. } => Self {
                retry_after_s: SHARE_RETRY_S,
                ..Self::new(ErrorCode::RateLimited, error.to_string())
            },
            // What the system says is for the log.
            _ => Self::new(
                ErrorCode::Unavailable,
                "the store can't take anything just now",
            ),
        }
    }
}
