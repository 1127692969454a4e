//! Freezes of what belongs to the whole process: its children, and its signals.
//!
//! Each test runs in a process of its own, whose arguments name it alone; the children of a server get
//! here by it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};
use tidings::base::rest::RestOrder;
use tidings::server::process::{ProcessStats, TaskOutcome};
use tidings::server::{
    Builder, FreezeErrand, FreezeError, FreezeStep, FreezeTimes, Freezes, FrozenServer, Handle,
    ServerSettings,
};

use crate::support::alone::{part, passes_alone};
use crate::support::random::Random;
use crate::support::server::{LocalServer, Mode};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// All modes in one process would take long: callbacks on workers, and on the reactors.
const MODES: [Mode; 2] = [
    Mode {
        workers: 2,
        reactors: 1,
    },
    Mode {
        workers: 0,
        reactors: 2,
    },
];

fn patient() -> ServerSettings {
    ServerSettings {
        freeze_ms_max: 20_000,
        ..ServerSettings::default()
    }
}

/// A part that takes its time to rest.
struct SlowPart;

impl Freezes for SlowPart {
    fn name(&self) -> &'static str {
        "a part that takes its time"
    }

    fn rest(&self, order: RestOrder) {
        thread::spawn(move || {
            stand();
            order.arrive();
        });
    }

    fn thaw(&self) {}
}

/// How often each task was finished.
type Finished = Arc<Mutex<BTreeMap<u64, usize>>>;

/// Has a process for tasks, and counts what it finishes.
fn with_tasks(mode: Mode, finished: &Finished) -> Builder {
    let finished = Arc::clone(finished);
    mode.builder()
        .settings(patient())
        .freezes_with(Arc::new(SlowPart))
        .on_task(|task| task.to_vec())
        .on_finish(move |_, task, outcome| {
            assert!(matches!(outcome, TaskOutcome::Done(_)), "{outcome:?}");
            *finished.lock().unwrap().entry(task.0).or_default() += 1;
        })
}

fn freeze(
    handle: &Handle,
    at_step: impl FnMut(FreezeStep) + Send + 'static,
    while_still: impl FnOnce(&mut FrozenServer<'_>) + Send + 'static,
) -> Result<FreezeTimes, FreezeError> {
    let (tell, told) = channel();
    let ended = move |outcome| tell.send(outcome).unwrap();
    handle.freeze(FreezeErrand::new(while_still, ended).at_each_step(at_step));
    next(&told)
}

fn pid_of(process: &ProcessStats) -> Pid {
    Pid::from_raw(process.pid.unwrap() as i32).unwrap()
}

/// Waits a moment in which something that shall not happen could.
fn stand() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(50) {
        thread::yield_now();
    }
}

#[test]
fn tasks_are_finished_once_through_freezes_and_nobody_touches_their_process_meanwhile() {
    const NAME: &str =
        "tasks_are_finished_once_through_freezes_and_nobody_touches_their_process_meanwhile";
    const FREEZES: usize = 20;
    if part().is_none() {
        return passes_alone(module_path!(), NAME, "server");
    }
    for mode in MODES {
        let finished = Finished::default();
        let server = LocalServer::start(with_tasks(mode, &finished));
        let (mut given, mut killed) = (Vec::new(), 0);
        for number in 0..FREEZES {
            for _ in 0..200 {
                given.push(server.handle.task(vec![b'x'; 2_000]).unwrap());
            }
            until("it runs", || {
                let process = server.stats().processes.remove(0);
                process.pid.is_some() && process.restarts == killed
            });
            let (handle, (tell, told)) = (server.handle.clone(), channel());
            let kills = number % 5 == 4;
            killed += u64::from(kills);
            let (looks, (tell_process, at_rest_told)) = (server.handle.clone(), channel());
            let at_rest = move |step| {
                if step == FreezeStep::Part(0) {
                    let process = looks.stats().processes.remove(0);
                    if kills {
                        // The main thread hears of it while it waits for the part.
                        kill_process(pid_of(&process), Signal::KILL).unwrap();
                    }
                    tell_process.send(process).unwrap();
                }
            };
            freeze(&server.handle, at_rest, move |frozen| {
                let before = next(&at_rest_told);
                let giver = thread::spawn(move || handle.task("late").unwrap());
                stand();
                assert!(!giver.is_finished(), "what is given waits for the thaw");
                let after = frozen.supervisor.stats()[0].clone();
                assert_eq!(after, before, "nothing is read, started or reaped");
                let pid = before.pid.unwrap();
                let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
                assert_eq!(stat.unwrap().contains(") Z "), kills);
                tell.send(giver).unwrap();
            })
            .unwrap();
            given.push(next(&told).join().unwrap());
        }
        until("all are finished", || {
            let finished = finished.lock().unwrap();
            given.iter().all(|task| finished.contains_key(&task.0))
        });
        assert!(server.stop().is_clean());
        let finished = finished.lock().unwrap();
        assert!(finished.values().all(|times| *times == 1), "{finished:?}");
        assert_eq!(finished.len(), given.len());
    }
}

