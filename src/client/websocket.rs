//! A WebSocket of the native protocol: commands and answers, then frames as they come.

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use super::connection::{ANSWER_MAX, Connection, connect};
use super::http::refused;
use super::{ClientError, Frame, ServerAddress};

/// A connection that is logged in.
#[derive(Debug)]
pub struct Client {
    socket: WebSocket<Connection>,
    seq: u64,
}

impl Client {
    /// Connects and logs in with the fields of `login`; `api_key` is shown in the handshake.
    ///
    /// # Errors
    ///
    /// No server answers, it isn't tidings, or it refuses.
    pub fn connect(
        server: &ServerAddress,
        api_key: Option<&str>,
        login: Value,
    ) -> Result<(Self, Value), ClientError> {
        let url = format!("ws://{}{}", server.authority(), server.path("/ws"));
        let no_url = |error: Error| ClientError::Foreign(error.to_string());
        let mut request = url.into_client_request().map_err(no_url)?;
        if let Some(key) = api_key {
            let value = HeaderValue::from_str(&format!("Bearer {key}"));
            let value = value.map_err(|error| ClientError::Foreign(error.to_string()))?;
            request.headers_mut().insert("Authorization", value);
        }
        let (socket, _) =
            tungstenite::client(request, connect(server)?).map_err(|error| match error {
                HandshakeError::Failure(Error::Http(answer)) => {
                    let body = answer.body().as_deref().unwrap_or_default();
                    let body = serde_json::from_slice(body).unwrap_or_default();
                    refused(answer.status().as_u16(), &body)
                }
                HandshakeError::Failure(Error::Io(error)) => ClientError::Lost(error.into()),
                HandshakeError::Failure(error) => ClientError::Foreign(error.to_string()),
                HandshakeError::Interrupted(_) => {
                    ClientError::Lost("no answer to the handshake".into())
                }
            })?;
        let mut client = Self { socket, seq: 0 };
        let mut command = json!({ "type": "login" });
        if let (Some(command), Value::Object(login)) = (command.as_object_mut(), login) {
            command.extend(login);
        }
        let ok = client.ask(command)?;
        Ok((client, ok))
    }

    /// Sends a command and waits for its answer; other frames that arrive meanwhile are dropped.
    fn ask(&mut self, mut command: Value) -> Result<Value, ClientError> {
        self.seq += 1;
        command["seq"] = self.seq.into();
        let sent = self.socket.send(Message::text(command.to_string()));
        // The server may have closed before it read the command, and said why.
        if let Err(error) = sent {
            return Err(match self.next_frame() {
                Err(closed @ ClientError::Closed { .. }) => closed,
                _ => ClientError::Lost(error.into()),
            });
        }
        loop {
            let Frame::Object(frame) = self.next_frame()? else {
                continue;
            };
            if frame["seq"] != json!(self.seq) {
                continue;
            }
            if frame["type"] == "err" {
                let text = |field: &str| frame[field].as_str().unwrap_or_default().to_owned();
                return Err(ClientError::Refused {
                    code: text("code"),
                    message: text("message"),
                    may_retry: frame["retry"] == true,
                });
            }
            return Ok(frame);
        }
    }

    /// Waits for the server's next frame.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn next_frame(&mut self) -> Result<Frame, ClientError> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Frame::read(&text)),
                Ok(Message::Close(close)) => {
                    let (code, reason) = close
                        .map_or((CloseCode::Status, String::new()), |close| {
                            (close.code, close.reason.to_string())
                        });
                    let code = code.into();
                    return Err(ClientError::Closed { code, reason });
                }
                Ok(_) => {}
                Err(error) => return Err(ClientError::Lost(error.into())),
            }
        }
    }

    /// Waits for frames without end from now on.
    ///
    /// # Errors
    ///
    /// The socket doesn't take that.
    pub fn wait_long(&mut self) -> Result<(), ClientError> {
        let set = self.socket.get_ref().socket().wait_for(None);
        set.map_err(|error| ClientError::Lost(error.into()))
    }

    /// Closes the connection with a handshake.
    pub fn close(mut self) {
        // The server may be gone already; there is nothing left to say then.
        _ = self.socket.get_ref().socket().wait_for(Some(ANSWER_MAX));
        if self.socket.close(None).is_ok() {
            while self.socket.read().is_ok() {}
        }
        self.socket.get_mut().end();
    }
}
