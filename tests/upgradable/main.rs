//! The upgrade of a program that uses the library, through real executions.
//!
//! A binary of its own, without the standard harness, since the binary is the program under test as well: it
//! is executed anew, in its own place and for rehearsals.

mod part;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::panic::catch_unwind;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::Signal;
use support::frame::frame;
use support::program::Program;
use support::websocket::WebSocketClient;

/// Makes this binary the program under test.
const PART_VAR: &str = "TIDINGS_TEST_PART";

/// The folder in which the program finds what it shall do.
const FOLDER_VAR: &str = "TIDINGS_TEST_FOLDER";

fn main() -> ExitCode {
    if let Ok(part) = std::env::var(PART_VAR) {
        part::run(&part, std::env::var_os(FOLDER_VAR).unwrap().into());
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = std::env::args().skip(1).collect();
    let filters: Vec<_> = filters.iter().filter(|one| !one.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in TESTS {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(&***filter)) {
            let is_ok = catch_unwind(test).is_ok();
            println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
            failed += usize::from(!is_ok);
        }
    }
    ExitCode::from(u8::from(failed > 0))
}

const TESTS: &[(&str, fn())] = &[
    (
        "what_the_callbacks_know_outlives_the_program_and_so_does_every_connection",
        carries,
    ),
    (
        "what_a_pause_holds_back_outlives_the_program_and_so_does_the_pause",
        pauses,
    ),
    (
        "a_program_that_does_not_say_that_it_can_be_upgraded_refuses_the_signal",
        plain,
    ),
    ("run_off_the_main_thread_refuses", off_main),
    (
        "a_second_server_in_the_program_refuses_while_it_runs",
        second,
    ),
    (
        "a_request_that_is_not_answered_refuses_and_is_named",
        unanswered,
    ),
    (
        "a_section_of_a_newer_version_is_refused_by_its_name",
        versions,
    ),
    ("a_section_that_nobody_reads_is_refused", forgotten),
    (
        "a_function_that_fails_in_the_next_image_has_the_one_before_go_on",
        way_back,
    ),
    (
        "a_stand_that_would_be_too_long_refuses_and_a_thaw_that_takes_too_long_is_taken_back",
        times,
    ),
    ("what_on_freeze_sends_is_dropped", speaks),
    ("an_on_freeze_that_panics_refuses", freeze_panics),
    (
        "a_renewal_waits_for_the_end_of_an_upgrade_and_so_does_another_upgrade",
        errands,
    ),
    ("another_program_in_its_place_is_refused", another_program),
];

/// The program under test.
struct Upgradable {
    folder: tempfile::TempDir,
    program: Program,
}

impl Upgradable {
    fn start(part: &str) -> Self {
        Self::of(&std::env::current_exe().unwrap(), part)
    }

    fn of(binary: &std::path::Path, part: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary);
        command.env(PART_VAR, part).env(FOLDER_VAR, folder.path());
        let program = Program::start(&mut command);
        Self { folder, program }
    }

    fn say(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn unsay(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    fn get(&self, path: &str) -> String {
        let answer = self.program.http().get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    /// Waits until a rehearsal has the trial handover, and waits as it was told.
    fn rehearses(&self) {
        let waits = self.folder.path().join("waits");
        support::wait::until("a rehearsal waits", || waits.exists());
    }

    /// An upgrade that goes well.
    #[track_caller]
    fn is_upgraded(&mut self) {
        self.program.signal(Signal::USR2);
        self.program.stdout.wait_for("listening on");
        let last = self.get("/last");
        assert!(last.starts_with("upgraded from a part: "), "{last}");
    }

    /// An upgrade that is refused for this reason, and changes nothing.
    #[track_caller]
    fn is_refused(&mut self, reason: &str) {
        self.program.signal(Signal::USR2);
        let line = self.program.stderr.wait_for("the program stays what it is");
        assert!(line.contains(reason), "{reason}: {line}");
        let last = self.get("/last");
        assert!(last.contains(reason), "{reason}: {last}");
    }

    /// The next number that a client hears is this one.
    #[track_caller]
    fn counts(&self, client: &mut WebSocketClient, number: u64) {
        client.say("how many");
        let heard = client.hear_text();
        assert!(heard.ends_with(&format!(" {number}")), "{number}: {heard}");
    }
}

fn carries() {
    let mut server = Upgradable::start("server");
    let mut client = server.program.websocket("/");
    let mut http = server.program.http();
    client.say("how many");
    let first = client.hear_text();
    let fd = first.strip_suffix(" 1").expect("a number");
    let mut number = 1;
    for way in ["signal", "handle"] {
        match way {
            "signal" => server.is_upgraded(),
            _ => {
                assert_eq!(server.get("/upgrade"), "asked");
                server.program.stdout.wait_for("listening on");
            }
        }
        number += 1;
        client.say("how many");
        assert_eq!(client.hear_text(), format!("{fd} {number}"));
        number += 1;
        assert_eq!(http.get("/count").body, number.to_string());
        assert_eq!(http.get("/user").body, "sent");
        assert_eq!(client.hear_text(), "for ann");
        assert_eq!(http.get("/task").body, "load");
    }
    assert!(server.get("/last").contains(" connections, a pause of "));
    drop((client, http));
    server.program.stop();
}

fn pauses() {
    let mut server = Upgradable::start("server");
    let mut client = server.program.websocket("/");
    // Read together, so that the second one waits on the worker, and the third is never read.
    client.pour(&[frame(0x81, b"pause"), frame(0x81, b"and")].concat());
    assert!(client.hear_text().ends_with(" 1"));
    client.say("more");
    for _ in 0..2 {
        server.is_upgraded();
        assert_eq!(client.hear_within(Duration::from_millis(50)), None);
    }
    assert_eq!(server.get("/resume"), "resumed");
    assert!(client.hear_text().ends_with(" 2"));
    assert!(client.hear_text().ends_with(" 3"));
    drop(client);
    server.program.stop();
}

fn plain() {
    let mut server = Upgradable::start("plain");
    let mut client = server.program.websocket("/");
    server.is_refused("Builder::upgradable wasn't called");
    server.counts(&mut client, 1);
    drop(client);
    server.program.stop();
}

fn off_main() {
    let mut server = Upgradable::start("off-main");
    server.is_refused("Builder::run wasn't called on the main thread");
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.exit_code(), 0);
}

fn second() {
    let mut server = Upgradable::start("server");
    assert_eq!(server.get("/second"), "two");
    server.is_refused("another server runs in this program");
    assert_eq!(server.get("/alone"), "one");
    server.is_upgraded();
    server.program.stop();
}

fn unanswered() {
    let mut server = Upgradable::start("server");
    let mut held = server.program.http();
    held.send_get("/hold");
    // It has been handed on before this one is answered, or is read before the freeze.
    assert_eq!(server.get("/count"), "1");
    server.is_refused("it waited for a request of connection ");
    let last = server.get("/last");
    assert!(last.contains("which was unanswered for "), "{last}");
    assert!(last.contains("within 300 ms"), "{last}");
    assert_eq!(server.get("/release"), "released");
    assert_eq!(held.answer().unwrap().body, "late");
    server.is_upgraded();
    assert_eq!(held.get("/count").body, "2");
    drop(held);
    server.program.stop();
}

fn versions() {
    let mut server = Upgradable::start("server");
    let mut client = server.program.websocket("/");
    server.say("version", "2");
    server.is_upgraded();
    server.counts(&mut client, 1);
    // The old one writes 2, and the next one, which begins later, knows 1.
    server.say("version", "2");
    server.say("rehearsal waits", "");
    server.program.signal(Signal::USR2);
    server.rehearses();
    server.say("version", "1");
    server.unsay("rehearsal waits");
    let line = server.program.stderr.wait_for("the program stays");
    let reason = "section count has version 2, and this program knows 1 at most";
    assert!(line.contains(reason), "{line}");
    server.counts(&mut client, 2);
    drop(client);
    server.program.stop();
}

fn forgotten() {
    let mut server = Upgradable::start("server");
    server.say("thaw forgets", "");
    server.is_refused("the program would forget section count");
    server.unsay("thaw forgets");
    server.is_upgraded();
    server.program.stop();
}

fn way_back() {
    let mut server = Upgradable::start("server");
    let mut client = server.program.websocket("/");
    server.counts(&mut client, 1);
    let mut number = 1;
    for (what, reason) in [
        ("thaw refuses", "as the test wants"),
        ("thaw panics", "the thaw has panicked"),
    ] {
        server.say(what, "");
        server.program.signal(Signal::USR2);
        server.program.stdout.wait_for("listening on");
        let last = server.get("/last");
        let back = format!("the next image could not go on, so this one does: {reason}");
        assert!(last.starts_with(&back), "{last}");
        number += 1;
        server.counts(&mut client, number);
        server.unsay(what);
    }
    server.say("rehearsal refuses", "");
    server.is_refused("can't take over: as the test wants");
    server.unsay("rehearsal refuses");
    server.is_upgraded();
    server.counts(&mut client, 4);
    drop(client);
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.exit_code(), 0);
}

fn times() {
    let mut server = Upgradable::start("server");
    let mut client = server.program.websocket("/");
    server.counts(&mut client, 1);
    server.say("freeze is slow", "");
    server.is_upgraded();
    // In force from the next upgrade on.
    assert_eq!(server.get("/hasty"), "hasty");
    server.is_refused("everything would stand still for longer than 50 ms: it did so for ");
    server.counts(&mut client, 2);
    server.unsay("freeze is slow");
    server.say("thaw hangs", "");
    server.program.signal(Signal::USR2);
    server.program.stdout.wait_for("listening on");
    let last = server.get("/last");
    assert!(last.contains("the thaw took longer than 400 ms"), "{last}");
    server.counts(&mut client, 3);
    drop(client);
    server.program.stop();
}

fn speaks() {
    let mut server = Upgradable::start("server");
    let mut client = server.program.websocket("/");
    server.counts(&mut client, 1);
    server.say("speaks", "");
    server.is_upgraded();
    server
        .program
        .stderr
        .wait_for("what on_freeze sends is dropped");
    server.counts(&mut client, 2);
    // After the trial as well, this image goes on and has sent nothing.
    server.say("rehearsal refuses", "");
    server.is_refused("as the test wants");
    server.counts(&mut client, 3);
    drop(client);
    server.program.stop();
}

fn freeze_panics() {
    let mut server = Upgradable::start("server");
    server.say("freeze panics", "");
    server.is_refused("on_freeze has panicked");
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.exit_code(), 0);
}

