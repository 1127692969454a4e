//! A program with processes whose image is replaced: its processes live through that, and what they were
//! given and what they say comes once, whatever was half said.
//!
//! The program does as its standard input says, and tells on its standard output what has come.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open};
use tidings::base::vital::is_told_to_fail;
use tidings::server::process::{Incoming, Process};
use tidings::server::upgrade::{REHEARSE_VAR, UPGRADE_VAR};
use tidings::server::{BoxError, Handle, Server};

use super::{PART_VAR, PATIENCE_S, as_path, as_pid, signal, temp_fifo};

/// The part that the program has among those of the test binary.
pub const PART: &str = "images";

/// The variable with the path that the slow process waits for.
const GATE_VAR: &str = "GATE_OF_THE_TEST";

/// The variable with the path of the points that fail.
const FAULTS_VAR: &str = "FAULTS_OF_TIDINGS";

/// More than a pipe takes at once.
const LARGE: usize = 700_000;

/// What a process says in two parts, and how many bytes of its frame come first.
const SAID: &[u8] = b"said in two parts";
const FIRST_PART: usize = 20;

/// Runs one of the program's processes.
pub fn run_process(process: Process) -> io::Result<()> {
    match process.name() {
        "halves" => says_halves(process),
        "slow" => reads_late(process),
        // Each task names a file, and ends with what stands in it.
        _ => process.run_tasks(|path| {
            let text = fs::read_to_string(as_path(path)).unwrap();
            format!("{} {text}", std::process::id()).into()
        }),
    }
}

/// Says a whole message and the first part of another one at once, and the rest when it ends.
fn says_halves(process: Process) -> io::Result<()> {
    let frame = |payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
        // A message, which has no id.
        frame.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    };
    let second = frame(SAID);
    let (first_part, rest) = second.split_at(FIRST_PART);
    let mut pipe = process.into_pipe();
    rustix::io::write(&pipe, &[&frame(b"here"), first_part].concat())?;
    while !matches!(pipe.try_receive()?, Some(Incoming::Stop | Incoming::Gone)) {
        poll(&mut [PollFd::new(&pipe, PollFlags::IN)], None)?;
    }
    rustix::io::write(&pipe, rest)?;
    Ok(())
}

/// Reads nothing before somebody opens the gate, and says what it has read.
fn reads_late(mut process: Process) -> io::Result<()> {
    let gate = std::env::var(GATE_VAR).unwrap();
    process.send(b"here")?;
    drop(fs::read(gate)?);
    loop {
        match process.receive()? {
            Incoming::Message(message) => {
                let is_right = (0..).zip(&*message).all(|(at, byte)| byte_at(at) == *byte);
                let said = format!("{} {is_right}", message.len());
                process.send(said.as_bytes())?;
            }
            Incoming::Task { .. } => {}
            Incoming::Stop | Incoming::Gone => return Ok(()),
        }
    }
}

fn byte_at(at: usize) -> u8 {
    (at % 251) as u8
}

/// Runs the program: from its start, or from where the image before it was.
pub fn run_program() -> ExitCode {
    let in_process = |_| unreachable!("main looks for its processes itself");
    let ended = Server::builder()
        .listen("127.0.0.1:0")
        .upgradable("0")
        .on_thaw(|_| thaw())
        .on_task(|_| unreachable!("as above"))
        .process("halves", in_process)
        .process("slow", in_process)
        .on_start(|server| {
            let handle = server.handle();
            let image = match handle.last_upgrade() {
                None => "first",
                Some(last) if last.is_upgraded() => "next",
                Some(_) => "back",
            };
            println!("image {image}");
            let obey = move |line: io::Result<String>| obey(&handle, &line.unwrap());
            thread::spawn(|| io::stdin().lines().for_each(obey));
        })
        .on_pipe_message(|_, process, message| {
            println!("{process} said {}", String::from_utf8_lossy(&message));
        })
        .on_finish(|_, task, outcome| println!("task {} {outcome:?}", task.0))
        .run();
    ended.unwrap();
    ExitCode::SUCCESS
}

