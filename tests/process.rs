//! The push-task process, with real processes and real signals.
//!
//! A binary of its own, without the standard harness, since the binary is re-executed as the process under test, and
//! since a process dies with the thread that started it: all tests run on the main thread.

#[path = "process/images.rs"]
mod images;

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, getpid, kill_process, kill_process_group,
    pidfd_getfd, pidfd_open, pidfd_send_signal,
};
use tidings::handover::{Section, SectionWriter};
use tidings::server::Server;
use tidings::server::process::{
    Incoming, Process, ProcessEvent, ProcessLink, ProcessSettings, ProcessSpec, ProcessesHandover,
    Supervisor, TaskError, TaskId, TaskOutcome, entered,
};

/// Makes the test binary play another part: the server of a test that kills the server.
const PART_VAR: &str = "TIDINGS_TEST_PART";

/// Nothing that a test waits for takes longer, in seconds.
const PATIENCE_S: u64 = 20;

fn main() -> ExitCode {
    match entered() {
        Ok(Some(process)) => return run_process(process),
        Ok(None) => {}
        Err(_) => return ExitCode::FAILURE,
    }
    match std::env::var(PART_VAR).as_deref() {
        Ok("stranger") => println!("not entered"),
        Ok("first") => run_first_process(),
        Ok(images::PART) => return images::run_program(),
        Ok(name) => run_server(name),
        Err(_) => return run_tests(),
    }
    ExitCode::SUCCESS
}

// What the processes under test do, by name.

