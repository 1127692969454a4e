//! `tidings listen`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, ClientFlags};
use crate::output::{ReaderGone, print, tell};

/// Pause before the first reconnect; each further one doubles the pause.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause between two attempts: a server that was away for long is found again soon enough,
/// and a thousand listeners don't storm it.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Print the messages of rooms and of a user
///
/// Reconnects by itself after the server was away, and goes on where it stopped.
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    #[command(flatten)]
    client: ClientFlags,
    /// Room to listen to; may be given several times
    #[arg(long = "room", default_value = "lobby")]
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

impl ListenArgs {
    pub(super) fn run(mut self) -> anyhow::Result<ExitCode> {
        self.client.uid.get_or_insert_with(super::who_am_i);
        let mut positions = HashMap::new();
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut pause = PAUSE_MIN;
        let mut was_connected = false;
        while left > 0 {
            let login = json!({ "rooms": self.rooms, "resume": positions });
            let result = Client::connect(&self.client, login).and_then(|(client, ok)| {
                (was_connected, pause) = (true, PAUSE_MIN);
                tell(format!("connected; listening to {}", self.rooms.join(", ")));
                note_positions(&ok, &mut positions);
                self.hear(client, &mut positions, &mut left)
            });
            match result {
                Ok(()) if left == 0 => break,
                Err(error) if error.is::<ReaderGone>() => return Err(error),
                // A connection that never worked needs another flag, not patience.
                Err(error) if self.once || !was_connected => return Err(error),
                Ok(()) if self.once => break,
                Ok(()) => tell("the server closed the connection; reconnecting".into()),
                Err(error) => tell(format!("{error:#}; reconnecting")),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn hear(
        &self,
        mut client: Client,
        positions: &mut HashMap<String, Value>,
        left: &mut u64,
    ) -> anyhow::Result<()> {
        client.set_timeout(None)?;
        while *left > 0 {
            let Some(frame) = client.next_frame()? else {
                return Ok(());
            };
            if frame["type"] == "msg" {
                *left -= 1;
                if let Some(channel) = frame["channel"].as_str() {
                    let position = json!({ "epoch": frame["epoch"], "offset": frame["offset"] });
                    positions.insert(channel.to_owned(), position);
                }
            }
            self.show(&frame)?;
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
            Some("gap") => format!("{} some messages are not kept any more", name("channel")),
            _ => return Ok(()),
        };
        print(line)
    }
}

/// Records the position of each channel, so that a reconnect misses nothing.
fn note_positions(ok: &Value, positions: &mut HashMap<String, Value>) {
    for (channel, info) in ok["channels"].as_object().into_iter().flatten() {
        let is_known = positions.contains_key(channel) && info["recovered"] == true;
        if !is_known && info["epoch"].is_string() {
            let position = json!({ "epoch": info["epoch"], "offset": info["offset"] });
            positions.insert(channel.clone(), position);
        }
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
