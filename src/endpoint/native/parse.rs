//! Reads a text frame: one command, or an array of them.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::command::{LoginFields, NativeCommand, Positions, ResumeFrom, SequencedCommand};
use crate::api::body::{object, unknown_field};
use crate::api::field::{self, missing, raw_fields};
use crate::api::posting::{RawPosting, Several};
use crate::api::raw_json::RawJson;
use crate::api::refusal::Refusal;
use crate::endpoint::store_task::SEQ_DIGITS_MAX;

/// Commands in one frame: what a client queued while it was offline, without holding up its worker.
pub const COMMANDS_A_FRAME_MAX: usize = 64;

/// Rooms that one login may join: each is a subscription, and its answer lists them all.
const ROOMS_A_LOGIN_MAX: usize = 100;

/// Users that one `online` may ask for: each is a look into another shard.
const USERS_A_QUESTION_MAX: usize = 100;

/// Reads a frame: one command, or an array of them.
///
/// # Errors
///
/// The frame is no JSON object or array, or holds too many commands.
pub(super) fn commands(frame: &str) -> Result<Vec<SequencedCommand<'_>>, Refusal> {
    if frame.trim_start().starts_with('[') {
        let all: Vec<RawJson<'_>> = serde_json::from_str(frame).map_err(|_| not_json())?;
        if all.len() > COMMANDS_A_FRAME_MAX {
            return Err(Refusal::bad_request(format!(
                "{} commands in one frame, but at most {COMMANDS_A_FRAME_MAX} are taken",
                all.len()
            )));
        }
        return Ok(all.into_iter().map(|one| command(one.get())).collect());
    }
    if !frame.trim_start().starts_with('{') {
        return Err(not_json());
    }
    Ok(vec![command(frame)])
}

fn not_json() -> Refusal {
    Refusal::bad_request("a frame has to be one JSON object, or an array of them")
}

raw_fields! {
    /// Every field that any command has, unread; commands pass over those that they don't know.
    CommandFields {
        kind = "type",
        seq = "seq",
        uid = "uid",
        token = "token",
        rooms = "rooms",
        resume = "resume",
        room = "room",
        to = "to",
        data = "data",
        id = "id",
        store = "store",
        from = "from",
        channel = "channel",
        offset = "offset",
        after = "after",
        before = "before",
        limit = "limit",
        users = "users",
    }
}

/// The number of a command whose other fields can't be read.
#[derive(Deserialize)]
struct SeqField<'a> {
    #[serde(borrow)]
    seq: Option<RawJson<'a>>,
}

/// Reads one command; the number is read wherever it can be, so that the refusal carries it.
fn command(text: &str) -> SequencedCommand<'_> {
    let (raw_seq, command) = match CommandFields::read("a command", text) {
        Ok(fields) => (fields.seq, fields.command()),
        Err(refusal) => {
            let fields = object::<SeqField<'_>>("a command", text);
            (fields.ok().and_then(|fields| fields.seq), Err(refusal))
        }
    };
    match raw_seq.map(RawJson::get).filter(|seq| *seq != "null") {
        Some(seq)
            if seq.len() > SEQ_DIGITS_MAX || !seq.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            let message = "seq has to be a whole number from 0 on";
            SequencedCommand {
                seq: None,
                command: Err(Refusal::bad_request(message)),
            }
        }
        seq => SequencedCommand { seq, command },
    }
}

