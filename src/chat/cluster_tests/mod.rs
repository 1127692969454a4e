//! The chat of a node of a cluster, beside a log that two nodes share.

mod attached;
mod lasting;
mod log;
mod property;
mod said;
mod sink;

use std::sync::Arc;

use super::{
    ChannelKind, Chat, ChatError, ChatSettings, Keep, Login, Moment, NewMessage, Pattern, Resume,
    Rights,
};
use crate::base::{Fd, Tick};
use sink::Listeners;

/// Milliseconds for which a channel that nobody hears stays.
const LINGER_MS: u64 = 5_000;

fn settings() -> ChatSettings {
    ChatSettings {
        kinds: vec![
            (Pattern::new("mem-*"), ChannelKind::Memory),
            (Pattern::new("none-*"), ChannelKind::None),
        ],
        kind: ChannelKind::Stored,
        shards: 2,
        cluster_linger_ms: Some(LINGER_MS),
        ..ChatSettings::default()
    }
}

fn chat() -> Chat {
    Chat::new(settings(), 1)
}

fn at(ms: u64) -> Moment {
    Moment {
        tick: Tick(ms),
        unix_ms: ms,
    }
}

fn login<'a>(fd: u64, uid: &'a str, rooms: &'a [&'a str]) -> Login<'a> {
    Login {
        fd: Fd(fd),
        uid,
        rights: Arc::new(Rights::Open),
        rooms,
        resume: &[],
    }
}

fn message(data: &str) -> NewMessage<'_> {
    NewMessage {
        from: None,
        id: None,
        keep: Keep::Yes,
        except: Vec::new(),
        data,
    }
}

/// The channels that an error says aren't here.
fn missing(error: &ChatError) -> Vec<&str> {
    match error {
        ChatError::NotAttached(names) => names.iter().map(|name| &**name).collect(),
        other => panic!("{other:?}"),
    }
}

/// Logs a connection in, whose channels the log has as new ones.
fn enter(chat: &Chat, listeners: &mut Listeners, log: &mut log::SharedLog, login: &Login<'_>) {
    chat.opened(login.fd);
    for name in chat.login_channels(login).unwrap().unwrap_or_default() {
        log.attach(chat, at(1), &name);
    }
    chat.login(listeners, at(1), login).unwrap();
}
