//! `tidings send`.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, ClientFlags};
use crate::output::print;

/// Send one message to a room, a user or everyone
///
/// Prints the message's position, and ends with 0 once the server has taken the message.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    client: ClientFlags,
    /// Room to send to
    #[arg(long, conflicts_with_all = ["user", "all"])]
    room: Option<String>,
    /// User to send to
    #[arg(long, conflicts_with = "all")]
    user: Option<String>,
    /// Send to everyone who is logged in (needs an API key)
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
        self.client.uid.get_or_insert_with(super::who_am_i);
        let rooms: Vec<&String> = self.room.iter().collect();
        let (mut client, _) = Client::connect(&self.client, json!({ "rooms": rooms }))?;
        let mut say = json!({ "type": "say", "to": to, "data": data });
        if let Some(id) = &self.id {
            say["id"] = json!(id);
        }
        let ok = client.ask(say)?;
        let printed = print(ok);
        client.close();
        printed?;
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
