//! Channels that this node of a cluster is to hear: the way to the shared log, and what the chat does with
//! its answer.

use std::sync::Arc;

use super::server_sink::ServerSink;
use super::services::Services;
use super::store_task::{AttachOrder, ReplyTo, StoreTask, Stored};
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::base::clock::unix_ms;
use crate::chat::{Attached, ChatError, ErrorCode, Position, Restored};
use crate::store::{Appended, EnteredChannels, JobOutcomes, OwnedChannel};

/// The login of a connection, as the shared log has to know it.
pub(super) struct EnterOrder {
    /// The connection.
    pub(super) fd: Fd,
    /// The user.
    pub(super) uid: Box<str>,
    /// The channels to attach, as [`crate::chat::Chat::login_channels`] gives them.
    pub(super) channels: Vec<Box<str>>,
    /// Whether a channel is resumed behind the user's acknowledgement.
    pub(super) asks_acks: bool,
}

impl Services {
    /// Has the shared log take a login, and the chat what that gives; then calls `then`, on the disk
    /// thread, with the user's oldest connection anywhere if it is one too many.
    pub(super) fn enter(
        &self,
        order: EnterOrder,
        then: impl FnOnce(Result<Option<Fd>, Refusal>) + Send + 'static,
    ) {
        let chat = &self.chat;
        let task = StoreTask::Attach(Box::new(AttachOrder {
            reader: order.asks_acks.then(|| order.uid.clone()),
            login: Some((order.fd, order.uid)),
            channels: self.owned(&order.channels),
            now_ms: unix_ms(),
            connections_max: chat.settings().connections_per_user_max(),
            members_heard: chat.members_heard(),
        }));
        let call = move |stored: Result<Stored, Refusal>| {
            then(stored.map_err(refusal).map(|stored| match stored {
                Stored::Entered(replaced) => replaced,
                _ => None,
            }));
        };
        self.store(task, ReplyTo::Call(Box::new(call)));
    }

    /// Has this node hear channels; then calls `then`, on the disk thread. `reader` is the user whose
    /// acknowledgements in them are asked for.
    pub(super) fn attach(
        &self,
        channels: &[Box<str>],
        reader: Option<&str>,
        then: impl FnOnce(Result<(), Refusal>) + Send + 'static,
    ) {
        let task = StoreTask::Attach(Box::new(AttachOrder {
            reader: reader.map(Box::from),
            login: None,
            channels: self.owned(channels),
            now_ms: 0,
            connections_max: 0,
            members_heard: 0,
        }));
        let call = move |stored: Result<Stored, Refusal>| then(stored.map_err(refusal).map(drop));
        self.store(task, ReplyTo::Call(Box::new(call)));
    }

    fn owned(&self, names: &[Box<str>]) -> Vec<OwnedChannel> {
        let names = names.iter();
        let owned = names.map(|name| OwnedChannel {
            name: name.clone(),
            epoch: self.chat.new_epoch(),
            kind: self.chat.kind_of_shared(name),
        });
        owned.collect()
    }

    /// Follows a lasting membership that began or ended, once the node hears the room.
    pub(super) fn follow_member(self: &Arc<Self>, room: &str, uid: &str, lasting: bool) {
        let Some(mut sink) = ServerSink::anywhere(self) else {
            return;
        };
        let followed = (self.chat).hear_member(&mut sink, self.now(), (room, uid), lasting);
        if let Err(ChatError::NotAttached(names)) = followed {
            let (services, room, uid) = (Arc::clone(self), Box::from(room), Box::from(uid));
            self.attach(
                &names,
                None,
                move |attached: Result<(), Refusal>| match attached {
                    Ok(()) => services.follow_member(&room, &uid, lasting),
                    Err(refusal) => tracing::warn!(
                        room,
                        uid,
                        lasting,
                        reason = &*refusal.message,
                        "a lasting membership can't be followed until the user logs in anew"
                    ),
                },
            );
        }
    }
}

/// Makes the refusal of what wanted a channel: whether an attach was taken makes no difference to its caller,
/// who may ask again.
fn refusal(refusal: Refusal) -> Refusal {
    match refusal.code {
        ErrorCode::Unsettled => {
            let message = "the shared log didn't answer in time; try again";
            Refusal::new(ErrorCode::Unavailable, message)
        }
        _ => refusal,
    }
}

/// Takes into the chat what the log answers to an order to attach.
pub(super) fn attached(
    services: &Arc<Services>,
    order: &AttachOrder,
    outcomes: JobOutcomes<'_>,
) -> Result<Stored, Refusal> {
    let mut replaced = None;
    for outcome in outcomes.iter() {
        if let Appended::Entered(place) = outcome? {
            let entered = outcomes.entered(place);
            replaced = replaced.or(entered.replaced);
            take_entered(services, order, entered);
        }
    }
    Ok(Stored::Entered(replaced))
}

fn take_entered(services: &Arc<Services>, order: &AttachOrder, entered: &EnteredChannels) {
    let (chat, now) = (&services.chat, services.now());
    for (channel, state) in &entered.channels {
        let newest = Position {
            epoch: state.epoch,
            offset: state.newest,
        };
        // One that is still leaving is asked for once more by whoever needs it.
        if chat.attach(now.tick, channel, newest, state.floor) == Attached::Behind {
            services.catch_up(channel);
        }
    }
    if let Some(uid) = &order.reader {
        for (channel, offset) in &entered.acks {
            chat.restore(Restored::Ack {
                channel,
                uid,
                offset: *offset,
            });
        }
    }
    let Some((_, uid)) = &order.login else {
        return;
    };
    if let Some(mut sink) = ServerSink::anywhere(services) {
        let rooms = &entered.lasting;
        let taken = chat.set_lasting_rooms(&mut sink, now, uid, rooms, order.members_heard);
        if let Err(error) = taken {
            // The login itself finds it missing, and asks again.
            tracing::debug!(uid, %error, "a lasting room isn't attached yet");
        }
    }
}