#[test]
fn a_sigterm_at_any_moment_of_a_row_of_freezes_is_obeyed() {
    const NAME: &str = "a_sigterm_at_any_moment_of_a_row_of_freezes_is_obeyed";
    const STOPS: u64 = 40;
    if part().is_none() {
        return passes_alone(module_path!(), NAME, "server");
    }
    for seed in 0..STOPS {
        let mode = MODES[seed as usize % MODES.len()];
        let (tell, told) = channel();
        let builder = mode
            .builder()
            .settings(patient())
            .on_start(move |server| tell.send(server.handle()).unwrap());
        let server = thread::spawn(|| builder.run().unwrap());
        let handle = next(&told);
        let mut client = WebSocketClient::join(&handle);
        let (begin, begun) = channel();
        let freezes = thread::spawn(move || {
            loop {
                match handle.freeze_trial(|_| {}) {
                    Ok(_) => drop(begin.send(())),
                    Err(error) => return error,
                }
            }
        });
        next(&begun);
        let moment = Duration::from_micros(Random::new(seed).below(3_000));
        let began = Instant::now();
        while began.elapsed() < moment {}
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(client.hear_all().1, Heard::Close(1_001), "seed {seed}");
        drop(client);
        assert_eq!(freezes.join().unwrap(), FreezeError::Stops, "seed {seed}");
        assert!(server.join().unwrap().is_clean(), "seed {seed}");
    }
}

#[test]
fn a_signal_that_ends_nothing_is_told_after_the_thaw() {
    const NAME: &str = "a_signal_that_ends_nothing_is_told_after_the_thaw";
    if part().is_none() {
        return passes_alone(module_path!(), NAME, "server");
    }
    for mode in MODES {
        let (tell, told) = channel();
        let (signalled, signals) = channel();
        let builder = mode
            .builder()
            .settings(patient())
            .on_signal(move |_, signal| signalled.send(signal).unwrap())
            .on_start(move |server| tell.send(server.handle()).unwrap());
        let server = thread::spawn(|| builder.run().unwrap());
        let handle = next(&told);
        let signals = Arc::new(Mutex::new(signals));
        let during = Arc::clone(&signals);
        // At a step, so that the main thread looks at its signals once more before the stand.
        let (tell, ended) = channel();
        let errand = FreezeErrand::new(
            move |_| {
                stand();
                assert!(
                    during.lock().unwrap().try_recv().is_err(),
                    "it is told late"
                );
            },
            move |outcome| tell.send(outcome).unwrap(),
        );
        handle.freeze(errand.at_each_step(|step| {
            if step == FreezeStep::Settle {
                kill_process(getpid(), Signal::USR1).unwrap();
            }
        }));
        next(&ended).unwrap();
        next(&signals.lock().unwrap());
        handle.stop();
        assert!(server.join().unwrap().is_clean());
    }
}
