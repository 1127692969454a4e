//! `tidings listen`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Error;
use clap::Args;
use serde_json::{Value, json};

use super::account::{Account, AccountFlags};
use crate::client::{Client, ClientError, Frame, Unreadable};
use crate::output::{print, tell};

/// Pause before the first reconnect; each further one doubles the pause.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause between two attempts: a server that was away for long is found again soon enough,
/// and a thousand listeners don't storm it.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Shortest pause after a server said that too much was asked of it.
const PATIENT_PAUSE_MIN: Duration = Duration::from_secs(5);

/// Time that a token of our own lasts; the next one is made at the reconnect after its end.
const TOKEN_TTL: Duration = Duration::from_secs(3_600);

/// Print the messages of rooms and of a user
///
/// Reconnects by itself after the server was away, and goes on where it stopped; ends with 1 when the
/// server refuses for good. To a server with keys: --config FILE with its settings, --token or
/// --api-key.
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    #[command(flatten)]
    account: AccountFlags,
    /// Room to listen to; may be given several times [default: the rooms that the token names, or
    /// else lobby]
    #[arg(long = "room")]
    rooms: Vec<String>,
    /// Print each frame as a line of JSON, for scripts
    #[arg(long)]
    json: bool,
    /// Stop after this many messages
    #[arg(long)]
    count: Option<u64>,
    /// Stop instead of reconnecting when the connection is lost
    #[arg(long)]
    once: bool,
}

/// Where a listener stands, whatever becomes of its connections.
struct Progress {
    /// The last position of each channel.
    positions: HashMap<String, Value>,
    /// Messages until the end.
    left: u64,
    was_connected: bool,
    pause: Duration,
}

/// How listening ends.
enum Ending {
    /// As the server or the network has it.
    Connection(ClientError),
    /// This program can't go on.
    Own(Error),
}

impl From<ClientError> for Ending {
    fn from(error: ClientError) -> Self {
        Self::Connection(error)
    }
}

impl From<Error> for Ending {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl ListenArgs {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        let account = self.account.account()?;
        if self.rooms.is_empty() {
            self.rooms = account.usual_rooms();
        }
        let mut progress = Progress {
            positions: HashMap::new(),
            left: self.count.unwrap_or(u64::MAX),
            was_connected: false,
            pause: PAUSE_MIN,
        };
        while progress.left > 0 {
            match self.listen(&account, &mut progress) {
                Ok(()) => break,
                Err(Ending::Own(error)) => return Err(error),
                // A connection that never worked needs another flag, not patience.
                Err(Ending::Connection(error))
                    if !progress.was_connected || error.is_final(account.can_renew()) =>
                {
                    return Err(account.explain(error));
                }
                Err(Ending::Connection(error)) if self.once && error.is_usual_end() => break,
                Err(Ending::Connection(error)) if self.once => return Err(error.into()),
                Err(Ending::Connection(error)) => progress.wait_after(error),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Listens on one connection, until enough messages have come or the connection ends.
    fn listen(&self, account: &Account, progress: &mut Progress) -> Result<(), Ending> {
        let (api_key, mut login) = account.login(&self.rooms, TOKEN_TTL)?;
        login["rooms"] = json!(self.rooms);
        login["resume"] = json!(progress.positions);
        let (mut client, ok) = Client::connect(&account.server, api_key.as_deref(), login)?;
        (progress.was_connected, progress.pause) = (true, PAUSE_MIN);
        match &*self.rooms {
            [] => tell("connected; listening to private messages".into()),
            rooms => tell(format!("connected; listening to {}", rooms.join(", "))),
        }
        progress.note_channels(&ok);
        client.wait_long()?;
        while progress.left > 0 {
            match client.next_frame()? {
                Frame::Object(frame) => {
                    progress.note_message(&frame);
                    self.show(&frame)?;
                }
                Frame::Unreadable(what) => progress.step_over(what),
            }
        }
        client.close();
        Ok(())
    }

    /// Prints a frame, or nothing for one that people don't care about.
    fn show(&self, frame: &Value) -> anyhow::Result<()> {
        if self.json {
            return print(frame);
        }
        let name = |field: &str| frame[field].as_str().unwrap_or("?").to_owned();
        let line = match frame["type"].as_str() {
            Some("msg") => {
                let text = frame["data"]["text"].as_str();
                let text = text.map_or_else(|| frame["data"].to_string(), str::to_owned);
                format!("{} {}: {}", name("channel"), name("from"), plain(&text))
            }
            Some("joined") => format!("{} {} is here", name("room"), name("uid")),
            Some("left") => format!("{} {} is gone", name("room"), name("uid")),
            Some("gap") => format!("{} some messages are missing", name("channel")),
            _ => return Ok(()),
        };
        print(line)
    }
}

impl Progress {
    /// Records the position of each channel, so that a reconnect misses nothing.
    fn note_channels(&mut self, ok: &Value) {
        for (channel, info) in ok["channels"].as_object().into_iter().flatten() {
            let is_known = self.positions.contains_key(channel) && info["recovered"] == true;
            if !is_known && info["epoch"].is_string() {
                let position = json!({ "epoch": info["epoch"], "offset": info["offset"] });
                self.positions.insert(channel.clone(), position);
            }
        }
    }

    fn note_message(&mut self, frame: &Value) {
        if frame["type"] != "msg" {
            return;
        }
        self.left -= 1;
        let (channel, epoch) = (frame["channel"].as_str(), frame["epoch"].as_str());
        // Without an epoch nothing is kept that could be resumed.
        if let (Some(channel), Some(epoch)) = (channel, epoch) {
            let position = json!({ "epoch": epoch, "offset": frame["offset"] });
            self.positions.insert(channel.to_owned(), position);
        }
    }

    /// Goes on behind a message that can't be read here, so that no reconnect meets it again.
    fn step_over(&mut self, what: Unreadable) {
        let (Some(channel), Some(epoch), Some(offset)) = (what.channel, what.epoch, what.offset)
        else {
            return tell("the server sent something that can't be read here".into());
        };
        tell(format!(
            "{} message {offset} can't be read here",
            plain(&channel)
        ));
        let position = json!({ "epoch": epoch, "offset": offset });
        self.positions.insert(channel, position);
    }

    /// Waits until the next attempt.
    fn wait_after(&mut self, error: ClientError) {
        if error.wants_patience() {
            self.pause = self.pause.max(PATIENT_PAUSE_MIN);
        }
        tell(format!("{:#}; reconnecting", Error::new(error)));
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// Replaces control characters: another user's text must not drive the terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
