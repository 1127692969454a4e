//! The native protocol: a text frame of a client, carried out and answered.
//!
//! [`parse`] makes [`command`]s of a frame, [`NativeProtocol`] has the chat carry them out, `frames`
//! writes the answers. A command without a `seq` is answered only when it fails.

pub(super) mod command;
mod light;
pub(super) mod parse;

use std::sync::Arc;

use super::asker::Asker;
use super::frames;
use super::history::{self, HISTORY_LIMIT, HistoryQuestion};
use super::holding::{ComesAgain, HeldCommand};
use super::holds::{Granted, Unanswered};
use super::server_sink::{Confirmation, ServerSink};
use super::services::Services;
use super::sessions::{LoginWay, Sessions};
use super::store_task::{ReplyTo, SeqDigits, StoreTask};
use crate::api::json::Json;
use crate::api::posting::{Posting, Recipients};
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{ChatError, HistoryRange, NewMessage, SayOutcome, User};
use crate::server::WorkerHandle;
use command::{NativeCommand, SequencedCommand, resume_of};

pub(super) use light::is_light;
pub use parse::COMMANDS_A_FRAME_MAX;

/// Carries out the commands that clients give on their WebSockets.
#[derive(Clone)]
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
    /// The whole frame.
    text: &'a str,
}

impl Caller<'_> {
    /// What follows where its connection is held: a light frame comes by itself.
    fn held(&self) -> Flow {
        match is_light(self.text.as_bytes()) {
            true => Flow::GoesOn,
            false => Flow::Held,
        }
    }
}