/// Fails or hangs as the test says, in the next image alone.
fn thaw() -> Result<(), BoxError> {
    let upgrade = std::env::var(UPGRADE_VAR).unwrap_or_default();
    // On the way back the reason stands behind three numbers.
    if std::env::var_os(REHEARSE_VAR).is_some() || upgrade.split(' ').count() != 3 {
        return Ok(());
    }
    if is_told_to_fail("hang") {
        println!("image hangs");
    }
    while is_told_to_fail("hang") {
        thread::yield_now();
    }
    match is_told_to_fail("thaw") {
        true => Err("a test said that it fails".into()),
        false => Ok(()),
    }
}

fn obey(handle: &Handle, line: &str) {
    let (command, of) = line.split_once(' ').unwrap_or((line, ""));
    match command {
        "task" => drop(handle.task(of.to_owned()).unwrap()),
        "send" => {
            let payload: Vec<u8> = (0..of.parse().unwrap()).map(byte_at).collect();
            handle.process("slow").unwrap().send(payload).unwrap();
        }
        "pid" => println!(
            "{of} has pid {}",
            handle.process(of).unwrap().stats().pid.unwrap()
        ),
        "upgrade" => handle.upgrade(),
        _ => unreachable!("{line}"),
    }
    println!("done {line}");
}

// The tests.

/// The program under test.
struct Program {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// All that it has said.
    said: Vec<String>,
    folder: tempfile::TempDir,
}

