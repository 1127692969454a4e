//! Under a service manager: it is told what happens, and its sockets are taken.
//!
//! A stand-in speaks the protocol of sd_notify(3) and sd_listen_fds(3), as systemd does.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::tidings;
use crate::gateway::procfs::children_of;
use crate::support::PATIENCE;
use crate::support::http::HttpClient;
use crate::support::program::{Program, ends_within};
use crate::support::wait::until;

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

const LINK_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A service manager, as a program sees it.
pub struct Manager {
    socket: UnixDatagram,
    /// What `NOTIFY_SOCKET` says.
    pub name: String,
    told: Vec<String>,
}

impl Manager {
    pub fn new(name: &str) -> Self {
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(name),
        };
        let socket = UnixDatagram::bind_addr(&address.unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            name: name.to_owned(),
            told: Vec::new(),
        }
    }

    /// One in a folder.
    pub fn within(folder: &Path) -> Self {
        Self::new(folder.join("notify").to_str().unwrap())
    }

    /// Waits for the next message with this line, and gives its lines.
    #[track_caller]
    pub fn wait_for(&mut self, line: &str) -> Vec<String> {
        loop {
            let mut bytes = [0; 4_096];
            let size = self.socket.recv(&mut bytes);
            let size = size.unwrap_or_else(|error| panic!("no {line}: {error}; {:?}", self.told));
            let lines = str::from_utf8(&bytes[..size]).unwrap().lines();
            let lines: Vec<String> = lines.map(str::to_owned).collect();
            self.told.extend(lines.iter().cloned());
            if lines.iter().any(|one| one == line) {
                return lines;
            }
        }
    }

    fn was_told(&self, line: &str) -> bool {
        self.told.iter().any(|one| one == line)
    }
}

#[test]
fn a_manager_is_told_when_a_program_serves_that_it_lives_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = format!("@tidings-test-{}", std::process::id());
    let path = folder.path().join("notify").to_str().unwrap().to_owned();
    let gateway = ["gateway", "--listen", "127.0.0.1:0", "--upstream"];
    let gateway = [
        &gateway[..],
        &["ws://127.0.0.1:9/link", "--link-key", LINK_KEY],
    ]
    .concat();
    for (name, arguments) in [(hidden, &SERVE[..]), (path, &gateway)] {
        let mut manager = Manager::new(&name);
        let mut command = tidings(folder.path(), arguments);
        command.env("NOTIFY_SOCKET", &name);
        command.env("WATCHDOG_USEC", "40000");
        let mut program = Program::start(&mut command);
        let lines = manager.wait_for("READY=1");
        assert_eq!(lines[1], format!("STATUS=serving on {}", program.address));
        assert_eq!(
            HttpClient::connect(program.address).get("/readyz").status,
            200
        );
        for _ in 0..3 {
            manager.wait_for("WATCHDOG=1");
        }
        assert!(!manager.was_told("STOPPING=1"));
        program.signal(Signal::TERM);
        let lines = manager.wait_for("STOPPING=1");
        assert_eq!(lines[1], "STATUS=stopping");
        assert_eq!(program.exit_code(), 0);
    }
}

#[test]
fn signs_of_life_are_for_a_manager_that_waits_for_them_of_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let start = |name: &str, watchdog: &[(&str, &str)]| {
        let data = folder.path().join(name);
        fs::create_dir(&data).unwrap();
        let manager = Manager::within(&data);
        let mut command = tidings(&data, &SERVE);
        command.env("NOTIFY_SOCKET", &manager.name);
        command.envs(watchdog.iter().copied());
        (Program::start(&mut command), manager)
    };
    let others = ("WATCHDOG_PID", "1");
    let silent = [
        start("anothers", &[("WATCHDOG_USEC", "20000"), others]),
        start("off", &[("WATCHDOG_USEC", "0")]),
        start("none", &[]),
    ];
    let (program, mut manager) = start("ours", &[("WATCHDOG_USEC", "20000")]);
    for _ in 0..10 {
        manager.wait_for("WATCHDOG=1");
    }
    program.stop();
    for (program, mut manager) in silent {
        program.stop();
        manager.wait_for("STOPPING=1");
        assert!(!manager.was_told("WATCHDOG=1"), "{}", manager.name);
    }
}

