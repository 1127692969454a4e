//! The native protocol: a frame of a client, done and answered.

use std::sync::Arc;

use super::command::{Asked, Command, Say, commands};
use super::endpoint::Endpoint;
use super::frames;
use super::limits::Verdict;
use super::login::{kick, resume_of};
use super::server_sink::{Reply, ServerSink};
use super::work::{ReplyTo, StoreJob, StoreTask};
use crate::api::json::Json;
use crate::api::posting::To;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{self, Actor, HistoryRange, Keep, SayOutcome};
use crate::server::WorkerHandle;

/// Messages in a page of history, where the client doesn't say.
pub(super) const HISTORY_LIMIT: u64 = 50;

/// What those are told who don't heed `rate_limited`.
const FAR_OVER: &str = "far more commands came than are taken; come back slowly";

impl Endpoint {
    /// Does what a text frame says.
    pub(super) fn frame(&self, server: &WorkerHandle, fd: Fd, text: &str) {
        // `websocat` and other tools for lines send the end of theirs too.
        if text.trim_ascii_end() == "PING" {
            if self.admits(server, fd, None) {
                server.push(fd, "PONG").ok();
            }
            return;
        }
        match commands(text) {
            Ok(all) => all
                .into_iter()
                .for_each(|asked| self.command(server, fd, asked)),
            Err(refusal) if self.admits(server, fd, None) => {
                server.push(fd, &frames::err(None, &refusal)).ok();
            }
            Err(_) => {}
        }
    }

    /// Whether one more command may be done now; if not, all that has to be said is said.
    fn admits(&self, server: &WorkerHandle, fd: Fd, seq: Option<&str>) -> bool {
        if !self.limits.are_any() {
            return true;
        }
        let now_ms = self.now().tick.0;
        let verdict = match self.key_of(fd) {
            Some(key) => match self.limits.request(now_ms, &key) {
                Ok(()) => Verdict::Taken,
                Err(refusal) => Verdict::Refused(refusal),
            },
            None => self.limits.command(now_ms, fd),
        };
        match verdict {
            Verdict::Taken => return true,
            Verdict::Refused(refusal) => drop(server.push(fd, &frames::err(seq, &refusal))),
            Verdict::FarOver => kick(server, fd, 4009, "rate_limited", FAR_OVER),
            Verdict::Closing => {}
        }
        false
    }

    /// The name of the API key that a connection showed, where keys are asked for.
    fn key_of(&self, fd: Fd) -> Option<Arc<str>> {
        match self.access.is_open() {
            true => None,
            false => self.waiting.key_of(fd),
        }
    }

    fn command(&self, server: &WorkerHandle, fd: Fd, Asked { seq, command }: Asked<'_>) {
        if !self.admits(server, fd, seq) {
            return;
        }
        let answer = command.and_then(|command| self.run(server, fd, seq, &command));
        match answer {
            Ok(Some(ok)) if seq.is_some() => drop(server.push(fd, &ok.end())),
            Ok(_) => {}
            Err(refusal) => drop(server.push(fd, &frames::err(seq, &refusal))),
        }
    }

    /// Does one command; what it gives is the answer, unless that was sent already.
    fn run(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        seq: Option<&str>,
        command: &Command<'_>,
    ) -> Result<Option<Json>, Refusal> {
        let ok = || frames::ok(seq);
        let mut post = self.post(server, Reply::of(seq));
        match command {
            Command::Login(login) => self.login(server, fd, login, Reply::of(seq)).map(|()| None),
            Command::Join { room, resume } => {
                self.services.chat.join(
                    &mut post,
                    self.now(),
                    fd,
                    room,
                    resume_of(resume.as_ref()),
                )?;
                Ok(None)
            }
            Command::Leave { room } => {
                self.services.chat.leave(&mut post, self.now(), fd, room)?;
                // The way of the room's messages: it overtakes none of them.
                if seq.is_some() {
                    server.handle().push(fd, &ok().end()).ok();
                }
                Ok(None)
            }
            Command::Say(say) => Ok(match self.say(&mut post, fd, say)? {
                SayOutcome::Said(said) => Some(frames::said(ok(), &said)),
                SayOutcome::Pending(draft) => {
                    let answer = ReplyTo::Frame(fd, seq.map(Box::from));
                    self.services
                        .disk
                        .submit(StoreJob::new(StoreTask::Say(draft, None), answer));
                    None
                }
            }),
            Command::Ack { channel, offset } => {
                if let Some(user) = self.services.chat.ack(fd, channel, *offset)? {
                    self.acks.note(&self.services, channel, user, *offset);
                }
                Ok(Some(ok()))
            }
            Command::History {
                channel,
                after,
                before,
                limit,
            } => {
                let range = HistoryRange {
                    after: *after,
                    before: *before,
                    limit: limit.unwrap_or(HISTORY_LIMIT) as usize,
                };
                self.as_actor(fd, |actor| {
                    Ok(Some(self.page(ok(), actor, channel, range)?))
                })
            }
            Command::Who { room } => self.as_actor(fd, |actor| {
                let who = self.services.chat.who(actor, room)?;
                let users = who.users.iter().map(|user| user.uid());
                Ok(Some(
                    ok().strings("users", users)
                        .number("connections", who.connections as u64),
                ))
            }),
            Command::Online { users } => self.as_actor(fd, |actor| {
                let users: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
                let online = self.services.chat.online(actor, &users)?;
                let mut each = Json::object();
                for (place, (user, is_online)) in users.iter().zip(online).enumerate() {
                    // A name stands once in an object, however often it was asked for.
                    if users[..place].contains(user) {
                        continue;
                    }
                    each = each.named(user, if is_online { "true" } else { "false" });
                }
                Ok(Some(ok().raw("online", &each.end())))
            }),
        }
    }

    fn say(&self, post: &mut ServerSink<'_>, fd: Fd, say: &Say<'_>) -> Result<SayOutcome, Refusal> {
        // Frames may be larger where the server also echoes.
        self.check_size(say.data)?;
        let to = match &say.to {
            To::Room(room) => chat::Recipient::Room(room),
            To::User(user) => chat::Recipient::User(user),
            To::Fd(fd) => chat::Recipient::Fd(Fd(*fd)),
            To::All => chat::Recipient::All,
            To::Rooms(_) | To::Users(_) => {
                return Err(Refusal::bad_request("to takes one receiver on a WebSocket"));
            }
        };
        let message = chat::NewMessage {
            from: say.from.as_deref(),
            id: say.id.as_deref(),
            keep: if say.store { Keep::Yes } else { Keep::No },
            except: &[],
            data: say.data,
        };
        self.as_actor(fd, |actor| {
            Ok(self
                .services
                .chat
                .say(post, self.now(), actor, to, &message)?)
        })
    }

    /// A back end that showed its key needs no login.
    fn as_actor<T>(
        &self,
        fd: Fd,
        run: impl FnOnce(Actor<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match self.key_of(fd) {
            Some(key) => run(Actor::Key(&key)),
            None => run(Actor::Connection(fd)),
        }
    }
}
