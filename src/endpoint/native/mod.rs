//! The native protocol: a text frame of a client, carried out and answered.
//!
//! [`parse`] makes [`command`]s of a frame, [`NativeProtocol`] has the chat carry them out, `frames`
//! writes the answers. A command without a `seq` is answered only when it fails.

pub(super) mod command;
mod light;
mod parse;

use std::sync::Arc;

use super::frames;
use super::history::{self, HISTORY_LIMIT};
use super::server_sink::{Confirmation, ServerSink};
use super::services::Services;
use super::sessions::Sessions;
use super::store_task::{ReplyTo, SeqDigits, StoreTask};
use crate::api::json::Json;
use crate::api::posting::{Posting, Recipients};
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{HistoryRange, SayOutcome};
use crate::server::WorkerHandle;
use command::{NativeCommand, SequencedCommand, resume_of};

pub(super) use light::is_light;
pub use parse::COMMANDS_A_FRAME_MAX;

/// Carries out the commands that clients give on their WebSockets.
pub(super) struct NativeProtocol {
    services: Arc<Services>,
    sessions: Arc<Sessions>,
}

/// The connection that gave a command, and the number of its answer.
#[derive(Clone, Copy)]
struct Caller<'a> {
    server: &'a WorkerHandle,
    fd: Fd,
    seq: Option<&'a str>,
}

/// The answer to a command: an object, or `None` where the answer goes another way.
type Answered = Result<Option<Json>, Refusal>;

impl NativeProtocol {
    pub(super) fn new(services: Arc<Services>, sessions: Arc<Sessions>) -> Self {
        Self { services, sessions }
    }

    /// Carries out a text frame, of which `parts` commands are carried out already.
    pub(super) fn receive(&self, server: &WorkerHandle, fd: Fd, text: &str, parts: u32) {
        // `websocat` and other tools for lines send the end of theirs too.
        if text.trim_ascii_end() == "PING" {
            if self.sessions.admit_command(server, fd, None) {
                server.push(fd, "PONG").ok();
            }
            return;
        }
        match parse::commands(text) {
            Ok(commands) => {
                let last = commands.len();
                let rest = (1..).zip(commands).skip(parts as usize);
                for (number, command) in rest {
                    // A kick may come between two of them, also by one of them.
                    if self.sessions.is_kicked(fd) {
                        return;
                    }
                    self.command(server, fd, command);
                    if (number as usize) < last && server.must_stop(fd) {
                        return server.stop_at(number);
                    }
                }
            }
            Err(refusal) if self.sessions.admit_command(server, fd, None) => {
                self.sessions.note_refused(fd, refusal.code);
                server.push(fd, &frames::err(None, &refusal)).ok();
            }
            Err(_) => {}
        }
    }

    fn command(&self, server: &WorkerHandle, fd: Fd, command: SequencedCommand<'_>) {
        let SequencedCommand { seq, command } = command;
        let sessions = &self.sessions;
        let is_first_login =
            matches!(command, Ok(NativeCommand::Login(_))) && sessions.is_stranger(fd);
        if !is_first_login && !sessions.admit_command(server, fd, seq) {
            return;
        }
        let caller = Caller { server, fd, seq };
        // A login leaves its own trace, which says more.
        let is_login = matches!(command, Ok(NativeCommand::Login(_)));
        match command.and_then(|command| self.run(caller, &command)) {
            Ok(Some(ok)) if seq.is_some() => drop(server.push(fd, &ok.end())),
            Ok(_) => {}
            Err(refusal) => {
                if !is_login {
                    self.sessions.note_refused(fd, refusal.code);
                }
                server.push(fd, &frames::err(seq, &refusal)).ok();
            }
        }
    }

