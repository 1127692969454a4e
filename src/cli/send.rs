//! `tidings send`.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::account::AccountFlags;
use crate::client::post;
use crate::output::print;

/// Time that a token of our own lasts: one request, and clocks that differ a little.
const TOKEN_TTL: Duration = Duration::from_secs(60);

/// Send one message to a room, a user or everyone
///
/// Prints the message's position, and ends with 0 once the server has taken the message. The message
/// is posted by HTTP, so that the sender joins no room and nobody sees the sender come and go. To a
/// server with keys: --config FILE with its settings, --token or --api-key.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    account: AccountFlags,
    /// Room to send to
    #[arg(long, conflicts_with_all = ["user", "all"])]
    room: Option<String>,
    /// User to send to
    #[arg(long, conflicts_with = "all")]
    user: Option<String>,
    /// Send to everyone who is logged in (with a token that isn't allowed)
    #[arg(long)]
    all: bool,
    /// JSON to send instead of a text
    #[arg(long, conflicts_with = "text")]
    data: Option<String>,
    /// Id of the message: the server takes the same id only once within 5 minutes
    #[arg(long)]
    id: Option<String>,
    /// The text; `-` reads it from standard input
    text: Option<String>,
}

impl SendArgs {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        let data = self.message()?;
        let to = match (&self.room, &self.user) {
            (Some(room), _) => json!({ "room": room }),
            (None, Some(user)) => json!({ "user": user }),
            (None, None) if self.all => json!({ "all": true }),
            (None, None) => bail!("say to whom: --room, --user or --all"),
        };
        let account = self.account.account()?;
        let mut message = json!({ "to": to, "data": data });
        for (field, value) in [("from", account.from()), ("id", self.id.as_deref())] {
            if let Some(value) = value {
                message[field] = value.into();
            }
        }
        let rooms: Vec<String> = self.room.into_iter().collect();
        let bearer = account.bearer(&rooms, TOKEN_TTL)?;
        let answer = post(&account.server, "/v1/messages", bearer.as_deref(), &message);
        let answer = answer.map_err(|error| account.explain(error))?;
        print(&answer["results"][0])?;
        Ok(ExitCode::SUCCESS)
    }

    fn message(&mut self) -> anyhow::Result<Value> {
        if let Some(data) = &self.data {
            return serde_json::from_str(data).context("--data is no JSON");
        }
        let text = match self.text.take() {
            Some(text) if text == "-" => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context("can't read standard input")?;
                text
            }
            Some(text) => text,
            None => bail!("nothing to send: give a text, `-` for standard input, or --data JSON"),
        };
        Ok(json!({ "text": text.trim_end_matches('\n') }))
    }
}
