//! A client of the native protocol for the command line: one WebSocket, commands and answers.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::auth::redacted;

/// Longest wait for an answer: a server that is alive needs milliseconds, and a person at a terminal
/// gives up soon.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The server to connect to, and the identity to use.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientFlags {
    /// The server's WebSocket
    #[arg(long, default_value = "ws://127.0.0.1:9502/ws", env = "TIDINGS_URL")]
    pub url: String,
    /// User to be
    #[arg(long, env = "TIDINGS_UID")]
    pub uid: Option<String>,
    /// Token of that user, as `tidings token` makes it; better in TIDINGS_TOKEN, since others on this
    /// machine can see a flag until the program runs
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// API key of a back end, instead of a token; better in TIDINGS_API_KEY
    #[arg(long, env = "TIDINGS_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
}

/// A connection that is logged in.
pub struct Client {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    seq: u64,
}

impl Client {
    /// Connects and logs in; `login` may name rooms and positions to resume from.
    ///
    /// # Errors
    ///
    /// No server answers, it isn't tidings, or it refuses; the error says what to mend.
    pub fn connect(flags: &ClientFlags, login: Value) -> Result<(Self, Value)> {
        let mut request = flags
            .url
            .as_str()
            .into_client_request()
            .context("--url is no URL")?;
        if let Some(key) = &flags.api_key {
            let value = HeaderValue::from_str(&format!("Bearer {key}"))
                .context("--api-key has characters that no header may have")?;
            request.headers_mut().insert("Authorization", value);
        }
        let (socket, _) = tungstenite::connect(request).with_context(|| {
            format!(
                "can't connect to {}; is `tidings serve` running?",
                redacted(&flags.url)
            )
        })?;
        let mut client = Self { socket, seq: 0 };
        client.set_timeout(Some(ANSWER_MAX))?;
        let mut command = json!({ "type": "login", "uid": flags.uid, "token": flags.token });
        if let (Some(command), Value::Object(login)) = (command.as_object_mut(), login) {
            command.extend(login);
        }
        let ok = client.ask(command)?;
        Ok((client, ok))
    }

    /// Sends a command and waits for its answer; other frames that arrive meanwhile are dropped.
    ///
    /// # Errors
    ///
    /// The server refused the command, or is gone.
    pub fn ask(&mut self, mut command: Value) -> Result<Value> {
        self.seq += 1;
        command["seq"] = self.seq.into();
        self.socket.send(Message::text(command.to_string()))?;
        loop {
            let Some(frame) = self.next_frame()? else {
                bail!("the server closed the connection")
            };
            if frame["seq"] != json!(self.seq) {
                continue;
            }
            if frame["type"] == "err" {
                let message = frame["message"].as_str().unwrap_or_default();
                bail!("{}: {message}", frame["code"].as_str().unwrap_or_default());
            }
            return Ok(frame);
        }
    }

    /// Waits for the server's next frame; `None` when the server closed the connection normally.
    ///
    /// # Errors
    ///
    /// The connection failed, or a frame is no JSON.
    pub fn next_frame(&mut self) -> Result<Option<Value>> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame = serde_json::from_str(&text);
                    return frame
                        .map(Some)
                        .context("the server sent something that is no JSON");
                }
                Ok(Message::Close(Some(close))) if u16::from(close.code) >= 4000 => {
                    return Err(anyhow!("closed with {}: {}", close.code, close.reason));
                }
                Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => {
                    return Ok(None);
                }
                Ok(_) => {}
                Err(error) => return Err(error).context("the connection was lost"),
            }
        }
    }

    /// Sets how long a read waits for a frame; `None` waits without end.
    ///
    /// # Errors
    ///
    /// The socket takes no deadline.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<()> {
        if let MaybeTlsStream::Plain(stream) = self.socket.get_ref() {
            stream.set_read_timeout(timeout)?;
        }
        Ok(())
    }

    /// Closes the connection with a handshake.
    pub fn close(mut self) {
        // The server may be gone already; there is nothing left to say then.
        if self.socket.close(None).is_ok() {
            while self.socket.read().is_ok() {}
        }
    }
}
