//! Publishes what gateways bring: in the chat, and on disk together with its number.

use std::sync::Arc;
use std::time::Duration;

use super::{Done, LinkRefusal, Turn, Upstream};
use crate::api::posting::Posting;
use crate::api::posting::To;
use crate::api::refusal::Refusal;
use crate::chat::{
    self, Actor, ChatError, ErrorCode, Keep, NewMessage, PendingMessage, SayOutcome,
};
use crate::endpoint::part::{Part, parts_of};
use crate::endpoint::services::Services;
use crate::endpoint::work::{ReplyTo, StoreJob, StoreTask};

/// In whose name gateways speak where a message says no `from`; no API key is called so.
const GATEWAY: &str = "gateway /link";

/// When a gateway is to try again, in milliseconds.
const BUSY_MS: u64 = 500;

/// How long an `open` waits until what is durable is said to be so.
const SAID_WITHIN: Duration = Duration::from_millis(100);

/// See the module.
pub(in crate::endpoint) struct Publisher {
    pub(in crate::endpoint) services: Arc<Services>,
    pub(in crate::endpoint) data_size_max: usize,
}

/// What became of a message before anything of it is on disk.
struct Said {
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

    fn publish(&self, turn: Turn, posting: &Posting<'_>, done: Done) {
        let mut said = match self.say(&turn, posting) {
            Ok(said) => said,
            // Nothing behind it was given yet, and the link lets nothing in.
            Err(busy) => return done(Err(busy)),
        };
        let Some((_, last)) = said.drafts.pop() else {
            let refused = said.refused;
            let done = move |settled: Result<(), LinkRefusal>| {
                done(settled.and(refused.map_or(Ok(()), |code| Err(LinkRefusal::Final(code)))));
            };
            return self.settle(turn, Box::new(done));
        };
        // The number stands with the last of them.
        if !said.drafts.is_empty() {
            let parts = parts_of(&turn.producer);
            for (place, draft) in said.drafts {
                let part = Part::before(&turn, &parts, place);
                self.services.disk.submit(StoreJob::new(
                    StoreTask::Say(draft, Some(part)),
                    ReplyTo::Nobody,
                ));
            }
        }
        let part = Part::last(turn);
        self.services.disk.submit(StoreJob::new(
            StoreTask::Say(last, Some(part)),
            answer(done),
        ));
    }

    fn settle(&self, turn: Turn, done: Done) {
        let part = Part::last(turn);
        self.services
            .disk
            .submit(StoreJob::new(StoreTask::Settle(part), answer(done)));
    }
}

impl Publisher {
    fn say(&self, turn: &Turn, posting: &Posting<'_>) -> Result<Said, LinkRefusal> {
        let refused = |code| {
            Ok(Said {
                drafts: Vec::new(),
                refused: Some(code),
            })
        };
        if posting.data.len() > self.data_size_max {
            return refused(ErrorCode::TooLarge);
        }
        let several: Vec<chat::Recipient<'_>> = match &posting.to {
            To::Room(room) => vec![chat::Recipient::Room(room)],
            To::User(user) => vec![chat::Recipient::User(user)],
            To::All => vec![chat::Recipient::All],
            To::Rooms(rooms) => rooms
                .iter()
                .map(|room| chat::Recipient::Room(room))
                .collect(),
            To::Users(users) => users
                .iter()
                .map(|user| chat::Recipient::User(user))
                .collect(),
            // Only who has a connection knows its fd.
            To::Fd(_) => return refused(ErrorCode::BadRequest),
        };
        let say = NewMessage {
            from: posting.from.as_deref(),
            id: posting.id.as_deref(),
            keep: if posting.store { Keep::Yes } else { Keep::No },
            except: &[],
            data: posting.data,
        };
        let post = self.services.sink().filter(|_| !turn.stretch.is_broken());
        let Some(mut post) = post else {
            return Err(busy());
        };
        let (now, actor) = (self.services.now(), Actor::Key(GATEWAY));
        let chat = &self.services.chat;
        let each = chat.say_to_each(&mut post, now, actor, &several, &say);
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
                    Ok(Said {
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
