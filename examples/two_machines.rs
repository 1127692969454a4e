//! Two machines: here messages come in by HTTP; a server elsewhere pushes them to its clients. A
//! process of its own holds the WebSocket between the two.
//!
//! ```text
//! tidings serve --listen 127.0.0.1:9502                on the one; open http://127.0.0.1:9502/
//! cargo run --release --example two_machines           on the other
//! curl -d 'hello' http://127.0.0.1:9501/send           is taken here, and shown there
//! ```
//!
//! The process may be killed, and the server may be away: what was taken is sent until somebody
//! there says that it arrived. It is kept in memory, though, and ends with this program; `tidings
//! gateway` has an outbox on disk.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::server::process::{Incoming, Process, TaskId};
use tidings::server::{Request, Responder, Response, Server, ServerError, WorkerHandle};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Error, Message, WebSocket};

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// Longest wait for the server's answer, before it counts as gone.
const ANSWER_MAX: Duration = Duration::from_secs(5);

fn main() -> Result<(), ServerError> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or("127.0.0.1:9501".into());
    let upstream = arguments.next();
    let upstream = upstream.unwrap_or("ws://127.0.0.1:9502/ws?uid=gateway&room=lobby".into());
    // The push process runs main too, up to `run`: nothing that only the server should do stands here.
    Server::builder()
        .listen(listen)
        .on_start(|server| {
            for address in server.addresses() {
                println!("listening on http://{address}/");
                println!("try: curl -d hello http://{address}/send");
            }
        })
        .on_request(take)
        .process("push", move |process| push(process, &upstream))
        .run()?;
    Ok(())
}

/// Gives a message to the push process, which keeps it until it was sent.
fn take(server: &WorkerHandle, request: Request, responder: Responder) {
    if (request.method(), request.path()) != ("POST", "/send") {
        return responder.end(Response::text("POST to /send\n").with_status(404));
    }
    let push = server
        .process("push")
        .expect("it is built with this process");
    responder.end(match push.task(request.body().clone()) {
        Ok(_) => Response::new(202),
        Err(error) => Response::text(format!("{error}\n")).with_status(503),
    });
}

/// Is the push process: sends each message until the server has answered, then takes the next one.
fn push(mut process: Process, upstream: &str) -> io::Result<()> {
    let mut socket = None;
    while let Incoming::Task { id, payload } = process.receive()? {
        let text = String::from_utf8_lossy(&payload);
        while let Err(error) = say(&mut socket, upstream, id, &text) {
            eprintln!("{upstream}: {error}; once more in a second");
            socket = None;
            std::thread::sleep(Duration::from_secs(1));
        }
        process.finish(id, b"")?;
    }
    Ok(())
}

/// Says a message in the lobby, and waits for the answer to it.
fn say(
    socket: &mut Option<Socket>,
    upstream: &str,
    TaskId(task): TaskId,
    text: &str,
) -> Result<(), Error> {
    let socket = match socket {
        Some(socket) => socket,
        none => none.insert(connect(upstream)?),
    };
    // The server takes an id once: a message whose answer was lost doesn't appear again.
    let id = format!("{}-{task}", std::os::unix::process::parent_id());
    let (to, data) = (json!({ "room": "lobby" }), json!({ "text": text }));
    let say = json!({ "type": "say", "seq": 1, "to": to, "id": id, "data": data });
    socket.send(Message::text(say.to_string()))?;
    loop {
        let Message::Text(frame) = socket.read()? else {
            continue;
        };
        let answer: Value = serde_json::from_str(&frame).unwrap_or_default();
        if answer["seq"] == 1 {
            // A refusal won't become better by sending again.
            println!("{text:?}: {}", answer["type"]);
            return Ok(());
        }
    }
}

fn connect(upstream: &str) -> Result<Socket, Error> {
    let (socket, _) = tungstenite::connect(upstream)?;
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(ANSWER_MAX))?;
    }
    println!("process {} is connected to {upstream}", std::process::id());
    Ok(socket)
}
