//! Publishes the messages of gateways: in the chat, and on disk together with their numbers.

use std::sync::Arc;
use std::time::Duration;

use super::{LinkPublisher, OnComplete, OnMark};
use crate::api::posting::{Posting, Recipients, To};
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{Actor, ChatError, PendingMessage, SayOutcome};
use crate::endpoint::link_part::{LinkPart, parts_of};
use crate::endpoint::server_sink::ServerSink;
use crate::endpoint::services::Services;
use crate::endpoint::store_task::{ReplyTo, StoreTask};
use crate::link::{LinkRefusal, Sequenced};
use crate::server::Handle;

/// The key in whose name gateways speak where a message says no `from`; no API key has this name.
const GATEWAY: &str = "gateway /link";

/// Pause after which a gateway tries again, in milliseconds: long beside a commit to the disk, so that
/// a queue that was full has emptied by then.
const BUSY_MS: u64 = 500;

/// Longest wait of an `open` for the outcomes that are still before the disk thread; those that come
/// later are numbers that the gateway sends again in vain.
const SAID_WITHIN: Duration = Duration::from_millis(100);

/// Says the messages of gateways in the chat.
pub(in crate::endpoint) struct ChatPublisher {
    services: Arc<Services>,
}

/// The outcome of a message before anything of it is on disk.
struct LinkSaid {
    /// The messages to be stored, each with the place of its receiver.
    drafts: Vec<(u64, PendingMessage)>,
    /// The reason why no receiver gets the message, if none does.
    refused: Option<Refusal>,
}

impl LinkPublisher for ChatPublisher {
    fn mark(&self, producer: &str) -> u64 {
        _ = self.services.disk.wait_until_done(SAID_WITHIN);
        self.services.reader.mark(producer)
    }

    /// The log of a cluster is asked on the thread for look-ups, while the link is paused.
    fn read_mark(&self, server: &Handle, fd: Fd, producer: &Arc<str>, then: OnMark) {
        let Some(cluster) = &self.services.cluster else {
            return then(self.mark(producer));
        };
        if cluster.lookups.take_place().is_err() {
            return come_back(server, fd);
        }
        server.pause(fd);
        let (services, server) = (Arc::clone(&self.services), server.clone());
        let producer = Arc::clone(producer);
        cluster.lookups.put(move || {
            _ = services.disk.wait_until_done(SAID_WITHIN);
            match services.reader.read_mark(&producer) {
                Ok(mark) => server.run(fd, move |_| then(mark)),
                Err(error) => {
                    tracing::warn!(%fd, %error, "the mark of a gateway can't be read");
                    come_back(&server, fd);
                }
            }
            server.resume(fd);
        });
    }

    fn publish(&self, sequenced: Sequenced, posting: &Posting<'_>, on_complete: OnComplete) {
        let mut said = match self.say(&sequenced, posting) {
            Ok(said) => said,
            // Nothing behind this number was submitted yet, and the link lets nothing in.
            Err(busy) => return on_complete(Err(busy)),
        };
        let Some((_, last)) = said.drafts.pop() else {
            let refused = said.refused;
            let on_complete = move |skipped: Result<(), LinkRefusal>| {
                on_complete(
                    skipped.and(refused.map_or(Ok(()), |refusal| Err(LinkRefusal::Final(refusal)))),
                );
            };
            return self.skip(sequenced, Box::new(on_complete));
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
            .store(StoreTask::Say(last, Some(part)), answer(on_complete));
    }

    fn skip(&self, sequenced: Sequenced, on_complete: OnComplete) {
        let part = LinkPart::last(sequenced);
        self.services
            .store(StoreTask::Settle(part), answer(on_complete));
    }
}

/// Ends a link, whose gateway loses nothing by it and comes again.
fn come_back(server: &Handle, fd: Fd) {
    server.disconnect(fd, 1013, "come back later").ok();
}

impl ChatPublisher {
    pub(in crate::endpoint) fn new(services: Arc<Services>) -> Self {
        Self { services }
    }

    fn say(&self, sequenced: &Sequenced, posting: &Posting<'_>) -> Result<LinkSaid, LinkRefusal> {
        let refused = |refusal| {
            Ok(LinkSaid {
                drafts: Vec::new(),
                refused: Some(refusal),
            })
        };
        if let Err(refusal) = self.services.check_size(posting.message.data) {
            return refused(refusal);
        }
        // Only the server that has a connection knows its fd.
        if let To::Fd(_) = posting.to {
            let message = "to: a connection is known only to its own server";
            return refused(Refusal::bad_request(message));
        }
        let recipients = match posting.to.recipients() {
            Recipients::One(recipient) => vec![recipient],
            Recipients::Several(recipients) => recipients,
        };
        let sink = ServerSink::anywhere(&self.services);
        let Some(mut sink) = sink.filter(|_| !sequenced.attempt.is_broken()) else {
            return Err(busy());
        };
        let (now, actor) = (self.services.now(), Actor::Key(GATEWAY));
        let chat = &self.services.chat;
        let each = chat.say_to_each(&mut sink, now, actor, &recipients, &posting.message);
        each.and_then(|each| each.into_iter().collect::<Result<Vec<_>, ChatError>>())
            .map_or_else(
                |error| match error.code().may_retry() {
                    true => Err(busy()),
                    false => refused(error.into()),
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

fn answer(on_complete: OnComplete) -> ReplyTo {
    ReplyTo::Call(Box::new(move |stored| {
        on_complete(
            stored
                .map(drop)
                .map_err(|refusal: Refusal| match refusal.code.may_retry() {
                    true => busy(),
                    false => LinkRefusal::Final(refusal),
                }),
        );
    }))
}