impl<'a> CommandFields<'a> {
    fn command(&self) -> Result<NativeCommand<'a>, Refusal> {
        let kind = field::required_text("type", self.kind)?;
        Ok(match &*kind {
            "login" => NativeCommand::Login(self.login()?),
            "join" => NativeCommand::Join {
                room: self.room()?,
                resume: field::present(self.resume)
                    .map(|value| resume("resume", value))
                    .transpose()?,
            },
            "leave" => NativeCommand::Leave { room: self.room()? },
            "say" => {
                if let Some(name) = self.unknown_to_say() {
                    let known = "type, seq, to, data, id, store, from";
                    return Err(unknown_field("say", name, known));
                }
                let raw = RawPosting {
                    to: self.to,
                    data: self.data,
                    from: self.from,
                    id: self.id,
                    store: self.store,
                };
                NativeCommand::Say(raw.read(Several::Refused)?)
            }
            "ack" => NativeCommand::Ack {
                channel: field::required_text("channel", self.channel)?,
                offset: field::number("offset", self.offset)?
                    .ok_or_else(|| missing("offset", "a whole number"))?,
            },
            "history" => NativeCommand::History {
                channel: field::required_text("channel", self.channel)?,
                after: field::number("after", self.after)?,
                before: field::number("before", self.before)?,
                limit: field::number("limit", self.limit)?,
            },
            "who" => NativeCommand::Who { room: self.room()? },
            "online" => NativeCommand::Online {
                users: field::users("users", self.users, USERS_A_QUESTION_MAX)?
                    .ok_or_else(|| missing("users", "an array of users"))?,
            },
            _ => {
                return Err(Refusal::bad_request(
                    "type has to be login, join, leave, say, ack, history, who or online",
                ));
            }
        })
    }

    fn room(&self) -> Result<Cow<'a, str>, Refusal> {
        field::required_text("room", self.room)
    }

    fn login(&self) -> Result<LoginFields<'a>, Refusal> {
        Ok(LoginFields {
            uid: field::text_or_digits("uid", self.uid)?,
            token: field::text("token", self.token)?,
            rooms: field::texts("rooms", self.rooms, ROOMS_A_LOGIN_MAX)?.unwrap_or_default(),
            resume: positions(self.resume)?,
        })
    }

    /// A field that `say` doesn't have. It could say who must not get the message, or how long the
    /// message counts, so `say` doesn't pass over it.
    fn unknown_to_say(&self) -> Option<&str> {
        let others = [
            ("uid", self.uid),
            ("token", self.token),
            ("rooms", self.rooms),
            ("resume", self.resume),
            ("room", self.room),
            ("channel", self.channel),
            ("offset", self.offset),
            ("after", self.after),
            ("before", self.before),
            ("limit", self.limit),
            ("users", self.users),
        ];
        let other = others.iter().find(|(_, value)| value.is_some());
        self.unknown.as_deref().or(other.map(|(name, _)| *name))
    }
}

#[derive(PartialEq, Eq, Hash, Deserialize)]
struct ChannelName<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct PositionFields<'a> {
    #[serde(borrow)]
    epoch: Option<RawJson<'a>>,
    #[serde(borrow)]
    offset: Option<RawJson<'a>>,
}

/// Reads the places by channel from which a login goes on.
fn positions<'a>(value: Option<RawJson<'a>>) -> Result<Positions<'a>, Refusal> {
    let positions: HashMap<ChannelName<'a>, RawJson<'a>> = match field::present(value) {
        Some(value) => field::object("resume", value, "an object of positions by channel")?,
        None => HashMap::new(),
    };
    if positions.len() > ROOMS_A_LOGIN_MAX {
        return Err(Refusal::bad_request(format!(
            "resume names {} channels, but at most {ROOMS_A_LOGIN_MAX} are taken",
            positions.len()
        )));
    }
    let resumed = positions.into_iter().map(|(ChannelName(channel), value)| {
        let position = resume("resume", value)?;
        Ok((channel, position))
    });
    resumed.collect()
}

/// Reads the same from a query, whose text may not outlive this.
///
/// # Errors
///
/// The refusal says what is wrong.
pub(in crate::endpoint) fn positions_of_query(text: &str) -> Result<Positions<'static>, Refusal> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| {
        Refusal::bad_request(format!("resume in the query is no JSON: {error}"))
    })?;
    let positions = positions(Some(value.into()))?.into_iter();
    let owned = positions.map(|(channel, from)| {
        let from = match from {
            ResumeFrom::Acked => ResumeFrom::Acked,
            ResumeFrom::After { epoch, offset } => ResumeFrom::After {
                epoch: epoch.into_owned().into(),
                offset,
            },
        };
        (channel.into_owned().into(), from)
    });
    Ok(owned.collect())
}

