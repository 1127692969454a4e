//! One request by HTTP. It is one of HTTP/1.0, so that its answer ends with the connection and never
//! comes in chunks, whatever stands in front of the server.

use std::io::{Read, Write};

use serde_json::Value;

use super::connection::connect;
use super::{ClientError, ServerAddress};

/// Largest answer that is read, in bytes: far more than the answer to one message has.
const ANSWER_SIZE_MAX: u64 = 1 << 20;

/// Fields of an answer's head at most; a server and the proxies before it send a dozen.
const FIELDS_MAX: usize = 100;

/// Posts JSON to a path of a server, and gives the object that it answers.
///
/// # Errors
///
/// No server answers, it refuses, or its answer is no object.
pub fn post(
    server: &ServerAddress,
    path: &str,
    bearer: Option<&str>,
    body: &Value,
) -> Result<Value, ClientError> {
    ask(server, ("POST", path), bearer, &body.to_string())
}

/// Gets the object that stands at a path of a server.
///
/// # Errors
///
/// No server answers, it refuses, or its answer is no object.
pub fn get(server: &ServerAddress, path: &str, bearer: Option<&str>) -> Result<Value, ClientError> {
    ask(server, ("GET", path), bearer, "")
}

fn ask(
    server: &ServerAddress,
    (method, path): (&str, &str),
    bearer: Option<&str>,
    body: &str,
) -> Result<Value, ClientError> {
    let authorization = match bearer {
        Some(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return Err(ClientError::Refused {
                code: "unauthorized".into(),
                message: "the key has characters that no header may have".into(),
                may_retry: false,
            });
        }
        Some(key) => format!("Authorization: Bearer {key}\r\n"),
        None => String::new(),
    };
    let request = format!(
        "{method} {} HTTP/1.0\r\nHost: {}\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.path(path),
        server.authority(),
        body.len()
    );
    let mut stream = connect(server)?;
    let mut answer = Vec::new();
    // A server that refuses by the head alone may close before it has read the body.
    let written = stream.write_all(request.as_bytes());
    let read = stream.take(ANSWER_SIZE_MAX).read_to_end(&mut answer);
    match written.and(read) {
        Err(error) if answer.is_empty() => Err(ClientError::Lost(error.into())),
        _ => read_answer(&answer),
    }
}

fn read_answer(answer: &[u8]) -> Result<Value, ClientError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let (status, body) = match (head.parse(answer), head.code) {
        (Ok(httparse::Status::Complete(size)), Some(status)) => (status, &answer[size..]),
        _ => return Err(ClientError::Foreign("the answer is no HTTP".into())),
    };
    let object = serde_json::from_slice::<Value>(body).ok();
    match object.filter(Value::is_object) {
        Some(object) if (200..300).contains(&status) => Ok(object),
        Some(object) => Err(refused(status, &object)),
        None if (200..300).contains(&status) => {
            Err(ClientError::Foreign("the answer is no JSON object".into()))
        }
        None => Err(ClientError::status(status)),
    }
}

/// The refusal in the body of an answer, `{"error":{"code":…,"message":…}}`.
pub(super) fn refused(status: u16, body: &Value) -> ClientError {
    let error = &body["error"];
    match (error["code"].as_str(), error["message"].as_str()) {
        (Some(code), Some(message)) => ClientError::Refused {
            code: code.to_owned(),
            message: message.to_owned(),
            may_retry: status == 429 || status >= 500,
        },
        _ => ClientError::status(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &str) -> String {
        match read_answer(answer.as_bytes()) {
            Ok(object) => object.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_answer_is_an_object_or_a_reason() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n{\"a\":1}", "{\"a\":1}"),
            (
                "HTTP/1.0 401 No\r\nA: b\r\n\r\n{\"error\":{\"code\":\"c\",\"message\":\"m\"}}",
                "c: m",
            ),
            (
                "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>",
                "status 502: the server refused",
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\n<html>",
                "the answer is no JSON object; is that a tidings server?",
            ),
            (
                "SSH-2.0-x\r\n",
                "the answer is no HTTP; is that a tidings server?",
            ),
        ] {
            assert_eq!(said(answer), expected, "{answer}");
        }
    }
}