/// What becomes of the rest of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoesOn,
    /// It waits, with the command that was the last.
    Held,
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
                    let flow = self.command(server, fd, command, text);
                    if flow == Flow::Held {
                        return server.stop_at(number - 1);
                    }
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

    fn command(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        command: SequencedCommand<'_>,
        text: &str,
    ) -> Flow {
        let SequencedCommand { seq, command } = command;
        let sessions = &self.sessions;
        let is_first_login =
            matches!(command, Ok(NativeCommand::Login(_))) && sessions.is_stranger(fd);
        // A command that comes once more was counted when it came first.
        let word = self.services.holds().and_then(|holds| holds.take(fd));
        if word.is_none() && !is_first_login && !sessions.admit_command(server, fd, seq) {
            return Flow::GoesOn;
        }
        let caller = Caller {
            server,
            fd,
            seq,
            text,
        };
        // A login leaves its own trace, which says more.
        let is_login = matches!(command, Ok(NativeCommand::Login(_)));
        let granted = word.transpose();
        let run = |granted| self.run(caller, &command?, granted);
        match granted.map_err(Unanswered::from).and_then(run) {
            Ok(Some(ok)) if seq.is_some() => drop(server.push(fd, &ok.end())),
            Ok(_) => {}
            Err(Unanswered::Held) => return caller.held(),
            Err(Unanswered::Refused(refusal)) => {
                if !is_login {
                    self.sessions.note_refused(fd, refusal.code);
                }
                server.push(fd, &frames::err(seq, &refusal)).ok();
            }
        }
        Flow::GoesOn
    }

    fn run(
        &self,
        caller: Caller<'_>,
        command: &NativeCommand<'_>,
        granted: Option<Granted>,
    ) -> Result<Option<Json>, Unanswered> {
        let Caller {
            server, fd, seq, ..
        } = caller;
        let (services, sessions) = (&self.services, &self.sessions);
        let confirmation = Confirmation::of(seq);
        if command.is_question() && !server.is_established(fd) {
            // The client has gone, so no answer is heard.
            return Ok(None);
        }
        match command {
            NativeCommand::Login(login) => {
                let way = LoginWay {
                    granted,
                    comes_again: ComesAgain::WithMessage,
                };
                sessions.login(server, fd, login, confirmation, way)?;
                Ok(None)
            }
            NativeCommand::Join { room, resume } => {
                let mut sink = ServerSink::of_worker(services, server, confirmation);
                let resume = resume_of(resume.as_ref());
                let chat = &services.chat;
                let joined = chat.join(&mut sink, services.now(), fd, room, resume);
                self.done_here(caller, granted.as_ref(), joined)?;
                Ok(None)
            }
            NativeCommand::Leave { room } => Ok(self.leave(caller, room)?),
            NativeCommand::Say(posting) => Ok(self.say(caller, posting)?),
            NativeCommand::Ack { channel, offset } => {
                let noted = sessions.acknowledge(fd, channel, *offset);
                if let (Err(ChatError::Beyond(_)), Some(_)) = (&noted, &services.cluster) {
                    self.acknowledge_later(caller, channel, *offset);
                    return Ok(None);
                }
                self.done_here(caller, granted.as_ref(), noted)?;
                Ok(Some(frames::ok(seq)))
            }
            NativeCommand::History {
                channel,
                after,
                before,
                limit,
            } => Ok(sessions.as_actor(fd, |actor| {
                let range = HistoryRange {
                    after: *after,
                    before: *before,
                    limit: limit.unwrap_or(HISTORY_LIMIT) as usize,
                };
                if let (Some(_), Some(seq)) = (&services.cluster, seq) {
                    let asker = Asker::Frame(fd, SeqDigits::of(seq));
                    HistoryQuestion::judge(services, actor, channel, range)?.ask(services, asker);
                    return Ok(None);
                }
                history::page(services, frames::ok(seq), actor, channel, range).map(Some)
            })?),
            NativeCommand::Who { room } => Ok(self.who(caller, room)?),
            NativeCommand::Online { users } => {
                let users: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
                Ok(self.online(caller, &users)?)
            }
        }
    }

    /// Holds a connection whose command needs channels that this node doesn't hear.
    fn done_here(
        &self,
        caller: Caller<'_>,
        before: Option<&Granted>,
        done: Result<(), ChatError>,
    ) -> Result<(), Unanswered> {
        let Err(ChatError::NotAttached(channels)) = done else {
            return Ok(done?);
        };
        let Caller { server, fd, .. } = caller;
        let user = self
            .services
            .chat
            .connection(fd)
            .and_then(|known| known.user);
        let reader = user.as_ref().map(User::uid);
        let comes_again = match is_light(caller.text.as_bytes()) {
            true => self.comes_again(fd, caller.text),
            false => ComesAgain::WithMessage,
        };
        let command = HeldCommand {
            server,
            fd,
            before,
            comes_again,
        };
        let services = &self.services;
        services.hold_for_channels(command, &channels, reader)
    }

    /// Has a frame that may be handled on a reactor, which keeps none, come once more.
    fn comes_again(&self, fd: Fd, text: &str) -> ComesAgain {
        let (this, text) = (self.clone(), text.to_owned());
        ComesAgain::By(Box::new(move |server| {
            let _running = this.sessions.begin_command(server, fd);
            if !this.sessions.is_kicked(fd) {
                this.receive(server, fd, &text, 0);
            }
        }))
    }

    /// Notes what a client has that comes to this node only now: it may have been told of it by an answer.
    fn acknowledge_later(&self, Caller { fd, seq, .. }: Caller<'_>, channel: &str, offset: u64) {
        let asker = match seq {
            Some(seq) => Asker::Frame(fd, SeqDigits::of(seq)),
            None => Asker::Unnumbered(fd),
        };
        let (sessions, channel) = (Arc::clone(&self.sessions), Box::from(channel));
        self.services.look_up(asker, move |services, json| {
            history::wait_until_posted(services, &channel, offset);
            sessions.acknowledge(fd, &channel, offset)?;
            Ok(json)
        });
    }

    fn leave(
        &self,
        Caller {
            server, fd, seq, ..
        }: Caller<'_>,
        room: &str,
    ) -> Answered {
        let mut sink = ServerSink::of_worker(&self.services, server, Confirmation::Silent);
        let chat = &self.services.chat;
        chat.leave(&mut sink, self.services.now(), fd, room)?;
        // The way of the room's messages, so that the answer overtakes none of them.
        if seq.is_some() {
            server.handle().push(fd, &frames::ok(seq).end()).ok();
        }
        Ok(None)
    }

    fn say(
        &self,
        Caller {
            server, fd, seq, ..
        }: Caller<'_>,
        posting: &Posting<'_>,
    ) -> Answered {
        // Frames may be larger than messages where the server also echoes.
        self.services.check_size(posting.message.data)?;
        let Recipients::One(recipient) = posting.to.recipients() else {
            return Err(Refusal::bad_request("to takes one receiver on a WebSocket"));
        };
        if let Some(to) = self.services.is_far(server, recipient) {
            return self.say_far(fd, seq, to, &posting.message);
        }
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
                    Some(seq) => {
                        self.services.expect_first_answer(&draft);
                        ReplyTo::FrameFirst(fd, SeqDigits::of(seq))
                    }
                    None => ReplyTo::Frame(fd, seq.map(SeqDigits::of)),
                };
                self.services.store(StoreTask::Say(draft, None), reply_to);
                None
            }
        })
    }

    /// Says a message to a connection that another node may have.
    fn say_far(&self, fd: Fd, seq: Option<&str>, to: Fd, message: &NewMessage<'_>) -> Answered {
        let services = &self.services;
        let (text, json) = self.sessions.as_actor(fd, |actor| {
            services.message_to_far(actor, to, message, frames::ok(seq))
        })?;
        match seq {
            Some(_) => self.look_up(fd, seq, move |services, _| {
                services.push_elsewhere(to, text)?;
                Ok(json)
            }),
            None => services.do_on_lookups(move |services| {
                services.push_elsewhere(to, text).ok();
            }),
        }
        Ok(None)
    }

    fn who(&self, Caller { fd, seq, .. }: Caller<'_>, room: &str) -> Answered {
        self.sessions.as_actor(fd, |actor| {
            let who = self.services.chat.who(actor, room)?;
            if self.services.nodes().is_some() {
                let room = Box::<str>::from(room);
                self.look_up(fd, seq, move |services, json| {
                    services.who_anywhere(&room, json)
                });
                return Ok(None);
            }
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
            if self.services.nodes().is_some() {
                let users: Vec<Box<str>> = users.iter().map(|uid| Box::from(*uid)).collect();
                self.look_up(fd, seq, move |services, json| {
                    let users: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
                    let online = services.online_anywhere(&users, online)?;
                    Ok(told_online(json, &users, online))
                });
                return Ok(None);
            }
            Ok(Some(told_online(frames::ok(seq), users, online)))
        })
    }

    /// Asks a question on the thread for look-ups; without a number nobody waits for the answer.
    fn look_up(
        &self,
        fd: Fd,
        seq: Option<&str>,
        question: impl FnOnce(&Arc<Services>, Json) -> Result<Json, Refusal> + Send + 'static,
    ) {
        if let Some(seq) = seq {
            let asker = Asker::Frame(fd, SeqDigits::of(seq));
            self.services.look_up(asker, question);
        }
    }
}

fn told_online(json: Json, users: &[&str], online: Vec<bool>) -> Json {
    let mut each = Json::object();
    for (place, (user, is_online)) in users.iter().zip(online).enumerate() {
        // A name stands once in an object, however often it was asked for.
        if !users[..place].contains(user) {
            each = each.named(user, if is_online { "true" } else { "false" });
        }
    }
    json.raw("online", &each.end())
}