fn run_process(mut process: Process) -> ExitCode {
    let ended = match process.name() {
        "task" | "halves" | "slow" => images::run_process(process),
        "echo" => echo(&mut process),
        "log" => log(&mut process),
        "fifo" => process.run_tasks(|path| std::fs::read(as_path(path)).unwrap()),
        "panic" => {
            std::panic::set_hook(Box::new(|_| {}));
            process.run_tasks(|task| {
                assert_ne!(task, b"panic", "told to");
                task.to_vec()
            })
        }
        "large" => process.run_tasks(|_| vec![0; 1_001]),
        "nested" => process.run_tasks(|_| {
            Command::new("/proc/self/exe")
                .env(PART_VAR, "stranger")
                .output()
                .unwrap()
                .stdout
        }),
        "leave" => return ExitCode::from(3),
        "garble" => garble(&process.into_pipe()),
        "drop" => {
            drop(process);
            rest()
        }
        "deaf" => rest(),
        "hang" => process.send(b"here").and_then(|()| rest()),
        name => panic!("no such process: {name}"),
    };
    ended.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn echo(process: &mut Process) -> io::Result<()> {
    loop {
        match process.receive()? {
            Incoming::Message(payload) => process.send(&payload)?,
            Incoming::Task { id, payload } => process.finish(id, &payload)?,
            Incoming::Stop | Incoming::Gone => return Ok(()),
        }
    }
}

/// Notes the beginning and the end of each task in the file that the task names.
fn log(process: &mut Process) -> io::Result<()> {
    let mut file: Option<File> = None;
    loop {
        match process.receive()? {
            Incoming::Task { id, payload } => {
                let file = file.get_or_insert_with(|| {
                    OpenOptions::new()
                        .append(true)
                        .open(as_path(&payload))
                        .unwrap()
                });
                file.write_all(format!("began {} {}\n", id.0, std::process::id()).as_bytes())?;
                process.finish(id, b"")?;
                file.write_all(format!("finished {} {}\n", id.0, std::process::id()).as_bytes())?;
            }
            Incoming::Message(_) => {}
            Incoming::Stop | Incoming::Gone => return Ok(()),
        }
    }
}

fn garble(pipe: &tidings::server::process::ProcessPipe) -> io::Result<()> {
    rustix::io::write(pipe, &[0xff; 100])?;
    rest()
}

fn rest() -> ! {
    loop {
        std::thread::park();
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(std::str::from_utf8(bytes).unwrap())
}

/// A server that is the first process of its namespace, and whose worker starts programs of its own
/// while orphans end.
fn run_first_process() {
    assert_eq!(std::process::id(), 1);
    let server = Server::builder().listen("127.0.0.1:0");
    let start = |script: &str| Command::new("/bin/sh").args(["-c", script]).status();
    let builder = server.on_worker_start(move |server, _| {
        for number in 0..50 {
            // The inner one is left by its parent, and ends at once.
            let status = start(&format!("(:&); exit {number}")).unwrap();
            assert_eq!(status.code(), Some(number));
        }
        println!("knows the ends of its own");
        server.stop();
    });
    assert!(builder.run().unwrap().is_clean());
}

/// A server of its own: tells the PID of its process, runs each line of its input as a task, and
/// stops at the end of it.
fn run_server(name: &str) {
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default()).unwrap();
    let mut rig = Rig::start(name, ProcessSettings::default());
    let pid = rig.started();
    if name == "hang" {
        assert!(matches!(rig.next(), ProcessEvent::Message { .. }));
    }
    println!("{pid}");
    for line in io::stdin().lines() {
        rig.link.task(line.unwrap()).unwrap();
        let (_, outcome) = rig.finished();
        println!("{outcome:?} restarts {}", rig.link.stats().restarts);
    }
    rig.stop_and_finish();
}

// The tests.

const TESTS: &[(&str, fn())] = &[
    (
        "killed_again_and_again_no_task_is_lost_and_no_finished_one_repeated",
        kills,
    ),
    (
        "results_that_nobody_read_before_the_death_count",
        unread_results,
    ),
    (
        "a_killed_process_is_back_within_a_second",
        back_within_a_second,
    ),
    ("killed_while_idle_it_is_back_too", killed_while_idle),
    ("nothing_is_left_when_the_server_is_killed", server_killed),
    (
        "an_interrupt_from_the_terminal_leaves_the_process_alone",
        interrupt,
    ),
    ("stop_waits_for_the_task_that_runs", stop_waits),
    ("stop_runs_whatever_was_accepted_before", stop_runs_all),
    (
        "stop_goes_on_when_the_process_is_killed_meanwhile",
        stop_despite_kill,
    ),
    (
        "a_process_that_does_not_stop_is_killed_and_its_tasks_counted",
        stop_deadline,
    ),
    ("a_second_signal_kills_at_once", kill_at_once),
    ("a_panic_fails_its_task_and_the_process_lives_on", panics),
    ("a_result_larger_than_a_frame_fails_its_task", large_result),
    ("frames_of_every_size_come_back_whole", frame_sizes),
    ("messages_keep_their_order_both_ways", messages),
    ("full_at_the_bound_and_not_any_more_once_it_goes_on", full),
    ("a_process_that_reads_nothing_holds_nobody_up", deaf),
    ("sigterm_to_the_process_lets_it_finish_what_it_has", sigterm),
    (
        "one_that_ends_at_once_is_restarted_later_and_later_and_leaks_nothing",
        leaves,
    ),
    ("garbage_on_the_pipe_costs_the_process_its_life", garbage),
    (
        "one_that_closes_its_pipe_and_lives_on_is_killed",
        drops_pipe,
    ),
    ("what_the_process_starts_itself_is_not_taken_for_it", nested),
    ("dropping_the_supervisor_leaves_nothing_behind", dropped),
    ("two_processes_have_each_their_own_tasks", two),
    (
        "renewed_again_and_again_each_task_runs_once_and_in_order",
        renewals,
    ),
    (
        "one_that_makes_no_room_for_its_successor_is_killed_and_its_tasks_run_again",
        renewal_deadline,
    ),
    (
        "one_that_waits_for_its_restart_is_started_at_once_when_it_is_renewed",
        renewed_while_waiting,
    ),
    (
        "a_stop_during_a_renewal_runs_whatever_was_accepted",
        renewal_stopped,
    ),
    ("processes_are_renewed_one_after_another", two_renewed),
    (
        "handed_over_at_any_moment_each_task_runs_once_and_in_order",
        handed_over,
    ),
    (
        "one_that_dies_while_it_is_handed_over_is_buried_and_its_tasks_run_again",
        dead_when_handed_over,
    ),
    (
        "a_task_under_way_while_the_program_is_replaced_ends_once_and_those_behind_it_follow",
        images::tasks,
    ),
    (
        "a_process_that_is_killed_while_the_program_is_replaced_is_missed_and_its_tasks_run_again",
        images::killed,
    ),
    (
        "what_is_half_said_by_a_process_while_the_program_is_replaced_is_heard_once",
        images::halves,
    ),
    (
        "what_is_half_told_to_a_process_while_the_program_is_replaced_is_told_once",
        images::half_read,
    ),
    (
        "the_first_process_of_a_container_leaves_what_its_threads_start_to_them",
        first_process,
    ),
];

fn kills() {
    let (dir, path) = temp_file();
    let mut rig = Rig::start("log", ProcessSettings::default());
    let mut pid = rig.started();
    let accepted: HashSet<_> = (0..10_000)
        .map(|_| rig.link.task(path.clone()).unwrap())
        .collect();
    let mut finished = HashSet::new();
    let mut kills = 0;
    while finished.len() < accepted.len() {
        match rig.next() {
            ProcessEvent::Finished { task, .. } => {
                assert!(finished.insert(task), "{task:?} finished twice");
                if kills < 6 && finished.len() == 500 + kills * 1_500 {
                    signal(pid, Signal::KILL);
                    kills += 1;
                }
            }
            ProcessEvent::Started { pid: next, .. } => pid = next,
            ProcessEvent::Died { status, .. } => assert_eq!(status.signal(), Some(9)),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(finished, accepted);
    rig.stop_and_finish();
    assert_eq!((kills, rig.link.stats().restarts), (6, 6));

    let log = std::fs::read_to_string(path).unwrap();
    let mut done = HashSet::new();
    let mut last_of = HashMap::new();
    let mut began = 0;
    for line in log.lines() {
        let mut words = line.split(' ');
        let what = words.next().unwrap();
        let [id, pid] =
            [words.next(), words.next()].map(|word| word.unwrap().parse::<u64>().unwrap());
        if what == "finished" {
            done.insert(id);
            continue;
        }
        assert!(!done.contains(&id), "task {id} was finished and ran again");
        assert!(
            last_of.insert(pid, id).is_none_or(|last| last < id),
            "task {id} out of order"
        );
        began += 1;
    }
    assert!(
        began <= 10_000 + kills,
        "{began} runs: only the one under way at a kill may be repeated"
    );
    drop(dir);
}

fn unread_results() {
    let (dir, path) = temp_fifo();
    let mut rig = Rig::start("fifo", ProcessSettings::default());
    let pid = rig.started();
    let quick = [(); 50].map(|()| rig.link.task("/dev/null").unwrap());
    let slow = rig.link.task(path.clone()).unwrap();
    rig.turn(Instant::now());
    // Opens once the slow task runs, so the results of the quick ones are on the pipe.
    let gate = OpenOptions::new().write(true).open(&path).unwrap();
    let pidfd = pidfd_open(as_pid(pid), PidfdFlags::empty()).unwrap();
    signal(pid, Signal::KILL);
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
    // Now the supervisor learns of the death before it has read anything.
    rig.turn(Instant::now());
    assert_eq!(quick.map(|_| rig.finished().0), quick);
    assert_eq!(rig.died().signal(), Some(9));
    drop(gate);
    rig.started();
    drop(OpenOptions::new().write(true).open(&path).unwrap());
    assert_eq!(rig.finished().0, slow);
    rig.stop_and_finish();
    drop(dir);
}

fn back_within_a_second() {
    let mut rig = Rig::start("echo", ProcessSettings::default());
    let mut pid = rig.started();
    for _ in 0..4 {
        rig.link.task("before").unwrap();
        rig.finished();
        signal(pid, Signal::KILL);
        rig.link.task("after").unwrap();
        match rig.next() {
            ProcessEvent::Died {
                status, restart_in, ..
            } => {
                assert_eq!(status.signal(), Some(9));
                // The rest is what the machine takes to start a process.
                let pause = restart_in.expect("it comes again");
                assert!(pause < Duration::from_millis(500), "{pause:?}");
            }
            event => panic!("{event:?}"),
        }
        pid = rig.started();
        rig.finished();
    }
    rig.stop_and_finish();
}

fn killed_while_idle() {
    let mut rig = Rig::start("echo", ProcessSettings::default());
    let first = rig.started();
    signal(first, Signal::KILL);
    rig.died();
    assert_eq!(rig.link.stats().pid, None);
    let second = rig.started();
    assert_ne!(first, second);
    assert_eq!(
        (rig.link.stats().pid, rig.link.stats().restarts),
        (Some(second), 1)
    );
    rig.stop_and_finish();
}

fn server_killed() {
    // One that may not have come as far as `entered`, and one that has and never looks up again.
    for name in ["deaf", "hang"] {
        let mut server = Command::new("/proc/self/exe")
            .env(PART_VAR, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = line(&mut BufReader::new(server.stdout.take().unwrap()))
            .parse()
            .unwrap();
        let pidfd = pidfd_open(as_pid(pid), PidfdFlags::empty()).unwrap();
        server.kill().unwrap();
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let gone = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&second));
        // Nothing outlives the test, also when it fails; gone already is what it should be.
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        assert_eq!(gone, Ok(1), "{name} is left");
        server.wait().unwrap();
    }
}

fn interrupt() {
    let mut server = Command::new("/proc/self/exe")
        .env(PART_VAR, "echo")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = server.stdin.take().unwrap();
    let mut output = BufReader::new(server.stdout.take().unwrap());
    line(&mut output);
    // The first task's result shows that the process has come as far as `entered`.
    for _ in 0..3 {
        writeln!(input, "x").unwrap();
        assert_eq!(line(&mut output), "Done(b\"x\") restarts 0");
        kill_process_group(as_pid(server.id()), Signal::INT).unwrap();
    }
    drop(input);
    assert!(server.wait().unwrap().success());
}

fn stop_waits() {
    let (dir, path) = temp_fifo();
    let mut rig = Rig::start("fifo", ProcessSettings::default());
    rig.started();
    rig.link.task(path.clone()).unwrap();
    rig.turn(Instant::now());
    // Opens once the task has opened the other end: it runs.
    let mut gate = OpenOptions::new().write(true).open(path).unwrap();
    rig.supervisor.stop(Instant::now());
    assert_eq!(rig.link.task("late"), Err(TaskError::Stopping));
    rig.turn(Instant::now() + Duration::from_millis(100));
    assert_eq!(rig.supervisor.next_event(), None);
    assert!(!rig.supervisor.is_finished());
    gate.write_all(b"at last").unwrap();
    drop(gate);
    assert_eq!(rig.finished().1, done("at last"));
    assert_eq!(rig.died().code(), Some(0));
    assert_eq!(rig.ended(), 0);
    drop(dir);
}

fn stop_runs_all() {
    let mut rig = Rig::start("echo", ProcessSettings::default());
    let accepted: Vec<_> = (0..1_000).map(|_| rig.link.task("x").unwrap()).collect();
    rig.supervisor.stop(Instant::now());
    rig.started();
    let finished: Vec<_> = accepted.iter().map(|_| rig.finished().0).collect();
    assert_eq!(finished, accepted);
    assert_eq!(rig.died().code(), Some(0));
    assert_eq!(rig.ended(), 0);
}

fn stop_despite_kill() {
    let mut rig = Rig::start("echo", ProcessSettings::default());
    let pid = rig.started();
    signal(pid, Signal::STOP);
    let accepted: Vec<_> = (0..1_000).map(|_| rig.link.task("x").unwrap()).collect();
    rig.turn(Instant::now());
    rig.supervisor.stop(Instant::now());
    signal(pid, Signal::KILL);
    assert_eq!(rig.died().signal(), Some(9));
    rig.started();
    let finished: Vec<_> = accepted.iter().map(|_| rig.finished().0).collect();
    assert_eq!(finished, accepted);
    assert_eq!(rig.died().code(), Some(0));
    assert_eq!(rig.ended(), 0);
}

fn stop_deadline() {
    let settings = ProcessSettings {
        stop_ms_max: 200,
        ..ProcessSettings::default()
    };
    let mut rig = Rig::start("deaf", settings);
    rig.started();
    for _ in 0..3 {
        rig.link.task("x").unwrap();
    }
    let told = Instant::now();
    rig.supervisor.stop(told);
    assert_eq!(rig.died().signal(), Some(9));
    assert_eq!(rig.ended(), 3);
    assert!(told.elapsed() >= Duration::from_millis(200));
    assert!(rig.supervisor.is_finished());
    assert_eq!(rig.supervisor.deadline(), None);
}

fn kill_at_once() {
    let mut rig = Rig::start("deaf", ProcessSettings::default());
    rig.started();
    rig.link.task("x").unwrap();
    rig.supervisor.stop(Instant::now());
    assert_eq!(rig.supervisor.kill(), 1);
    assert_eq!(rig.died().signal(), Some(9));
    assert_eq!(rig.ended(), 1);
}

fn panics() {
    let mut rig = Rig::start("panic", ProcessSettings::default());
    rig.started();
    let tasks = ["one", "panic", "two"].map(|payload| rig.link.task(payload).unwrap());
    assert_eq!(rig.finished(), (tasks[0], done("one")));
    let (task, outcome) = rig.finished();
    assert_eq!(task, tasks[1]);
    assert!(
        matches!(&outcome, TaskOutcome::Failed(why) if why.contains("told to")),
        "{outcome:?}"
    );
    assert_eq!(rig.finished(), (tasks[2], done("two")));
    assert_eq!(rig.link.stats().restarts, 0);
    rig.stop_and_finish();
}

fn large_result() {
    let mut rig = Rig::start(
        "large",
        ProcessSettings {
            frame_size_max: 1_000,
            ..ProcessSettings::default()
        },
    );
    rig.started();
    assert_eq!(
        rig.link.task(vec![0; 1_001]),
        Err(TaskError::TooLarge {
            size: 1_001,
            size_max: 1_000
        })
    );
    rig.link.task("x").unwrap();
    assert!(matches!(rig.finished().1, TaskOutcome::Failed(_)));
    rig.stop_and_finish();
}

fn frame_sizes() {
    let mut rig = Rig::start("echo", ProcessSettings::default());
    rig.started();
    let sizes = [
        0,
        1,
        12,
        13,
        14,
        1_000,
        65_535,
        65_536,
        65_537,
        212_992,
        1 << 20,
        3 << 20,
    ];
    let payload = |size: usize| {
        (0..size)
            .map(|index| (index % 251) as u8)
            .collect::<Vec<_>>()
    };
    // Glued: all at once. Split: the larger ones pass the kernel's buffer in many pieces.
    for size in sizes {
        rig.link.task(payload(size)).unwrap();
    }
    for size in sizes {
        assert!(
            rig.finished().1 == TaskOutcome::Done(payload(size).into()),
            "{size} bytes"
        );
    }
    rig.link.task(payload(16 << 20)).unwrap();
    assert!(
        rig.finished().1 == TaskOutcome::Done(payload(16 << 20).into()),
        "the largest frame"
    );
    rig.stop_and_finish();
}

fn messages() {
    let mut rig = Rig::start("echo", ProcessSettings::default());
    rig.started();
    for index in 0..20_000 {
        rig.link.send(index.to_string()).unwrap();
    }
    for index in 0..20_000 {
        match rig.next() {
            ProcessEvent::Message { payload, .. } => assert_eq!(payload, index.to_string()),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(rig.link.stats().bytes_queued, 0);
    rig.stop_and_finish();
}

fn full() {
    let settings = ProcessSettings {
        tasks_unfinished_max: 10,
        ..ProcessSettings::default()
    };
    let mut rig = Rig::start("echo", settings);
    signal(rig.started(), Signal::STOP);
    for _ in 0..10 {
        rig.link.task("x").unwrap();
        rig.turn(Instant::now());
    }
    assert!(matches!(
        rig.link.task("x"),
        Err(TaskError::Full { tasks: 10, .. })
    ));
    signal(rig.link.stats().pid.unwrap(), Signal::CONT);
    rig.finished();
    rig.link.task("y").unwrap();
    for _ in 0..9 {
        rig.finished();
    }
    assert_eq!(rig.finished().1, done("y"));
    rig.stop_and_finish();
}

fn deaf() {
    let settings = ProcessSettings {
        pipe_bytes_max: 4 << 20,
        ..ProcessSettings::default()
    };
    let mut rig = Rig::start("echo", settings);
    let pid = rig.started();
    signal(pid, Signal::STOP);
    let mut accepted = 0;
    while rig.link.task(vec![1; 1_000]).is_ok() {
        accepted += 1;
        let turned = Instant::now();
        rig.turn(turned);
        // One that waited for the pipe would wait for ever.
        assert!(turned.elapsed() < Duration::from_secs(PATIENCE_S));
    }
    assert_eq!(accepted, (4 << 20) / 1_064);
    assert!(rig.link.stats().bytes_queued <= 4 << 20);
    signal(pid, Signal::CONT);
    for _ in 0..accepted {
        rig.finished();
    }
    assert_eq!(rig.link.stats().bytes_queued, 0);
    rig.stop_and_finish();
}

fn sigterm() {
    let (dir, path) = temp_fifo();
    let mut rig = Rig::start("fifo", ProcessSettings::default());
    let pid = rig.started();
    let first = rig.link.task(path.clone()).unwrap();
    let second = rig.link.task("/dev/null").unwrap();
    rig.turn(Instant::now());
    let gate = OpenOptions::new().write(true).open(path).unwrap();
    signal(pid, Signal::TERM);
    drop(gate);
    assert_eq!(rig.finished().0, first);
    assert_eq!(rig.finished().0, second);
    assert_eq!(rig.died().code(), Some(0));
    rig.started();
    let third = rig.link.task("/dev/null").unwrap();
    assert_eq!(rig.finished().0, third);
    rig.stop_and_finish();
    drop(dir);
}

fn leaves() {
    let settings = ProcessSettings {
        restart_backoff_ms_min: 1,
        restart_backoff_ms_max: 4,
        ..ProcessSettings::default()
    };
    let mut rig = Rig::start("leave", settings);
    let descriptors = |_: &Rig| std::fs::read_dir("/proc/self/fd").unwrap().count();
    rig.started();
    let before = descriptors(&rig);
    for pause_ms in [1, 2, 4, 4, 4, 4, 4, 4] {
        match rig.next() {
            ProcessEvent::Died {
                status, restart_in, ..
            } => {
                assert_eq!(status.code(), Some(3));
                assert_eq!(restart_in, Some(Duration::from_millis(pause_ms)));
            }
            event => panic!("{event:?}"),
        }
        rig.started();
    }
    assert_eq!(descriptors(&rig), before);
    rig.supervisor.kill();
    rig.died();
    assert_eq!(rig.ended(), 0);
}

fn garbage() {
    let mut rig = Rig::start("garble", ProcessSettings::default());
    rig.started();
    assert_eq!(rig.died().signal(), Some(9));
    rig.started();
}

fn drops_pipe() {
    let mut rig = Rig::start(
        "drop",
        ProcessSettings {
            stop_ms_max: 50,
            ..ProcessSettings::default()
        },
    );
    rig.started();
    assert_eq!(rig.died().signal(), Some(9));
}

fn nested() {
    let mut rig = Rig::start("nested", ProcessSettings::default());
    rig.started();
    rig.link.task("x").unwrap();
    assert_eq!(rig.finished().1, done("not entered\n"));
    rig.stop_and_finish();
}

fn dropped() {
    let mut rig = Rig::start("deaf", ProcessSettings::default());
    let pidfd = pidfd_open(as_pid(rig.started()), PidfdFlags::empty()).unwrap();
    drop(rig);
    assert_eq!(
        poll(
            &mut [PollFd::new(&pidfd, PollFlags::IN)],
            Some(&Timespec::default())
        ),
        Ok(1)
    );
}

fn two() {
    let mut rig = Rig::start_all(&["echo", "panic"], ProcessSettings::default());
    let other = rig.supervisor.link("panic").unwrap();
    rig.started();
    rig.started();
    rig.link.task("panic").unwrap();
    other.task("panic").unwrap();
    let mut outcomes = HashMap::new();
    for _ in 0..2 {
        match rig.next() {
            ProcessEvent::Finished {
                process,
                task,
                outcome,
            } => {
                assert_eq!(task, TaskId(1));
                outcomes.insert(process.to_string(), outcome);
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(outcomes["echo"], done("panic"));
    assert!(matches!(outcomes["panic"], TaskOutcome::Failed(_)));
}

fn renewals() {
    let (dir, path) = temp_file();
    let mut rig = Rig::start("log", ProcessSettings::default());
    let mut pids = vec![rig.started()];
    let mut accepted = Vec::new();
    let mut finished = Vec::new();
    for round in 0..20 {
        for _ in 0..100 * (round % 3) + 1 {
            accepted.push(rig.link.task(path.clone()).unwrap());
        }
        if round % 2 == 0 {
            rig.turn(Instant::now());
        }
        rig.supervisor.renew(Instant::now());
        while pids.len() < round + 2 {
            accepted.push(rig.link.task(path.clone()).unwrap());
            match rig.next() {
                ProcessEvent::Finished { task, .. } => finished.push(task),
                ProcessEvent::Started { pid, .. } => pids.push(pid),
                ProcessEvent::Died {
                    status, restart_in, ..
                } => assert_eq!((status.code(), restart_in), (Some(0), Some(Duration::ZERO))),
                event => panic!("{event:?}"),
            }
        }
        assert!(!rig.supervisor.is_renewing());
        assert_eq!(rig.supervisor.take_renewed(), (1, vec![]));
    }
    while finished.len() < accepted.len() {
        finished.push(rig.finished().0);
    }
    assert_eq!(finished, accepted);
    rig.stop_and_finish();

    let log = std::fs::read_to_string(path).unwrap();
    let began = log.lines().filter_map(|line| line.strip_prefix("began "));
    let began: Vec<(u64, u32)> = began
        .map(|line| {
            let (id, pid) = line.split_once(' ').unwrap();
            (id.parse().unwrap(), pid.parse().unwrap())
        })
        .collect();
    let ids: Vec<_> = began.iter().map(|(id, _)| TaskId(*id)).collect();
    assert_eq!(ids, accepted, "each once, in order");
    let mut ran = began.into_iter().map(|(_, pid)| pid).collect::<Vec<_>>();
    ran.dedup();
    let ran_in_order = pids.iter().filter(|pid| ran.contains(pid));
    assert!(ran_in_order.eq(&ran), "{ran:?} of {pids:?}");
    assert!(ran.len() > 10, "{ran:?}");
    drop(dir);
}

fn renewal_deadline() {
    let (dir, path) = temp_fifo();
    let settings = ProcessSettings {
        stop_ms_max: 200,
        ..ProcessSettings::default()
    };
    let mut rig = Rig::start("fifo", settings);
    rig.started();
    let slow = rig.link.task(path.clone()).unwrap();
    rig.turn(Instant::now());
    // Opens once the task runs.
    let gate = OpenOptions::new().write(true).open(&path).unwrap();
    let told = Instant::now();
    rig.supervisor.renew(told);
    let quick = rig.link.task("/dev/null").unwrap();
    assert_eq!(rig.died().signal(), Some(9));
    assert!(told.elapsed() >= Duration::from_millis(200));
    drop(gate);
    rig.started();
    assert_eq!(rig.supervisor.take_renewed(), (1, vec![]));
    drop(OpenOptions::new().write(true).open(&path).unwrap());
    assert_eq!([rig.finished().0, rig.finished().0], [slow, quick]);
    rig.stop_and_finish();
    drop(dir);
}

fn renewed_while_waiting() {
    let settings = ProcessSettings {
        restart_backoff_ms_min: 600_000,
        restart_backoff_ms_max: 600_000,
        ..ProcessSettings::default()
    };
    let mut rig = Rig::start("echo", settings);
    signal(rig.started(), Signal::KILL);
    rig.died();
    rig.supervisor.renew(Instant::now());
    rig.started();
    rig.link.task("x").unwrap();
    rig.finished();
    rig.stop_and_finish();
}

fn renewal_stopped() {
    let mut rig = Rig::start("echo", ProcessSettings::default());
    signal(rig.started(), Signal::STOP);
    let mut accepted: Vec<_> = (0..1_000).map(|_| rig.link.task("x").unwrap()).collect();
    rig.turn(Instant::now());
    rig.supervisor.renew(Instant::now());
    // For the next one.
    accepted.extend((0..1_000).map(|_| rig.link.task("x").unwrap()));
    rig.turn(Instant::now());
    rig.supervisor.stop(Instant::now());
    signal(rig.link.stats().pid.unwrap(), Signal::CONT);
    let mut finished = Vec::new();
    let mut ends = 0;
    loop {
        match rig.next() {
            ProcessEvent::Finished { task, .. } => finished.push(task),
            ProcessEvent::Died { status, .. } => {
                assert_eq!(status.code(), Some(0));
                ends += 1;
            }
            ProcessEvent::Started { .. } => {}
            ProcessEvent::Ended {
                tasks_unfinished, ..
            } => break assert_eq!(tasks_unfinished, 0),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!((finished, ends), (accepted, 2));
}

fn two_renewed() {
    let mut rig = Rig::start_all(&["echo", "panic"], ProcessSettings::default());
    let before = [rig.started(), rig.started()];
    rig.supervisor.renew(Instant::now());
    let mut names = Vec::new();
    while rig.supervisor.is_renewing() || names.len() < 4 {
        match rig.next() {
            ProcessEvent::Died { process, .. } => names.push(format!("{process} ended")),
            ProcessEvent::Started { process, pid } => {
                assert!(!before.contains(&pid));
                names.push(format!("{process} started"));
            }
            event => panic!("{event:?}"),
        }
    }
    let in_order = ["echo ended", "echo started", "panic ended", "panic started"];
    assert_eq!(names, in_order);
    assert_eq!(rig.supervisor.take_renewed(), (2, vec![]));
}

fn handed_over() {
    let (dir, path) = temp_file();
    let mut rig = Rig::start_all(&["log", "echo"], ProcessSettings::default());
    let pids = [rig.started(), rig.started()];
    let (mut accepted, mut finished) = (Vec::new(), Vec::new());
    let (mut said, mut heard) = (0, 0);
    for round in 0..40 {
        for _ in 0..round % 7 * 50 {
            accepted.push(rig.link.task(path.clone()).unwrap());
        }
        // More than the pipe takes at once.
        for _ in 0..round % 5 {
            let echo = rig.supervisor.link("echo").unwrap();
            if echo.send(vec![said; 100_000 + round]).is_ok() {
                said += 1;
            }
        }
        for _ in 0..round % 3 {
            rig.turn(Instant::now());
        }
        for _ in 0..round {
            match rig.supervisor.next_event() {
                Some(ProcessEvent::Finished { task, .. }) => finished.push(task),
                Some(ProcessEvent::Message { payload, .. }) => {
                    assert!(payload.iter().all(|byte| *byte == heard), "{heard}");
                    heard += 1;
                }
                Some(event) => panic!("{event:?}"),
                None => break,
            }
        }
        rig = rig.hand_over();
    }
    while finished.len() < accepted.len() || heard < said {
        match rig.next() {
            ProcessEvent::Finished { task, .. } => finished.push(task),
            ProcessEvent::Message { .. } => heard += 1,
            event => panic!("{event:?}"),
        }
    }
    assert!(said > 20, "{said}");
    assert_eq!(finished, accepted);
    let stats = rig.supervisor.stats();
    for (stats, pid) in stats.iter().zip(pids) {
        let counts = (stats.restarts, stats.tasks_unfinished, stats.bytes_queued);
        assert_eq!((stats.pid, counts), (Some(pid), (0, 0, 0)));
    }
    let log = std::fs::read_to_string(path).unwrap();
    let began = log.lines().filter_map(|line| line.strip_prefix("began "));
    let began = began.map(|line| TaskId(line.split(' ').next().unwrap().parse().unwrap()));
    assert!(began.eq(accepted), "each once, in order");
    // Behind a renewal it is as if nothing had been.
    rig.supervisor.renew(Instant::now());
    while rig.supervisor.is_renewing() {
        rig.turn(rig.patience);
        while rig.supervisor.next_event().is_some() {}
    }
    assert_eq!(rig.supervisor.take_renewed(), (2, vec![]));
    drop(dir);
}

fn dead_when_handed_over() {
    for is_reaped in [false, true] {
        let mut rig = Rig::start("echo", ProcessSettings::default());
        let pid = rig.started();
        signal(pid, Signal::STOP);
        let tasks = [(); 300].map(|()| rig.link.task("x").unwrap());
        rig.turn(Instant::now());
        let pidfd = pidfd_open(as_pid(pid), PidfdFlags::empty()).unwrap();
        signal(pid, Signal::KILL);
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        if is_reaped {
            rig.turn(Instant::now());
        }
        let mut rig = rig.hand_over();
        assert_eq!(rig.died().signal(), Some(9));
        assert_ne!(rig.started(), pid);
        assert_eq!(tasks.map(|_| rig.finished().0), tasks);
        rig.stop_and_finish();
    }
}

fn first_process() {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let own = std::env::current_exe().unwrap();
    let ran = command
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(own)
        .env(PART_VAR, "first")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(said, "knows the ends of its own\n", "{ran:?}");
    assert!(ran.status.success(), "{ran:?}");
}

// What the tests stand on.

/// A supervisor and the loop of a server's main thread.
struct Rig {
    poll: Poll,
    events: Events,
    supervisor: Supervisor,
    settings: ProcessSettings,
    link: ProcessLink,
    patience: Instant,
}

impl Rig {
    fn start(name: &str, settings: ProcessSettings) -> Self {
        Self::start_all(&[name], settings)
    }

    fn start_all(names: &[&str], settings: ProcessSettings) -> Self {
        let mut rig = Self::before_start(names, settings);
        rig.supervisor.start(rig.poll.registry(), 1).unwrap();
        rig
    }

    fn before_start(names: &[&str], settings: ProcessSettings) -> Self {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let wake = Arc::new(move || waker.wake().unwrap());
        let specs = names
            .iter()
            .map(|name| ProcessSpec::new(*name).unwrap())
            .collect();
        let supervisor = Supervisor::new(specs, settings, wake).unwrap();
        let link = supervisor.link(names[0]).unwrap();
        let patience = Instant::now() + Duration::from_secs(PATIENCE_S);
        Self {
            poll,
            events: Events::with_capacity(16),
            supervisor,
            settings,
            link,
            patience,
        }
    }

    /// Does what an image of the program and the next one do; the first one ends without any of its
    /// destructors.
    fn hand_over(mut self) -> Self {
        let mut section = SectionWriter::new();
        self.supervisor.hand_over(Instant::now(), &mut section);
        let names: Vec<_> = self
            .supervisor
            .stats()
            .iter()
            .map(|one| one.name.clone())
            .collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let section = Section::of("processes", 1, section.as_bytes());
        let handover = ProcessesHandover::read(&section, &names, &self.settings).unwrap();
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let own = |number| pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).unwrap();
        let mut next = Self::before_start(&names, self.settings);
        next.supervisor.adopt(handover, own, Instant::now());
        next.supervisor.start(next.poll.registry(), 1).unwrap();
        std::mem::forget(self.supervisor);
        next
    }

    /// Waits for anything until `limit`, and does what a main loop does.
    fn turn(&mut self, limit: Instant) {
        let until = self
            .supervisor
            .deadline()
            .map_or(limit, |deadline| deadline.min(limit));
        let wait = until.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("{error}"),
            _ => {}
        }
        for event in &self.events {
            self.supervisor.ready(event);
        }
        self.supervisor.turn(Instant::now());
    }

    fn next(&mut self) -> ProcessEvent {
        loop {
            if let Some(event) = self.supervisor.next_event() {
                return event;
            }
            assert!(
                Instant::now() < self.patience,
                "nothing happens: {:?}",
                self.supervisor
            );
            self.turn(self.patience);
        }
    }

    fn started(&mut self) -> u32 {
        match self.next() {
            ProcessEvent::Started { pid, .. } => pid,
            event => panic!("{event:?}"),
        }
    }

    fn finished(&mut self) -> (TaskId, TaskOutcome) {
        match self.next() {
            ProcessEvent::Finished { task, outcome, .. } => (task, outcome),
            event => panic!("{event:?}"),
        }
    }

    fn died(&mut self) -> std::process::ExitStatus {
        match self.next() {
            ProcessEvent::Died { status, .. } => status,
            event => panic!("{event:?}"),
        }
    }

    fn ended(&mut self) -> usize {
        match self.next() {
            ProcessEvent::Ended {
                tasks_unfinished, ..
            } => tasks_unfinished,
            event => panic!("{event:?}"),
        }
    }

    fn stop_and_finish(&mut self) {
        self.supervisor.stop(Instant::now());
        assert_eq!(self.died().code(), Some(0));
        assert_eq!(self.ended(), 0);
        assert!(self.supervisor.is_finished());
    }
}

fn done(result: &'static str) -> TaskOutcome {
    TaskOutcome::Done(result.into())
}

fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(as_pid(pid), signal).unwrap();
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn temp_file() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("log");
    File::create(&path).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

fn temp_fifo() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

/// Runs the tests whose names contain one of the arguments, or all.
fn run_tests() -> ExitCode {
    let filters: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let watch = watch(name);
        let began = Instant::now();
        let result = catch_unwind(test);
        drop(watch);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {verdict} ({} ms)",
            began.elapsed().as_millis()
        );
        *(if result.is_ok() {
            &mut passed
        } else {
            &mut failed
        }) += 1;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Ends everything when a test hangs, until it is dropped.
fn watch(name: &'static str) -> std::sync::mpsc::Sender<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        if receiver.recv_timeout(Duration::from_secs(2 * PATIENCE_S))
            == Err(RecvTimeoutError::Timeout)
        {
            println!("test {name} ... FAILED: hangs");
            std::process::exit(1);
        }
    });
    sender
}
