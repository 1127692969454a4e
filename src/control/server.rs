//! The server's end of the control socket: a few clients at a time, each on a thread of its own.
//!
//! Nothing here can hold up the server: a line, its time and the number of clients have bounds, and
//! each has its answer.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use serde_json::{Value, json};
use tidings::base::sync::lock;

use super::clients::{Clients, HeldClients};
use super::question::Question;
use super::socket::ControlSocket;

/// Clients at a time: people and scripts of one machine. One more is told so.
const CLIENTS_MAX: usize = 16;

/// Bytes of a line: the longest question has a path, of 4,096 at most, and its escapes.
const LINE_SIZE_MAX: usize = 16_384;

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

/// The lines of an answer that come before its last one.
#[derive(Debug)]
pub struct Reply {
    stream: UnixStream,
    client: Option<(Arc<Clients>, u64)>,
}

impl Reply {
    /// Sends a line; a client that has gone gets no more of them.
    pub fn line(&mut self, line: &Value) {
        let clients = self.client.as_ref().map(|(clients, _)| Arc::clone(clients));
        let _step = clients.as_ref().map(|clients| clients.step());
        // The end of its answer is refused in the same way, and nobody misses it.
        _ = self.send(line);
    }

    /// Has the next image answer this client with the outcome of an upgrade; until `false` is said.
    pub fn awaits_upgrade(&self, awaits_upgrade: bool) {
        if let Some((clients, number)) = &self.client {
            clients.note(*number, |peer| peer.awaits_upgrade = awaits_upgrade);
        }
    }

    /// Sends the last line: the next image has nothing more to say to this client.
    fn last_line(&mut self, line: &Value) {
        let client = self.client.take();
        let _step = client.as_ref().map(|(clients, _)| clients.step());
        _ = self.send(line);
        if let Some((clients, number)) = &client {
            clients.remove(*number);
        }
    }

    fn send(&mut self, line: &Value) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some((clients, number)) = self.client.take() {
            clients.remove(number);
        }
    }
}

impl ControlServer {
    /// Starts to answer, also clients that have asked a part of a question, or a whole one. `answer` gives
    /// the last line of each answer, without its `"ok"` where all is well.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(
        socket: ControlSocket,
        asked: Vec<(UnixStream, Vec<u8>)>,
        answer: impl Fn(Question, &mut Reply) -> Value + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let clients = Arc::new(Clients::default());
        let answer: Arc<Answer> = Arc::new(answer);
        for (stream, asked) in asked {
            serve_on_a_thread(&clients, &answer, stream, asked);
        }
        let theirs = (Arc::clone(&socket), Arc::clone(&clients));
        let thread = std::thread::Builder::new().name("control".into());
        thread.spawn(move || accept_all(&theirs.0, &theirs.1, &answer))?;
        Ok(Self {
            socket: Mutex::new(Some(socket)),
            clients,
        })
    }

    /// Returns the socket, until the server ends.
    #[must_use]
    pub fn socket(&self) -> Option<Arc<ControlSocket>> {
        lock(&self.socket).clone()
    }

    /// Has all clients wait, with nothing half said; `None` if one of them takes longer than `time`.
    #[must_use]
    pub fn hold(&self, time: Duration) -> Option<HeldClients<'_>> {
        self.clients.hold(time)
    }

    /// Waits until the clients that are there have their answers, but no longer than `time`; there
    /// are no new ones.
    pub fn finish(&self, time: Duration) {
        if let Some(socket) = lock(&self.socket).take() {
            socket.remove();
        }
        self.clients.wait_until_none(time);
    }
}

/// Sends the last line of an answer to a client that an image before this one had.
pub fn answer_peer(mut stream: &UnixStream, line: &Value) {
    let time = Some(Duration::from_millis(CLIENT_MS_MAX));
    if stream.set_write_timeout(time).is_ok() {
        _ = stream.write_all(format!("{line}\n").as_bytes());
    }
}