fn errands() {
    let mut server = Upgradable::start("server");
    server.say("rehearsal waits", "");
    server.say("rehearsal refuses", "");
    server.program.signal(Signal::USR2);
    server.rehearses();
    // Both are remembered, and nothing of them is done while the upgrade is under way.
    for _ in 0..2 {
        server.program.signal(Signal::USR2);
    }
    assert_eq!(server.get("/reload"), "None");
    server.unsay("rehearsal waits");
    server.program.stderr.wait_for("the program stays");
    let mut left = vec!["renewed: workers 2", "the program stays"];
    while !left.is_empty() {
        let line = server.program.stderr.wait_for("");
        left.retain(|text| !line.contains(text));
    }
    server.unsay("rehearsal refuses");
    // One that waits is done by the next image.
    server.unsay("waits");
    server.say("rehearsal waits", "");
    server.program.signal(Signal::USR2);
    server.rehearses();
    server.program.signal(Signal::USR2);
    assert_eq!(server.get("/count"), "1");
    server.unsay("rehearsal waits");
    for _ in 0..2 {
        server.program.stdout.wait_for("listening on");
    }
    assert_eq!(server.get("/count"), "2");
    server.program.stop();
}

fn another_program() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let mut server = Upgradable::of(&binary, "server");
    let mut client = server.program.websocket("/");
    for (other, reason) in [
        ("/bin/true", "its rehearsal ended without a report"),
        ("/nowhere", "No such file"),
    ] {
        fs::remove_file(&binary).ok();
        _ = fs::copy(other, &binary);
        server.is_refused(reason);
    }
    server.counts(&mut client, 1);
    drop(client);
    server.program.stop();
}