impl Program {
    fn start() -> Self {
        let (folder, gate) = temp_fifo();
        let mut child = Command::new("/proc/self/exe")
            .env(PART_VAR, PART)
            .env(GATE_VAR, gate)
            .env(FAULTS_VAR, folder.path().join("faults"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut program = Self {
            child,
            input,
            lines: lines_of(output),
            said: Vec::new(),
            folder,
        };
        for line in ["image first", "halves said here", "slow said here"] {
            program.wait_for(line);
        }
        program
    }

    /// Tells it something, which it does before this returns.
    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.wait_for(&format!("done {line}"));
    }

    /// Waits until it has said a line with these words, perhaps long ago.
    fn wait_for(&mut self, words: &str) -> String {
        loop {
            if let Some(line) = self.said.iter().find(|line| line.contains(words)) {
                return line.clone();
            }
            let line = self.lines.recv_timeout(Duration::from_secs(PATIENCE_S));
            let line = line.unwrap_or_else(|_| panic!("no {words:?}: {:#?}", self.said));
            self.said.push(line);
        }
    }

    /// Has this point fail from now on, or none.
    fn let_fail(&self, point: &str) {
        let path = self.folder.path().join("faults");
        // Whoever looks meanwhile finds one or the other.
        fs::write(path.with_extension("next"), point).unwrap();
        fs::rename(path.with_extension("next"), path).unwrap();
    }

    /// Has the next image go on, or the one before where the next one fails.
    fn is_upgraded(&mut self, to: &str) {
        if to == "back" {
            self.let_fail("thaw");
        }
        writeln!(self.input, "upgrade").unwrap();
        self.wait_for(&format!("image {to}"));
    }

    /// The number of a process.
    fn pid(&mut self, name: &str) -> u32 {
        self.said.retain(|line| !line.contains(" has pid "));
        self.tell(&format!("pid {name}"));
        let line = self.wait_for(" has pid ");
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    /// Opens the gate once somebody waits there.
    fn open_gate(&self) {
        File::options()
            .write(true)
            .open(self.folder.path().join("fifo"))
            .unwrap();
    }

    /// Waits until it has said so many lines with these words.
    fn wait_for_all(&mut self, words: &str, count: usize) {
        while self.count(words) < count {
            let line = self.lines.recv_timeout(Duration::from_secs(PATIENCE_S));
            let line = line.unwrap_or_else(|_| panic!("no {words:?}: {:#?}", self.said));
            self.said.push(line);
        }
    }

    /// How many lines have these words.
    fn count(&self, words: &str) -> usize {
        self.said.iter().filter(|line| line.contains(words)).count()
    }

    /// Stops it; all that it has said is known then.
    fn stop(&mut self) {
        signal(self.child.id(), Signal::TERM);
        // The slow one waits for its gate before it learns of the stop; so does one that follows it.
        let gate = self.folder.path().join("fifo");
        thread::spawn(move || while File::options().write(true).open(&gate).is_ok() {});
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(PATIENCE_S)) {
            self.said.push(line);
        }
        assert!(self.child.wait().unwrap().success(), "{:#?}", self.said);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

/// A task that ends once its file has been written.
struct Task {
    path: String,
    _folder: tempfile::TempDir,
}

impl Task {
    fn given_to(program: &mut Program) -> Self {
        let (folder, path) = temp_fifo();
        program.tell(&format!("task {path}"));
        Self {
            path,
            _folder: folder,
        }
    }

    /// Waits until it is under way.
    fn file(&self) -> File {
        File::options().write(true).open(&self.path).unwrap()
    }
}

/// Ends it; the number of the process that has done it.
fn end(program: &mut Program, number: u64, mut file: File) -> u32 {
    let text = format!("text {number}");
    file.write_all(text.as_bytes()).unwrap();
    drop(file);
    let line = program.wait_for(&format!("{text}\")"));
    let rest = line.strip_prefix(&format!("task {number} Done(b\""));
    let (pid, _) = rest
        .unwrap_or_else(|| panic!("{line}"))
        .split_once(' ')
        .unwrap();
    pid.parse().unwrap()
}

pub fn tasks() {
    for to in ["next", "back"] {
        let mut program = Program::start();
        let tasks = [(); 3].map(|()| Task::given_to(&mut program));
        let first = tasks[0].file();
        let before = program.pid("task");
        program.is_upgraded(to);
        assert_eq!(program.pid("task"), before, "it lives");
        assert_eq!(end(&mut program, 1, first), before);
        for (task, number) in tasks[1..].iter().zip(2..) {
            end(&mut program, number, task.file());
        }
        // It is renewed then.
        let late = Task::given_to(&mut program);
        let file = late.file();
        let after = end(&mut program, 4, file);
        assert_ne!(after, before);
        let environment = fs::read_to_string(format!("/proc/{after}/environ")).unwrap();
        assert!(
            !environment.contains(UPGRADE_VAR),
            "it is no image: {environment}"
        );
        program.stop();
        assert_eq!(program.count(" Done("), 4, "{:#?}", program.said);
    }
}

pub fn killed() {
    for to in ["next", "back"] {
        let mut program = Program::start();
        let tasks = [(); 2].map(|()| Task::given_to(&mut program));
        let first = tasks[0].file();
        let before = program.pid("task");
        program.let_fail("hang");
        writeln!(program.input, "upgrade").unwrap();
        program.wait_for("image hangs");
        let pidfd = pidfd_open(as_pid(before), PidfdFlags::empty()).unwrap();
        signal(before, Signal::KILL);
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        drop(first);
        program.let_fail(if to == "back" { "thaw" } else { "" });
        program.wait_for(&format!("image {to}"));
        assert_ne!(end(&mut program, 1, tasks[0].file()), before);
        end(&mut program, 2, tasks[1].file());
        program.stop();
        assert_eq!(program.count(" Done("), 2, "{:#?}", program.said);
    }
}

pub fn halves() {
    let said = format!("halves said {}", String::from_utf8_lossy(SAID));
    for to in ["next", "back"] {
        let mut program = Program::start();
        assert_eq!(program.count(&said), 0);
        program.is_upgraded(to);
        program.wait_for(&said);
        program.wait_for_all("halves said here", 2);
        program.stop();
        // The second one says its rest when it ends.
        assert_eq!(program.count(&said), 2, "{:#?}", program.said);
    }
}

pub fn half_read() {
    for to in ["next", "back"] {
        let mut program = Program::start();
        program.tell(&format!("send {LARGE}"));
        program.tell("send 5");
        program.is_upgraded(to);
        program.open_gate();
        program.wait_for(&format!("slow said {LARGE} true"));
        program.open_gate();
        program.wait_for("slow said 5 true");
        program.stop();
        for words in ["slow said here", "slow said 7", "slow said 5"] {
            let count = program.count(words);
            assert_eq!(
                count,
                if words.ends_with("here") { 2 } else { 1 },
                "{words}"
            );
        }
    }
}
