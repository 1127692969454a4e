//! The server's end of the control socket: a few clients at a time, each on a thread of its own.
//!
//! Nothing here can hold up the server: a line, its time and the number of clients have bounds, and
//! each has its answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use serde_json::{Value, json};
use tidings::base::sync::lock;

use super::question::Question;
use super::socket::ControlSocket;

/// Clients at a time: people and scripts of one machine. One more is told so.
const CLIENTS_MAX: usize = 16;

/// Bytes of a line: the longest question has a hundred.
const LINE_SIZE_MAX: usize = 4_096;

/// Time for a client to ask, and to take a line of the answer, in milliseconds: it is on this machine.
const CLIENT_MS_MAX: u64 = 5_000;

/// Pause after the system has refused a connection, as it does where descriptors have run out.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// The function that answers questions; it may take its time, on the thread of its client.
type Answer = dyn Fn(Question, &mut Reply) -> Value + Send + Sync;

/// The server's end of a control socket.
#[derive(Debug)]
pub struct ControlServer {
    /// The socket, until the server ends.
    socket: Mutex<Option<Arc<ControlSocket>>>,
    clients: Arc<Clients>,
}

/// The clients that are there.
#[derive(Debug, Default)]
struct Clients {
    count: Mutex<usize>,
    /// Notified when one has gone.
    gone: Condvar,
}

/// The lines of an answer that come before its last one.
#[derive(Debug)]
pub struct Reply(UnixStream);

impl Reply {
    /// Sends a line; a client that has gone gets no more of them.
    pub fn line(&mut self, line: &Value) {
        // The end of its answer is refused in the same way, and nobody misses it.
        _ = self.send(line);
    }

    fn send(&mut self, line: &Value) -> io::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes())
    }
}

impl ControlServer {
    /// Starts to answer. `answer` gives the last line of each answer, without its `"ok"` where all is
    /// well.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(
        socket: ControlSocket,
        answer: impl Fn(Question, &mut Reply) -> Value + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let clients = Arc::new(Clients::default());
        let answer: Arc<Answer> = Arc::new(answer);
        let theirs = (Arc::clone(&socket), Arc::clone(&clients));
        let thread = std::thread::Builder::new().name("control".into());
        thread.spawn(move || accept_all(&theirs.0, &theirs.1, &answer))?;
        Ok(Self {
            socket: Mutex::new(Some(socket)),
            clients,
        })
    }

    /// Waits until the clients that are there have their answers, but no longer than `time`; there
    /// are no new ones.
    pub fn finish(&self, time: Duration) {
        if let Some(socket) = lock(&self.socket).take() {
            socket.remove();
        }
        let count = lock(&self.clients.count);
        // A lock that is poisoned, or clients that are left: the process ends all the same.
        drop(
            self.clients
                .gone
                .wait_timeout_while(count, time, |count| *count > 0),
        );
    }
}

fn accept_all(socket: &ControlSocket, clients: &Arc<Clients>, answer: &Arc<Answer>) {
    loop {
        let Ok((stream, _)) = socket.listener.accept() else {
            std::thread::sleep(REFUSED_PAUSE);
            continue;
        };
        let mut count = lock(&clients.count);
        if *count >= CLIENTS_MAX {
            drop(count);
            refuse(stream, "too many clients ask at once");
            continue;
        }
        *count += 1;
        drop(count);
        let guard = ClientGuard(Arc::clone(clients));
        let answer = Arc::clone(answer);
        let thread = std::thread::Builder::new().name("control-client".into());
        // A client that gets no thread sees the end of its connection.
        _ = thread.spawn(move || {
            let _guard = guard;
            serve(stream, &*answer);
        });
    }
}

/// Counts its client out, however that one ends.
struct ClientGuard(Arc<Clients>);

impl Drop for ClientGuard {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.gone.notify_all();
    }
}

fn serve(stream: UnixStream, answer: &Answer) {
    let time = Some(Duration::from_millis(CLIENT_MS_MAX));
    if !is_allowed(&stream) {
        return refuse(stream, "only root and the server's own user are answered");
    }
    let question = match read_line(&stream) {
        Ok(Some(line)) => Question::from_line(&line),
        Ok(None) => Err(format!("a question has at most {LINE_SIZE_MAX} bytes")),
        // It has gone, or took too long.
        Err(_) => return,
    };
    if stream.set_write_timeout(time).is_err() {
        return;
    }
    match question {
        Ok(question) => {
            let mut reply = Reply(stream);
            let mut last = answer(question, &mut reply);
            if last.get("ok").is_none() {
                last["ok"] = true.into();
            }
            reply.line(&last);
            if question.is_stop() {
                // The end of the connection is the end of the process.
                std::mem::forget(reply);
            }
        }
        Err(error) => refuse(stream, &error),
    }
}

/// Whether the process at the other end is root's or of this process's user; one that can't be known
/// isn't.
fn is_allowed(stream: &UnixStream) -> bool {
    // Only the user is looked at: the process may be of another namespace, where it has no number.
    socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == geteuid())
}

fn refuse(stream: UnixStream, error: &str) {
    let mut reply = Reply(stream);
    let time = Some(Duration::from_millis(CLIENT_MS_MAX));
    if reply.0.set_write_timeout(time).is_ok() {
        reply.line(&json!({"ok": false, "error": error}));
    }
}

/// Reads a line; `None` for one that is too long.
fn read_line(mut stream: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let until = Instant::now() + Duration::from_millis(CLIENT_MS_MAX);
    let mut line = Vec::new();
    let mut buffer = [0; LINE_SIZE_MAX];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&buffer[..read]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok((end <= LINE_SIZE_MAX).then_some(line));
        }
        if line.len() > LINE_SIZE_MAX {
            return Ok(None);
        }
    }
}