fn resume<'a>(name: &str, value: RawJson<'a>) -> Result<ResumeFrom<'a>, Refusal> {
    if value.get() == r#""acked""# {
        return Ok(ResumeFrom::Acked);
    }
    let what = r#""acked", or an object of epoch and offset"#;
    let position: PositionFields<'a> = field::object(name, value, what)?;
    let offset = field::number("resume.offset", position.offset)?
        .ok_or_else(|| missing("resume.offset", "a whole number"))?;
    let epoch = match field::text("resume.epoch", position.epoch)? {
        Some(epoch) => epoch,
        // Everything that is kept needs no epoch.
        None if offset == 0 => Cow::Borrowed(""),
        None => return Err(missing("resume.epoch", "a string")),
    };
    Ok(ResumeFrom::After { epoch, offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::posting::To;
    use crate::chat::Keep;

    fn one(frame: &str) -> Result<NativeCommand<'_>, String> {
        let mut all = commands(frame).map_err(|refusal| refusal.message.into_owned())?;
        assert_eq!(all.len(), 1);
        all.remove(0)
            .command
            .map_err(|refusal| refusal.message.into_owned())
    }

    #[test]
    fn every_command_is_read() {
        let login = one(
            r#"{"type":"login","seq":1,"uid":7,"rooms":["a"],"resume":{"a":{"epoch":"e","offset":4},"@7":"acked"}}"#,
        );
        let Ok(NativeCommand::Login(login)) = login else {
            panic!("{login:?}")
        };
        assert_eq!((login.uid.as_deref(), login.rooms.len()), (Some("7"), 1));
        assert_eq!(login.resume["@7"], ResumeFrom::Acked);
        assert_eq!(
            login.resume["a"],
            ResumeFrom::After {
                epoch: "e".into(),
                offset: 4
            }
        );
        assert_eq!(
            one(r#"{"type":"join","room":"a","resume":{"offset":0}}"#),
            Ok(NativeCommand::Join {
                room: "a".into(),
                resume: Some(ResumeFrom::After {
                    epoch: "".into(),
                    offset: 0
                })
            })
        );
        assert_eq!(
            one(r#"{"type":"leave","room":"a"}"#),
            Ok(NativeCommand::Leave { room: "a".into() })
        );
        assert_eq!(
            one(r#"{"type":"who","room":"a"}"#),
            Ok(NativeCommand::Who { room: "a".into() })
        );
        assert_eq!(
            one(r#"{"type":"ack","channel":"a","offset":9}"#),
            Ok(NativeCommand::Ack {
                channel: "a".into(),
                offset: 9
            })
        );
        assert_eq!(
            one(r#"{"type":"history","channel":"a","after":1,"limit":2}"#),
            Ok(NativeCommand::History {
                channel: "a".into(),
                after: Some(1),
                before: None,
                limit: Some(2)
            })
        );
        assert_eq!(
            one(r#"{"type":"online","users":["ann"]}"#),
            Ok(NativeCommand::Online {
                users: vec!["ann".into()]
            })
        );
    }

    #[test]
    fn data_travels_byte_for_byte() {
        let data = r#"{ "a" : [1.0, 1e2, "\u00e4"],"a":2 }"#;
        let frame = format!(r#"{{"type":"say","to":{{"all":true}},"data":{data},"store":false}}"#);
        let Ok(NativeCommand::Say(say)) = one(&frame) else {
            panic!()
        };
        assert_eq!((say.message.data, say.to), (data, To::All));
        assert_eq!(say.message.keep, Keep::No);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (frame, message) in [
            (
                "1",
                "a frame has to be one JSON object, or an array of them",
            ),
            (r#"{"seq":1}"#, "type is missing; it has to be a string"),
            (
                r#"{"type":"fly"}"#,
                "type has to be login, join, leave, say, ack, history, who or online",
            ),
            (
                r#"{"type":"join"}"#,
                "room is missing; it has to be a string",
            ),
            (r#"{"type":"join","room":5}"#, "room has to be a string"),
            (
                r#"{"type":"say","data":1}"#,
                r#"to is missing; it has to be an object such as {"room":"lobby"}"#,
            ),
            (
                r#"{"type":"say","to":{"room":"a"}}"#,
                "data is missing; it has to be any JSON",
            ),
            (
                r#"{"type":"say","to":{"room":"a","fd":1},"data":1}"#,
                "to has to be an object with one of room, user, fd, all",
            ),
            (
                r#"{"type":"say","to":{"rooms":["a"]},"data":1}"#,
                "to has to be an object with one of room, user, fd, all",
            ),
            (
                r#"{"type":"say","to":{"all":false},"data":1}"#,
                "to has to be an object with one of room, user, fd, all",
            ),
            (
                r#"{"type":"join","room":"a","resume":{"offset":4}}"#,
                "resume.epoch is missing; it has to be a string",
            ),
            (
                r#"{"type":"who","seq":-1,"room":"a"}"#,
                "seq has to be a whole number from 0 on",
            ),
        ] {
            assert_eq!(one(frame), Err(message.to_owned()), "{frame}");
        }
    }

    #[test]
    fn a_message_takes_no_field_that_it_does_not_know_and_other_commands_pass_over_it() {
        let say = |field: &str| format!(r#"{{"type":"say","to":{{"room":"a"}},"data":1,{field}}}"#);
        for (field, name) in [
            (r#""except":[1]"#, "except"),
            (r#""room":"a""#, "room"),
            (r#""stroe":false"#, "stroe"),
            (r#""x":1,"limit":2"#, "x"),
            (r#""\u0078":[[[]]]"#, "x"),
        ] {
            let known = "type, seq, to, data, id, store, from";
            let message = format!("say has {name:?}, but takes only {known}");
            assert_eq!(one(&say(field)), Err(message), "{field}");
        }
        assert!(one(&say(r#""from":null,"id":null,"store":null"#)).is_ok());
        let who = one(r#"{"type":"who","room":"a","x":{"y":[1e999]},"limit":1}"#);
        assert_eq!(who, Ok(NativeCommand::Who { room: "a".into() }));
        let login = one(r#"{"type":"login","uid":"a","resume":null,"rooms":null}"#);
        assert!(login.is_ok(), "{login:?}");
    }

    #[test]
    fn a_command_that_cannot_be_read_keeps_its_number_and_the_others_theirs() {
        let frame = r#"[{"type":"who","seq":1,"room":"a"},5,["who",9],{"type":"who","type":"who","seq":2},{"seq":3,"seq":4},{"type":"who","seq":"x"},{"type":"who","seq":5,"room":"a"}]"#;
        let read: Vec<_> = commands(frame)
            .unwrap()
            .into_iter()
            .map(|one| {
                let message = one.command.err().map(|refusal| refusal.message);
                (one.seq, message.unwrap_or_default().into_owned())
            })
            .collect();
        let read: Vec<_> = (read.iter().map(|(seq, message)| (*seq, &**message))).collect();
        assert_eq!(
            read,
            [
                (Some("1"), ""),
                (None, "a command has to be a JSON object"),
                (None, "a command has to be a JSON object"),
                (Some("2"), "a command has type twice"),
                (None, "a command has seq twice"),
                (None, "seq has to be a whole number from 0 on"),
                (Some("5"), ""),
            ]
        );
    }

    #[test]
    fn an_array_holds_up_to_64_commands() {
        let who = r#"{"type":"who","room":"a","seq":3}"#;
        let frame = format!("[{}]", vec![who; 64].join(","));
        assert_eq!(commands(&frame).unwrap().len(), 64);
        let frame = format!(" [{}]", vec![who; 65].join(","));
        assert!(commands(&frame).is_err());
    }
}