#[test]
fn a_manager_that_is_not_there_keeps_no_server_from_serving() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["/nowhere/notify", "notify", "vsock:2:1"] {
        let mut command = tidings(folder.path(), &SERVE);
        let mut program = Program::start(command.env("NOTIFY_SOCKET", name));
        program.stderr.wait_for("can't tell the service manager");
        program.stop();
    }
}

#[test]
fn a_push_process_is_not_the_managers() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::within(folder.path());
    let gateway = ["gateway", "--listen", "127.0.0.1:0", "--upstream"];
    let gateway = [
        &gateway[..],
        &["ws://127.0.0.1:9/link", "--link-key", LINK_KEY],
    ]
    .concat();
    let mut command = tidings(folder.path(), &gateway);
    command.env("NOTIFY_SOCKET", &manager.name);
    let mut gateway = Program::start(&mut command);
    gateway.stderr.wait_for("the link is dead");
    let push = children_of(gateway.pid())[0];
    let environment = fs::read(format!("/proc/{}/environ", push.as_raw_pid())).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"));
    gateway.stop();
}

/// A program that is started with sockets as its descriptors 3 and, if there is a second one, 4.
pub fn with_sockets(
    folder: &Path,
    (count, first): (&str, OwnedFd),
    second: Stdio,
    arguments: &[&str],
) -> Command {
    let mut command = Command::new("sh");
    let script =
        "LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_tidings")])
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env("LISTEN_FDS", count)
        .stdin(first)
        .stdout(second)
        .stderr(Stdio::piped());
    command
}

/// Stops a program with SIGTERM.
#[track_caller]
pub fn stop(mut program: Child) {
    let pid = Pid::from_child(&program);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(ends_within(pid, PATIENCE), "it has not ended");
    assert_eq!(program.wait().unwrap().code(), Some(0));
}

#[test]
fn connections_to_the_sockets_of_a_manager_are_answered_also_those_that_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = Manager::within(folder.path());
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (listen(), listen());
    let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
    let early = addresses.map(|address| TcpStream::connect(address).unwrap());
    let second = Stdio::from(OwnedFd::from(second));
    let serve = ["serve", "--listen", "127.0.0.1:1"];
    let mut command = with_sockets(folder.path(), ("2", first.into()), second, &serve);
    let program = command.env("NOTIFY_SOCKET", &manager.name).spawn().unwrap();
    drop(command);
    let lines = manager.wait_for("READY=1");
    let [first, second] = addresses;
    assert_eq!(lines[1], format!("STATUS=serving on {first}, {second}"));
    for stream in early {
        assert_eq!(HttpClient::on(stream).get("/healthz").status, 200);
    }
    for address in addresses {
        assert_eq!(HttpClient::connect(address).get("/healthz").status, 200);
    }
    stop(program);
}

#[test]
fn sockets_that_are_for_another_process_stay_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidings(folder.path(), &SERVE);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let program = Program::start(&mut command);
    assert_eq!(
        HttpClient::connect(program.address).get("/healthz").status,
        200
    );
    program.stop();
}

#[test]
fn a_socket_that_cant_be_used_is_refused_with_what_to_change_in_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let listening = || TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = || TcpStream::connect(listening().local_addr().unwrap()).unwrap();
    let datagrams = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let at_a_path = || UnixListener::bind(folder.path().join("socket")).unwrap();
    let exposed = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let serve = ["serve"];
    for (count, socket, arguments, reason) in [
        (
            "1",
            OwnedFd::from(datagrams()),
            &serve[..],
            "it is no TCP socket: the .socket unit needs",
        ),
        (
            "1",
            at_a_path().into(),
            &serve,
            "it is no TCP socket: the .socket unit needs",
        ),
        ("1", connected().into(), &serve, "take Accept=yes out"),
        (
            "1",
            exposed().into(),
            &serve,
            "which other machines can reach",
        ),
        (
            "2",
            listening().into(),
            &serve,
            "socket 2 of 2 that LISTEN_FDS tells of: it is no TCP",
        ),
        ("many", listening().into(), &serve, "LISTEN_FDS is \"many\""),
        ("1", listening().into(), &["serve", "-d"], "leave -d out"),
    ] {
        let mut command = with_sockets(folder.path(), (count, socket), Stdio::null(), arguments);
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{reason}: {said}");
        assert!(said.contains(reason), "{reason}: {said}");
    }
    until("nothing was begun", || {
        !folder.path().join("tidings-data").exists()
    });
}
