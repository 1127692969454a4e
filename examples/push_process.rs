//! Work and messages for processes of their own, which the server starts, restarts and ends.
//!
//! ```text
//! cargo run --release --example push_process
//! curl -d 'a long job' http://127.0.0.1:9502/task    answered when the task process has done it
//! websocat ws://127.0.0.1:9502/                      hears what the push process says
//! curl -d 'hello all' http://127.0.0.1:9502/send     passes a message to the push process
//! ```
//!
//! The task process may be killed at any time: what it hadn't finished is given to the next one.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tidings::server::process::{Incoming, Process, TaskId, TaskOutcome};
use tidings::server::{Request, Responder, Response, Server, ServerError, WorkerHandle};

/// Requests that wait for the result of their task.
type Waiting = Arc<Mutex<HashMap<TaskId, Responder>>>;

fn main() -> Result<(), ServerError> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let listen = std::env::args().nth(1);
    let waiting = Waiting::default();
    let finished = Arc::clone(&waiting);
    // The processes run main too, up to `run`: nothing that only the server should do stands here.
    Server::builder()
        .listen(listen.as_deref().unwrap_or("127.0.0.1:9502"))
        .on_start(|server| {
            for address in server.addresses() {
                println!("listening on http://{address}/");
                println!("try: curl -d 'a long job' http://{address}/task");
                println!("try: websocat ws://{address}/, then");
                println!("try: curl -d 'hello all' http://{address}/send");
            }
        })
        .on_request(move |server, request, responder| answer(server, request, responder, &waiting))
        .on_task(work)
        .on_finish(move |_, task, outcome| finish(task, outcome, &finished))
        .process("push", push)
        .on_pipe_message(|server, _, message| {
            server.broadcast(&*String::from_utf8_lossy(&message));
        })
        .run()?;
    Ok(())
}

fn answer(server: &WorkerHandle, request: Request, responder: Responder, waiting: &Waiting) {
    match (request.method(), request.path()) {
        ("POST", "/task") => {
            // Locked before the task is given: its result can't come before its responder is here.
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match server.task(request.body().clone()) {
                Ok(task) => drop(waiting.insert(task, responder)),
                Err(error) => responder.end(Response::text(format!("{error}\n")).with_status(503)),
            }
        }
        ("POST", "/send") => {
            let push = server
                .process("push")
                .expect("it is built with this process");
            responder.end(match push.send(request.body().clone()) {
                Ok(()) => Response::new(202),
                Err(error) => Response::text(format!("{error}\n")).with_status(503),
            });
        }
        _ => responder.end(Response::text("POST to /task or /send\n").with_status(404)),
    }
}

/// Runs in the task process, where it may take its time: here it spells backwards.
fn work(task: &[u8]) -> Vec<u8> {
    let backwards: String = String::from_utf8_lossy(task).chars().rev().collect();
    json!({ "backwards": backwards, "pid": std::process::id() })
        .to_string()
        .into()
}

/// Runs in the server, when the result of a task is here.
fn finish(task: TaskId, outcome: TaskOutcome, waiting: &Waiting) {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(responder) = waiting.remove(&task) {
        responder.end(match outcome {
            TaskOutcome::Done(result) => Response::json(result),
            TaskOutcome::Failed(why) => Response::text(format!("{why}\n")).with_status(500),
        });
    }
}

/// Is the push process: it says to all what the server tells it.
fn push(mut process: Process) -> io::Result<()> {
    while let Incoming::Message(message) = process.receive()? {
        let said = String::from_utf8_lossy(&message);
        process.send(format!("process {} says {said}", std::process::id()).as_bytes())?;
    }
    Ok(())
}