    fn run(&self, caller: Caller<'_>, command: &NativeCommand<'_>) -> Answered {
        let Caller { server, fd, seq } = caller;
        let (services, sessions) = (&self.services, &self.sessions);
        let confirmation = Confirmation::of(seq);
        if command.is_question() && !server.is_established(fd) {
            // The client has gone, so no answer is heard.
            return Ok(None);
        }
        match command {
            NativeCommand::Login(login) => sessions
                .login(server, fd, login, confirmation)
                .map(|()| None),
            NativeCommand::Join { room, resume } => {
                let mut sink = ServerSink::of_worker(services, server, confirmation);
                let resume = resume_of(resume.as_ref());
                let chat = &services.chat;
                chat.join(&mut sink, services.now(), fd, room, resume)?;
                Ok(None)
            }
            NativeCommand::Leave { room } => self.leave(caller, room),
            NativeCommand::Say(posting) => self.say(caller, posting),
            NativeCommand::Ack { channel, offset } => {
                sessions.acknowledge(fd, channel, *offset)?;
                Ok(Some(frames::ok(seq)))
            }
            NativeCommand::History {
                channel,
                after,
                before,
                limit,
            } => sessions.as_actor(fd, |actor| {
                let range = HistoryRange {
                    after: *after,
                    before: *before,
                    limit: limit.unwrap_or(HISTORY_LIMIT) as usize,
                };
                history::page(services, frames::ok(seq), actor, channel, range).map(Some)
            }),
            NativeCommand::Who { room } => self.who(caller, room),
            NativeCommand::Online { users } => {
                let users: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
                self.online(caller, &users)
            }
        }
    }

    fn leave(&self, Caller { server, fd, seq }: Caller<'_>, room: &str) -> Answered {
        let mut sink = ServerSink::of_worker(&self.services, server, Confirmation::Silent);
        let chat = &self.services.chat;
        chat.leave(&mut sink, self.services.now(), fd, room)?;
        // The way of the room's messages, so that the answer overtakes none of them.
        if seq.is_some() {
            server.handle().push(fd, &frames::ok(seq).end()).ok();
        }
        Ok(None)
    }

    fn say(&self, Caller { server, fd, seq }: Caller<'_>, posting: &Posting<'_>) -> Answered {
        // Frames may be larger than messages where the server also echoes.
        self.services.check_size(posting.message.data)?;
        let Recipients::One(recipient) = posting.to.recipients() else {
            return Err(Refusal::bad_request("to takes one receiver on a WebSocket"));
        };
        let mut sink = ServerSink::of_worker(&self.services, server, Confirmation::Silent);
        // Back ends ask and wait; what comes before the answer isn't what they wait for.
        let first = seq.filter(|_| self.sessions.key_of(fd).is_some());
        if let Some(seq) = first {
            sink.answer_first(fd, seq);
        }
        let (chat, now) = (&self.services.chat, self.services.now());
        let outcome = self.sessions.as_actor(fd, |actor| {
            Ok(chat.say(&mut sink, now, actor, recipient, &posting.message)?)
        })?;
        Ok(match outcome {
            SayOutcome::Said(receipt) => sink
                .has_still_to_answer(first.is_some())
                .then(|| frames::said(frames::ok(seq), &receipt)),
            SayOutcome::Pending(draft) => {
                let reply_to = match first {
                    Some(seq) => ReplyTo::FrameFirst(fd, SeqDigits::of(seq)),
                    None => ReplyTo::Frame(fd, seq.map(SeqDigits::of)),
                };
                self.services.store(StoreTask::Say(draft, None), reply_to);
                None
            }
        })
    }

    fn who(&self, Caller { fd, seq, .. }: Caller<'_>, room: &str) -> Answered {
        self.sessions.as_actor(fd, |actor| {
            let who = self.services.chat.who(actor, room)?;
            let users = who.users.iter().map(|user| user.uid());
            let json = frames::ok(seq)
                .strings("users", users)
                .number("users_total", who.users_total as u64)
                .number("connections", who.connections as u64);
            Ok(Some(json.flag("more", who.users.len() < who.users_total)))
        })
    }

    fn online(&self, Caller { fd, seq, .. }: Caller<'_>, users: &[&str]) -> Answered {
        self.sessions.as_actor(fd, |actor| {
            let online = self.services.chat.online(actor, users)?;
            let mut each = Json::object();
            for (place, (user, is_online)) in users.iter().zip(online).enumerate() {
                // A name stands once in an object, however often it was asked for.
                if !users[..place].contains(user) {
                    each = each.named(user, if is_online { "true" } else { "false" });
                }
            }
            Ok(Some(frames::ok(seq).raw("online", &each.end())))
        })
    }
}
