//! The gateway as a process under test, with a folder for its outbox.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use super::held::{Held, held_by};
use super::procfs::is_anybody_connected;
use super::traces::{FOLDER_VAR, Traces};
use crate::support::PATIENCE;
use crate::support::http::{Answer, HttpClient};
use crate::support::program::{Program, ends_within};
use crate::support::tls::everywhere;
use crate::support::wait::{until, until_none};
use crate::upgrade::upgrade_in;

/// What the upstreams of the tests ask for.
pub const LINK_KEY: &str = "a-link-key-of-the-tests";

pub struct Machine {
    pub folder: TempDir,
    /// `None` between two lives.
    program: Option<Program>,
    flags: Vec<String>,
    /// Names the points that are to fail.
    faults: NamedTempFile,
}

impl Machine {
    pub fn start(upstreams: &[SocketAddr]) -> Self {
        Self::start_with(upstreams, &[])
    }

    /// Links of these are quicker to die and to come back than by default.
    pub fn start_with(upstreams: &[SocketAddr], more: &[&str]) -> Self {
        let mut machine = Self {
            folder: tempfile::tempdir().unwrap(),
            program: None,
            flags: Vec::new(),
            faults: NamedTempFile::new().unwrap(),
        };
        for flag in [
            "gateway.ping_ms=100",
            "gateway.silence_ms_max=700",
            "gateway.retry_ms_min=50",
            "gateway.retry_ms_max=400",
        ] {
            machine.flags.extend(["--set".into(), flag.into()]);
        }
        machine
            .flags
            .extend(more.iter().map(|flag| flag.to_string()));
        machine.set_upstreams(upstreams);
        machine.start_again();
        machine
    }

    /// For the next start.
    pub fn set_upstreams(&mut self, upstreams: &[SocketAddr]) {
        if let Some(at) = self.flags.iter().position(|flag| flag == "--upstream") {
            self.flags.truncate(at);
        }
        for upstream in upstreams {
            let url = everywhere::websocket_url(*upstream, "/link");
            self.flags.extend(["--upstream".into(), url]);
        }
        // Who has upstreams among its flags says whom to trust as well.
        let has_its_own = |flag: &String| flag.starts_with("gateway.upstreams=");
        if let Some(file) = everywhere::ca_file()
            && !self.flags.iter().any(has_its_own)
        {
            self.flags.extend(["--ca-file".into(), file.into()]);
        }
    }