fn accept_all(socket: &ControlSocket, clients: &Arc<Clients>, answer: &Arc<Answer>) {
    loop {
        if poll(&mut [PollFd::new(&socket.listener, PollFlags::IN)], None).is_err() {
            continue;
        }
        let step = clients.step();
        // Not waited for: it may have gone, or been taken over meanwhile.
        let accepted = socket.accept();
        match accepted {
            Ok(stream) => serve_on_a_thread(clients, answer, stream, Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                drop(step);
                std::thread::sleep(REFUSED_PAUSE);
            }
        }
    }
}

/// Serves a client that has asked this much.
fn serve_on_a_thread(
    clients: &Arc<Clients>,
    answer: &Arc<Answer>,
    stream: UnixStream,
    asked: Vec<u8>,
) {
    let Some(number) = clients.add(stream.as_raw_fd(), CLIENTS_MAX) else {
        return refuse(stream, "too many clients ask at once");
    };
    clients.note(number, |peer| peer.asked = asked);
    let reply = Reply {
        stream,
        client: Some((Arc::clone(clients), number)),
    };
    let answer = Arc::clone(answer);
    let thread = std::thread::Builder::new().name("control-client".into());
    // A client that gets no thread sees the end of its connection.
    _ = thread.spawn(move || serve(reply, &*answer));
}

fn serve(mut reply: Reply, answer: &Answer) {
    let time = Some(Duration::from_millis(CLIENT_MS_MAX));
    if reply.stream.set_write_timeout(time).is_err() {
        return;
    }
    let refused = |error: &str| json!({"ok": false, "error": error});
    if !is_allowed(&reply.stream) {
        return reply.last_line(&refused("only root and the server's own user are answered"));
    }
    let question = match read_line(&reply) {
        Ok(Some(line)) => Question::from_line(&line),
        Ok(None) => Err(format!("a question has at most {LINE_SIZE_MAX} bytes")),
        // It has gone, or took too long.
        Err(_) => return,
    };
    match question {
        Ok(question) => {
            let is_stop = question.is_stop();
            let mut last = answer(question, &mut reply);
            if last.get("ok").is_none() {
                last["ok"] = true.into();
            }
            reply.last_line(&last);
            if is_stop {
                // The end of the connection is the end of the process.
                std::mem::forget(reply);
            }
        }
        Err(error) => reply.last_line(&refused(&error)),
    }
}

/// Whether the process at the other end is root's or of this process's user; one that can't be known
/// isn't.
fn is_allowed(stream: &UnixStream) -> bool {
    // Only the user is looked at: the process may be of another namespace, where it has no number.
    socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == geteuid())
}

fn refuse(mut stream: UnixStream, error: &str) {
    let time = Some(Duration::from_millis(CLIENT_MS_MAX));
    if stream.set_write_timeout(time).is_ok() {
        let line = json!({"ok": false, "error": error});
        _ = stream.write_all(format!("{line}\n").as_bytes());
    }
}

/// Reads a line, noting what has come; `None` for one that is too long.
fn read_line(reply: &Reply) -> io::Result<Option<Vec<u8>>> {
    let gone = io::ErrorKind::UnexpectedEof;
    let (clients, number) = reply.client.as_ref().ok_or(gone)?;
    let mut stream = &reply.stream;
    let until = Instant::now() + Duration::from_millis(CLIENT_MS_MAX);
    let mut line = Vec::new();
    clients.note(*number, |peer| line = peer.asked.clone());
    let mut buffer = [0; 4_096];
    loop {
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok((end <= LINE_SIZE_MAX).then_some(line));
        }
        if line.len() > LINE_SIZE_MAX {
            return Ok(None);
        }
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let _step = clients.step();
        // There is something to read, or the end.
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(gone.into());
        }
        line.extend_from_slice(&buffer[..read]);
        clients.note(*number, |peer| peer.asked.clone_from(&line));
    }
}
