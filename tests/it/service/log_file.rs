//! A log file that is moved away is opened anew, and no line is lost between the two.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::tidings;
use crate::support::http::request_with;
use crate::support::program::Program;
use crate::support::wait::until;

/// Moves of the file while lines are written.
const MOVES: usize = 40;

/// Longer than it takes until another line may be written.
const LINE_EVERY: Duration = Duration::from_millis(250);

/// Refused requests of which the lines in all files of a folder tell.
fn told_in(folder: &Path) -> usize {
    let files = fs::read_dir(folder).unwrap().flatten();
    let texts = files.map(|file| fs::read_to_string(file.path()).unwrap());
    let told = texts.flat_map(|text| {
        let lines = text.lines();
        let refused = lines.filter(|line| line.contains("\"refused\""));
        let told = refused.map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a whole line");
            1 + line["fields"]["left_out"].as_u64().unwrap_or(0) as usize
        });
        told.collect::<Vec<_>>()
    });
    told.sum()
}

/// A folder of logs, which are shown where a test fails.
struct ShownLogs<'a>(&'a Path);

impl Drop for ShownLogs<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for file in fs::read_dir(self.0).into_iter().flatten().flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let lines = text.lines().filter(|line| !line.contains("\"refused\""));
            lines.for_each(|line| eprintln!("{}: {line}", file.path().display()));
        }
    }
}

#[test]
fn no_line_is_lost_when_the_log_file_is_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let _shown = ShownLogs(folder.path());
    let (log, data) = (folder.path().join("log"), tempfile::tempdir().unwrap());
    let log_file = log.to_str().unwrap();
    let mut server = Program::start(&mut tidings(
        data.path(),
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--log-file",
            log_file,
        ],
    ));
    let mode = fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let mut http = server.http();
    let mut asked = 0;
    let mut ask = |asked: &mut usize| {
        http.send(request_with(
            "GET",
            "/v1/stats",
            "Origin: http://evil.example\r\n",
            "",
        ))
        .unwrap();
        assert_eq!(http.answer().unwrap().status, 403);
        *asked += 1;
    };
    for number in 0..MOVES {
        for _ in 0..25 {
            ask(&mut asked);
        }
        // A signal without a move changes nothing.
        if number % 4 > 0 {
            fs::rename(&log, folder.path().join(format!("log.{number}"))).unwrap();
        }
        let signal = [Signal::HUP, Signal::USR1][number % 2];
        server.signal(signal);
        until("the file is opened anew", || {
            ask(&mut asked);
            log.exists()
        });
    }
    // What was left out is told with the next line, of which there are ten a second.
    let mut last = Instant::now();
    until("every refusal is told", || {
        if last.elapsed() > LINE_EVERY {
            last = Instant::now();
            ask(&mut asked);
        }
        let told = told_in(folder.path());
        assert!(told <= asked, "{told} of {asked}");
        told == asked
    });
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    assert_eq!(server.stderr.all(), "", "all of the log is in files");
    let last = fs::read_to_string(&log).unwrap();
    assert!(last.contains("\"message\":\"stopped\""), "{last}");
}

#[test]
fn a_log_file_that_cant_be_opened_anew_stays_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", "none"];
    let serve = [&serve[..], &["--log-file", "logs/log"]].concat();
    let mut server = Program::start(&mut tidings(folder.path(), &serve));
    let moved = folder.path().join("moved");
    fs::rename(&logs, &moved).unwrap();
    server.signal(Signal::USR1);
    let log = || fs::read_to_string(moved.join("log")).unwrap();
    until("it says so", || log().contains("can't open the log file"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    assert!(log().trim_end().ends_with("stopped"), "{}", log());
}

#[test]
fn the_push_process_of_a_gateway_follows_the_log_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tidings(
        folder.path(),
        &[
            "gateway",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "ws://127.0.0.1:9/link",
            "--log-file",
            "log",
            "--log-level",
            "debug",
            "--set",
            "gateway.retry_ms_min=50",
            "--set",
            "gateway.retry_ms_max=50",
        ],
    );
    command.env(
        "TIDINGS_GATEWAY_LINK_KEY",
        "0123456789abcdef0123456789abcdef",
    );
    let gateway = Program::start(&mut command);
    let log = folder.path().join("log");
    let has_dead_link = || fs::read_to_string(&log).is_ok_and(|log| log.contains("link is dead"));
    until("the push process logs", has_dead_link);
    fs::rename(&log, folder.path().join("log.1")).unwrap();
    gateway.signal(Signal::HUP);
    until("it logs into the new file", has_dead_link);
    gateway.stop();
}
