//! Publishes what gateways bring: in the chat, and on disk together with its number.

use std::sync::Arc;
use std::time::Duration;

use super::{Done, LinkRefusal, Sequenced, Upstream};
use crate::api::posting::Posting;
use crate::api::posting::{Recipients, To};
use crate::api::refusal::Refusal;
use crate::chat::{Actor, ChatError, ErrorCode, PendingMessage, SayOutcome};
use crate::endpoint::link_part::{LinkPart, parts_of};
use crate::endpoint::server_sink::ServerSink;
use crate::endpoint::services::Services;
use crate::endpoint::store_task::{ReplyTo, StoreTask};

/// In whose name gateways speak where a message says no `from`; no API key is called so.
const GATEWAY: &str = "gateway /link";

/// When a gateway is to try again, in milliseconds.
const BUSY_MS: u64 = 500;

/// How long an `open` waits until what is durable is said to be so.
const SAID_WITHIN: Duration = Duration::from_millis(100);

/// Says in the chat what gateways bring.
pub(in crate::endpoint) struct Publisher {
    services: Arc<Services>,
}

/// What became of a message before anything of it is on disk.
struct LinkSaid {
    /// What is to be stored, with the place of its receiver.
    drafts: Vec<(u64, PendingMessage)>,
    /// Why none of them got it, if so.
    refused: Option<ErrorCode>,
}

impl Upstream for Publisher {
    fn mark(&self, producer: &str) -> u64 {
        _ = self.services.disk.wait_until_done(SAID_WITHIN);
        self.services.reader.mark(producer)
    }

    fn publish(&self, sequenced: Sequenced, posting: &Posting<'_>, done: Done) {
        let mut said = match self.say(&sequenced, posting) {
            Ok(said) => said,
            // Nothing behind it was given yet, and the link lets nothing in.
            Err(busy) => return done(Err(busy)),
        };
        let Some((_, last)) = said.drafts.pop() else {
            let refused = said.refused;
            let done = move |settled: Result<(), LinkRefusal>| {
                done(settled.and(refused.map_or(Ok(()), |code| Err(LinkRefusal::Final(code)))));
            };
            return self.settle(sequenced, Box::new(done));
        };
        // The number stands with the last of them.
        if !said.drafts.is_empty() {
            let parts = parts_of(&sequenced.producer);
            for (place, draft) in said.drafts {
                let part = LinkPart::before(&sequenced, &parts, place);
                self.services
                    .store(StoreTask::Say(draft, Some(part)), ReplyTo::Nobody);
            }
        }
        let part = LinkPart::last(sequenced);
        self.services
            .store(StoreTask::Say(last, Some(part)), answer(done));
    }

    fn settle(&self, sequenced: Sequenced, done: Done) {
        let part = LinkPart::last(sequenced);
        self.services.store(StoreTask::Settle(part), answer(done));
    }
}

impl Publisher {
    pub(in crate::endpoint) fn new(services: Arc<Services>) -> Self {
        Self { services }
    }

    fn say(&self, sequenced: &Sequenced, posting: &Posting<'_>) -> Result<LinkSaid, LinkRefusal> {
        let refused = |code| {
            Ok(LinkSaid {
                drafts: Vec::new(),
                refused: Some(code),
            })
        };
        if let Err(refusal) = self.services.check_size(posting.data) {
            return refused(refusal.code);
        }
        // Only the server that has a connection knows its fd.
        if let To::Fd(_) = posting.to {
            return refused(ErrorCode::BadRequest);
        }
        let recipients = match posting.to.recipients() {
            Recipients::One(recipient) => vec![recipient],
            Recipients::Several(recipients) => recipients,
        };
        let message = posting.message(&[]);
        let sink = ServerSink::anywhere(&self.services);
        let Some(mut sink) = sink.filter(|_| !sequenced.attempt.is_broken()) else {
            return Err(busy());
        };
        let (now, actor) = (self.services.now(), Actor::Key(GATEWAY));
        let chat = &self.services.chat;
        let each = chat.say_to_each(&mut sink, now, actor, &recipients, &message);
        each.and_then(|each| each.into_iter().collect::<Result<Vec<_>, ChatError>>())
            .map_or_else(
                |error| match error.code() {
                    code if code.may_retry() => Err(busy()),
                    code => refused(code),
                },
                |each| {
                    let drafts = (0..).zip(each).filter_map(|(place, saying)| match saying {
                        SayOutcome::Pending(draft) => Some((place, draft)),
                        SayOutcome::Said(_) => None,
                    });
                    Ok(LinkSaid {
                        drafts: drafts.collect(),
                        refused: None,
                    })
                },
            )
    }
}

fn busy() -> LinkRefusal {
    LinkRefusal::Busy { after_ms: BUSY_MS }
}

fn answer(done: Done) -> ReplyTo {
    ReplyTo::Call(Box::new(move |stored| {
        done(
            stored
                .map(drop)
                .map_err(|refusal: Refusal| match refusal.code.may_retry() {
                    true => busy(),
                    false => LinkRefusal::Final(refusal.code),
                }),
        );
    }))
}