    /// A machine with a copy of the outbox, not yet started.
    pub fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        Self {
            folder,
            program: None,
            flags: self.flags.clone(),
            faults: NamedTempFile::new().unwrap(),
        }
    }

    pub fn start_again(&mut self) {
        self.program = Some(Program::start(&mut self.command()));
    }

    /// The command, for those who want to see it fail.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command
            .args(["gateway", "--listen", "127.0.0.1:0", "--name", "gw-1"])
            .arg("--data")
            .arg(self.folder.path())
            .args(&self.flags)
            .env("TIDINGS_GATEWAY_LINK_KEY", LINK_KEY)
            .env("FAULTS_OF_TIDINGS", self.faults.path())
            .env(FOLDER_VAR, self.folder.path());
        command
    }

    /// Has this point fail from now on, or none.
    pub fn let_fail(&self, point: &str) {
        let mut next = NamedTempFile::new().unwrap();
        next.write_all(point.as_bytes()).unwrap();
        // Whoever looks meanwhile finds one or the other.
        std::fs::rename(next.into_temp_path(), self.faults.path()).unwrap();
    }

    /// `tidings upgrade` with more arguments: exit code, standard output and standard error.
    pub fn upgrade(&self, more: &[&str]) -> (i32, String, String) {
        upgrade_of(self.folder.path(), more)
    }

    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.program.as_ref().unwrap().address
    }

    pub fn stats(&self) -> Value {
        let answer = HttpClient::connect(self.address()).ask("GET", "/v1/stats", "");
        serde_json::from_str(&answer.unwrap().body).unwrap()
    }

    pub fn metrics(&self) -> String {
        let answer = HttpClient::connect(self.address()).ask("GET", "/metrics", "");
        answer.unwrap().body
    }

    /// The PID of the push process, once there is one.
    pub fn push_pid(&self) -> Pid {
        let mut pid = None;
        until("the push process runs", || {
            pid = self.stats()["processes"][0]["pid"].as_i64();
            pid.is_some()
        });
        Pid::from_raw(pid.unwrap() as i32).unwrap()
    }

    pub fn until_link(&self, upstream: usize, state: &str) {
        until(state, || {
            self.stats()["upstreams"][upstream]["state"] == state
        });
    }

    /// How often the link to the first upstream was opened.
    pub fn opened(&self) -> u64 {
        self.stats()["upstreams"][0]["opened"].as_u64().unwrap()
    }

    /// Waits until the outbox is empty.
    pub fn until_settled(&self) {
        until("the outbox is empty", || {
            self.stats()["outbox"]["messages"] == 0
        });
    }

    /// What the gateway and its push process hold while nobody asks anything.
    pub fn held(&self) -> [Held; 2] {
        let pids = [self.program.as_ref().unwrap().pid(), self.push_pid()];
        until("the last request is over", || {
            !is_anybody_connected(self.address())
        });
        pids.map(held_by)
    }

    /// Waits until they hold what they did.
    #[track_caller]
    pub fn until_it_holds(&self, before: &[Held; 2]) {
        until_none("something was left open", || {
            let now = self.held();
            let is_as_before = now == *before;
            (!is_as_before)
                .then_some((now, before))
                .into_iter()
                .collect()
        });
    }

    pub fn kill_push(&self) {
        let pid = self.push_pid();
        kill_process(pid, Signal::KILL).ok();
        assert!(ends_within(pid, PATIENCE), "it is dead");
    }

    /// Kills the gateway; its push process must not outlive it, nor anything else.
    pub fn kill(&mut self) {
        let mut program = self.program.take().unwrap();
        let traces = Traces::of(self.folder.path(), program.pid());
        program.signal(Signal::KILL);
        program.ended();
        traces.nothing_is_left();
    }

    /// Stops it with SIGTERM; what it said on its way out.
    pub fn stop(&mut self) -> String {
        self.stop_while(|_| {})
    }

    /// The same, with something that happens meanwhile.
    pub fn stop_while(&mut self, happens: impl FnOnce(&mut Program)) -> String {
        let mut program = self.program.take().unwrap();
        let traces = Traces::of(self.folder.path(), program.pid());
        program.signal(Signal::TERM);
        happens(&mut program);
        assert_eq!(program.exit_code(), 0, "{}", program.stderr.all());
        assert!(traces.all_have_ended(), "it waits for what it started");
        traces.nothing_is_left();
        program.stdout.all()
    }

    /// What `tidings outbox` says of the folder.
    pub fn outbox(&self, what: &str) -> String {
        let output = self.outbox_with(what, &[]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!told.contains("there are more"), "{told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with more flags, and all that it says.
    pub fn outbox_with(&self, what: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command
            .args(["outbox", what, "--data"])
            .arg(self.folder.path())
            .args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        HttpClient::connect(self.address())
            .ask_with_json("POST", path, body)
            .unwrap()
    }

    /// Posts a numbered message.
    pub fn say(&self, from: &str, number: u64) -> Answer {
        self.post("/v1/messages", &message(from, number))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A test that has failed has other things to say.
        if self.program.is_some() && !std::thread::panicking() {
            self.kill();
        }
    }
}

/// `tidings upgrade` of the gateway with its outbox in this folder.
pub fn upgrade_of(folder: &Path, more: &[&str]) -> (i32, String, String) {
    let data = folder.to_str().unwrap();
    upgrade_in(folder, &[&["--gateway", "--data", data], more].concat())
}

pub fn message(from: &str, number: u64) -> String {
    format!(
        r#"{{"to":{{"room":"tea"}},"from":"{from}","id":"{from}-{number}","data":{{"number":{number}}}}}"#
    )
}
