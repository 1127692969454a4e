//! `tidings listen`.

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, ClientFlags};

/// Pause before the first try to come back; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Show what is said in rooms, and what is sent to a user
///
/// Comes back by itself after the server was away, and goes on where it was.
#[derive(Debug, Args)]
pub(super) struct ListenFlags {
    #[command(flatten)]
    client: ClientFlags,
    /// Room to hear; may be given several times
    #[arg(long = "room", default_value = "lobby")]
    rooms: Vec<String>,
    /// Print each frame as a line of JSON, for scripts
    #[arg(long)]
    json: bool,
    /// End after so many messages
    #[arg(long)]
    count: Option<u64>,
    /// End instead of coming back when the connection is lost
    #[arg(long)]
    once: bool,
}

impl ListenFlags {
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
                eprintln!("connected; hearing {}", self.rooms.join(", "));
                note_positions(&ok, &mut positions);
                self.hear(client, &mut positions, &mut left)
            });
            match result {
                Ok(()) if left == 0 => break,
                // What never worked needs mending, not patience.
                Err(error) if self.once || !was_connected => return Err(error),
                Ok(()) if self.once => break,
                Ok(()) => eprintln!("the server closed the connection; coming back"),
                Err(error) => eprintln!("{error:#}; coming back"),
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

    fn show(&self, frame: &Value) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{frame}")?;
            return out.flush();
        }
        let name = |field: &str| frame[field].as_str().unwrap_or("?").to_owned();
        match frame["type"].as_str() {
            Some("msg") => {
                let text = frame["data"]["text"].as_str();
                let text = text.map_or_else(|| frame["data"].to_string(), str::to_owned);
                writeln!(
                    out,
                    "{} {}: {}",
                    name("channel"),
                    name("from"),
                    plain(&text)
                )?;
            }
            Some("joined") => writeln!(out, "{} {} is here", name("room"), name("uid"))?,
            Some("left") => writeln!(out, "{} {} is gone", name("room"), name("uid"))?,
            Some("gap") => writeln!(
                out,
                "{} some messages are not kept any more",
                name("channel")
            )?,
            _ => return Ok(()),
        }
        out.flush()
    }
}

/// Takes over where each channel stands, so that coming back misses nothing.
fn note_positions(ok: &Value, positions: &mut HashMap<String, Value>) {
    for (channel, info) in ok["channels"].as_object().into_iter().flatten() {
        let is_known = positions.contains_key(channel) && info["recovered"] == true;
        if !is_known && info["epoch"].is_string() {
            let position = json!({ "epoch": info["epoch"], "offset": info["offset"] });
            positions.insert(channel.clone(), position);
        }
    }
}

/// Somebody's text must not drive the terminal.
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
