//! A chat whose program can be replaced while people are in it: nobody is disconnected, and nothing that was
//! counted is forgotten.
//!
//! ```text
//! cargo build --release --example upgrade && target/release/examples/upgrade
//! websocat ws://127.0.0.1:9502/ann          in a second terminal, and as /bob in a third: say something
//! ```
//!
//! Now change this file, build it again, and have the server take the new program:
//!
//! ```text
//! cargo build --release --example upgrade && pkill -USR2 -x upgrade
//! ```
//!
//! Both clients stay connected, and the numbers go on. A program that can't go on with what the old one
//! has counted (try a version that reads "lines" with 0) is refused, and the old one stays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tidings::server::{BoxError, Fd, Server, ServerError, UpgradeOutcome};

/// All that the callbacks of this program know: it has to outlive the program.
#[derive(Default)]
struct Chat {
    /// Who is there. The connections stay the same, and each keeps its `fd`.
    names: HashMap<Fd, String>,
    /// Lines that were said so far.
    lines: u64,
}

impl Chat {
    fn of(names: &[u8], lines: &[u8]) -> Result<Self, BoxError> {
        let names: HashMap<u64, String> = serde_json::from_slice(names)?;
        Ok(Self {
            names: names.into_iter().map(|(fd, name)| (Fd(fd), name)).collect(),
            lines: serde_json::from_slice(lines)?,
        })
    }
}

fn main() -> Result<(), ServerError> {
    // What stands before `run` is done by each new program as well, and by each rehearsal.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let listen = std::env::args().nth(1);
    let chat = Arc::new(Mutex::new(Chat::default()));
    // One for each callback below.
    let [opened, said, closed, written, read] = [(); 5].map(|()| Arc::clone(&chat));

    Server::builder()
        .listen(listen.as_deref().unwrap_or("127.0.0.1:9502"))
        .on_start(|server| {
            // Also called after an upgrade: then nothing begins, and it goes on.
            if let Some(UpgradeOutcome::Upgraded { from, pause, .. }) = server.last_upgrade() {
                println!("upgraded from {from} within {} ms", pause.as_millis());
            }
            for address in server.addresses() {
                println!("listening on http://{address}/");
            }
        })
        .on_open(move |server, request| {
            let name = request.path().trim_start_matches('/').to_owned();
            server.broadcast(&*format!("{name} is here"));
            lock(&opened).names.insert(request.fd, name);
        })
        .on_message(move |server, frame| {
            let text = String::from_utf8_lossy(frame.data);
            let mut chat = lock(&said);
            chat.lines += 1;
            let (line, name) = (chat.lines, &chat.names[&frame.fd]);
            server.broadcast(&*format!("{line}. {name}: {text}"));
        })
        .on_close(move |server, fd, _| {
            if let Some(name) = lock(&closed).names.remove(&fd) {
                server.broadcast(&*format!("{name} is gone"));
            }
        })
        // From here on SIGUSR2 replaces the program.
        .upgradable(env!("CARGO_PKG_VERSION"))
        // Everything stands still: no callback runs, so nothing changes while this is written down. Each
        // section has a version, which is raised when an older program couldn't read it any more.
        .on_freeze(move |out| {
            let chat = lock(&written);
            let names: HashMap<u64, &String> =
                chat.names.iter().map(|(fd, name)| (fd.0, name)).collect();
            out.write("names", 1, json!(names).to_string());
            out.write("lines", 1, json!(chat.lines).to_string());
        })
        // The new program reads it, before anything else happens. An error here has the old one go on.
        .on_thaw(move |sections| {
            let (names, lines) = (sections.read("names", 1)?, sections.read("lines", 1)?);
            *lock(&read) = Chat::of(names.bytes, lines.bytes)?;
            Ok(())
        })
        .run()?;
    Ok(())
}

fn lock(chat: &Mutex<Chat>) -> std::sync::MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}
