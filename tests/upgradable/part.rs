//! The program under test: it counts what it is asked, and does what the files in its folder say.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::server::process::{TaskId, TaskOutcome};
use tidings::server::{
    BoxError, Builder, Fd, Request, Responder, Response, Rollout, RunningServer, Server,
    ServerSettings, ThawSections, WorkerHandle,
};

/// Time in which a renewal that nothing holds back has long ended.
const RENEWAL_MAX: Duration = Duration::from_millis(500);

/// The time that writing takes where it is slow.
const SLOW: Duration = Duration::from_millis(60);

/// What the callbacks know.
struct Part {
    folder: PathBuf,
    count: AtomicU64,
    /// Answers that nobody gives yet.
    held: Mutex<Vec<Responder>>,
    /// Requests whose task isn't done.
    tasks: Mutex<HashMap<TaskId, Responder>>,
    /// Another server in this program.
    second: Mutex<Option<RunningServer>>,
}

/// Runs the server that `part` names, in this folder.
pub fn run(part: &str, folder: PathBuf) {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_ansi(false).init();
    let own = Arc::new(Part {
        folder,
        count: AtomicU64::new(0),
        held: Mutex::default(),
        tasks: Mutex::default(),
        second: Mutex::default(),
    });
    let builder = own.builder();
    let upgradable = own.upgradable(own.builder());
    let run = |builder: Builder| builder.run().unwrap().is_clean();
    let is_clean = match part {
        "server" => run(upgradable),
        "plain" => run(builder),
        "off-main" => std::thread::spawn(move || run(upgradable)).join().unwrap(),
        part => panic!("no such part: {part}"),
    };
    assert!(is_clean);
}

fn settings() -> ServerSettings {
    ServerSettings {
        freeze_ms_max: 300,
        ..ServerSettings::default()
    }
}

impl Part {
    fn builder(self: &Arc<Self>) -> Builder {
        let [asked, heard, finished] = [(); 3].map(|()| Arc::clone(self));
        let builder = Server::builder().listen("127.0.0.1:0").workers(2);
        builder
            .settings(settings())
            .on_start(|server| println!("listening on http://{}/", server.addresses()[0]))
            .on_open(|server, request| server.bind(request.fd, "ann").unwrap())
            .on_message(move |server, frame| {
                if frame.text() == Some("pause") {
                    server.pause(frame.fd);
                }
                let count = heard.count.fetch_add(1, SeqCst) + 1;
                server
                    .push(frame.fd, &*format!("{} {count}", frame.fd))
                    .unwrap();
            })
            .on_task(|text| text.iter().rev().copied().collect())
            .on_finish(move |_, task, outcome| {
                let responder = finished.tasks.lock().unwrap().remove(&task).unwrap();
                match outcome {
                    TaskOutcome::Done(text) => {
                        responder.end(String::from_utf8_lossy(&text).into_owned())
                    }
                    other => responder.end(format!("{other:?}")),
                }
            })
            .on_request(move |server, request, responder| asked.answer(server, &request, responder))
    }

    fn upgradable(self: &Arc<Self>, builder: Builder) -> Builder {
        let (written, read) = (Arc::clone(self), Arc::clone(self));
        let handle: Arc<Mutex<Option<tidings::server::Handle>>> = Arc::default();
        let met = Arc::clone(&handle);
        builder
            .on_worker_start(move |server, _| {
                met.lock().unwrap().get_or_insert_with(|| server.handle());
            })
            .upgradable("a part")
            .on_freeze(move |out| {
                let handle = handle.lock().unwrap();
                if written.says("speaks")
                    && let Some(server) = &*handle
                {
                    server.broadcast("what nobody hears");
                }
                assert!(!written.says("freeze panics"), "as the test wants");
                if written.says("freeze is slow") {
                    std::thread::sleep(SLOW);
                }
                let count = written.count.load(SeqCst);
                out.write("count", written.version(), count.to_le_bytes());
            })
            .on_thaw(move |sections| read.thaw(sections))
    }

    fn thaw(&self, sections: &ThawSections<'_>) -> Result<(), BoxError> {
        let is_rehearsal = std::env::var_os("TIDINGS_REHEARSE").is_some();
        let upgrade = std::env::var("TIDINGS_UPGRADE").unwrap_or_default();
        // On the way back the reason stands behind three numbers.
        let is_next = !is_rehearsal && upgrade.split(' ').count() == 3;
        if is_rehearsal && self.says("rehearsal waits") {
            std::fs::write(self.folder.join("waits"), "")?;
        }
        while is_rehearsal && self.says("rehearsal waits") {
            std::thread::sleep(Duration::from_millis(10));
        }
        if is_rehearsal && self.says("rehearsal refuses") || is_next && self.says("thaw refuses") {
            return Err("as the test wants".into());
        }
        assert!(!(is_next && self.says("thaw panics")), "as the test wants");
        while is_next && self.says("thaw hangs") {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.says("thaw forgets") {
            return Ok(());
        }
        let count = sections.read("count", self.version())?.bytes;
        self.count
            .store(u64::from_le_bytes(count.try_into()?), SeqCst);
        Ok(())
    }

    fn answer(self: &Arc<Self>, server: &WorkerHandle, request: &Request, responder: Responder) {
        let text = match request.path() {
            "/count" => (self.count.fetch_add(1, SeqCst) + 1).to_string(),
            "/hold" => return self.held.lock().unwrap().push(responder),
            "/release" => {
                for held in self.held.lock().unwrap().drain(..) {
                    held.end("late");
                }
                "released".to_owned()
            }
            "/resume" => {
                for fd in server.connections(Fd(0), 100) {
                    server.resume(fd);
                }
                "resumed".to_owned()
            }
            "/second" => {
                let second = Server::builder().listen("127.0.0.1:0").start();
                *self.second.lock().unwrap() = Some(second.unwrap());
                "two".to_owned()
            }
            "/alone" => {
                let second = self.second.lock().unwrap().take();
                second.unwrap().stop().unwrap();
                "one".to_owned()
            }
            "/upgrade" => {
                server.upgrade();
                "asked".to_owned()
            }
            "/reload" => {
                let renewal = server.reload();
                // Never in a callback, whose thread could not be renewed.
                std::thread::spawn(move || {
                    let ended = renewal.wait_for(RENEWAL_MAX);
                    responder.end(format!("{:?}", ended.map(|ended| ended.is_ok())));
                });
                return;
            }
            "/task" => {
                let mut tasks = self.tasks.lock().unwrap();
                tasks.insert(server.task(&b"daol"[..]).unwrap(), responder);
                return;
            }
            "/hasty" => {
                let hasty = ServerSettings {
                    pause_ms_max: 50,
                    thaw_ms_max: 400,
                    ..settings()
                };
                server.set_settings(&hasty, &Rollout::default());
                "hasty".to_owned()
            }
            "/user" => {
                server.push_to_user("ann", "for ann");
                "sent".to_owned()
            }
            "/last" => server
                .last_upgrade()
                .map_or_else(String::new, |last| last.to_string()),
            _ => return responder.end(Response::new(404)),
        };
        responder.end(text);
    }

    /// Whether the test has written a file of this name.
    fn says(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// The version of the section that this program writes, and the newest that it reads.
    fn version(&self) -> u16 {
        let text = std::fs::read_to_string(self.folder.join("version"));
        text.map_or(1, |text| text.parse().unwrap())
    }
}
