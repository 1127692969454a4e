//! Stops, with the real binaries and real signals: what is under way is answered, everybody is
//! told, nobody is left behind.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tidings::server::{Builder, Responder, RunningServer, Server, ServerOutcome, ServerSettings};

use crate::service::terminal::at_a_terminal;
use crate::support::PATIENCE;
use crate::support::http::{HttpClient, request};
use crate::support::program::{Program, ends_within};
use crate::support::websocket::WebSocketClient;

/// A connection that rests for nearly as long as a stop waits for it may be closed; one that goes
/// on asking may not.
const REST_MAX: Duration = Duration::from_millis(900);

const HTTP_CLIENTS: usize = 50;

const WEBSOCKETS: usize = 200;

/// WebSockets that one thread of a test looks after.
const GROUP: usize = 25;

/// Messages that a WebSocket sends before it looks for the answers.
const IN_FLIGHT: usize = 2;

/// Asks without a pause until the server says that it closes; every request must be answered.
fn hammer(mut http: HttpClient, warm: &Sender<()>, told: &AtomicBool) -> usize {
    let questions = [
        ("GET", "/v1/stats", 200),
        ("POST", "/v1/stats", 405),
        ("GET", "/healthz", 200),
    ];
    let mut last = Instant::now();
    for (number, (method, path, status)) in questions.into_iter().cycle().enumerate() {
        let rested = last.elapsed();
        let answer = match http.ask(method, path, "") {
            Ok(answer) => answer,
            Err(_) if rested > REST_MAX => return number,
            Err(error) => panic!("request {number} after {rested:?} got no answer: {error}"),
        };
        assert_eq!(answer.status, status, "{answer:?}");
        last = Instant::now();
        if answer.closes {
            assert!(told.load(Ordering::Acquire), "closed before the stop");
            assert!(http.is_at_end(), "more than the answer that closes");
            return number + 1;
        }
        if number == 20 {
            warm.send(()).unwrap();
        }
    }
    unreachable!("the questions never end")
}

/// Talks on many WebSockets until each heard its Close; gives the messages that crossed it.
fn converse(clients: Vec<WebSocketClient>, warm: &Sender<()>) -> usize {
    let mut crossed = 0;
    let mut open: Vec<_> = clients.into_iter().map(|client| (client, 0)).collect();
    for round in 1.. {
        for (client, said) in &mut open {
            for _ in 0..IN_FLIGHT {
                client.say(said.to_string());
                *said += 1;
            }
        }
        open.retain_mut(|(client, said)| {
            for number in *said - IN_FLIGHT..*said {
                match client.hear_text_or_close() {
                    Ok(text) => assert_eq!(text, number.to_string(), "out of order"),
                    Err(code) => {
                        assert_eq!(code, 1001);
                        crossed += *said - number;
                        return false;
                    }
                }
            }
            true
        });
        if open.is_empty() {
            break;
        }
        if round == 10 {
            warm.send(()).unwrap();
        }
    }
    crossed
}

#[test]
fn a_stop_under_load_leaves_no_request_unanswered_and_tells_every_websocket() {
    for (workers, reactors) in [("0", "1"), ("1", "1"), ("2", "2"), ("0", "2")] {
        let flags = ["--echo", "--workers", workers, "--reactors", reactors];
        let mut server = Program::serve(&flags);
        let (warm, is_warm) = channel();
        let told = AtomicBool::new(false);
        let (answered, crossed) = thread::scope(|scope| {
            let (told, address) = (&told, server.address);
            let asking: Vec<_> = (0..HTTP_CLIENTS)
                .map(|_| {
                    let warm = warm.clone();
                    scope.spawn(move || hammer(HttpClient::connect(address), &warm, told))
                })
                .collect();
            let talking: Vec<_> = (0..WEBSOCKETS / GROUP)
                .map(|_| {
                    let warm = warm.clone();
                    scope.spawn(move || {
                        let clients = (0..GROUP)
                            .map(|_| WebSocketClient::connect(address, "/echo"))
                            .collect();
                        converse(clients, &warm)
                    })
                })
                .collect();
            drop(warm);
            // Everybody is at it; less of them, when one has failed.
            let _ = is_warm
                .iter()
                .take(HTTP_CLIENTS + WEBSOCKETS / GROUP)
                .count();
            told.store(true, Ordering::Release);
            server.signal(Signal::TERM);
            let sum = |threads: Vec<thread::ScopedJoinHandle<'_, usize>>| -> usize {
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .sum()
            };
            (sum(asking), sum(talking))
        });
        let code = server.exit_code();
        let log = server.stderr.all();
        println!(
            "workers {workers}, reactors {reactors}: {answered} requests, {crossed} messages crossed the Close"
        );
        assert_eq!(code, 0, "workers {workers}, reactors {reactors}: {log}");
        assert!(log.trim_end().ends_with("stopped"), "{log}");
    }
}

/// A server in this process.
fn started(server: Builder) -> RunningServer {
    let settings = ServerSettings {
        stop_ms_max: 5_000,
        ..ServerSettings::default()
    };
    server
        .listen("127.0.0.1:0")
        .settings(settings)
        .start()
        .unwrap()
}

#[test]
fn what_a_websocket_said_before_the_stop_is_answered_before_its_close() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let running = started(Server::builder().on_message(move |server, frame| {
        // Fails once the test has let go, and no one waits any more.
        let _ = wait.lock().unwrap().recv();
        server.push(frame.fd, frame).unwrap();
    }));
    let mut client = WebSocketClient::connect(running.handle().addresses()[0], "/");
    for number in 0..5 {
        client.say(number.to_string());
    }
    let until = Instant::now() + PATIENCE;
    while running.handle().stats().totals.messages_in < 5 {
        assert!(Instant::now() < until, "they never came");
        thread::yield_now();
    }
    running.handle().stop();
    drop(go);
    for number in 0..5 {
        assert_eq!(client.hear_text(), number.to_string());
    }
    assert_eq!(client.hear_text_or_close(), Err(1001));
    drop(client);
    assert_eq!(running.stop(), Some(ServerOutcome::default()));
}

#[test]
fn an_answer_that_waits_for_a_timer_comes_during_a_stop_on_every_reactor() {
    for workers in [0, 1] {
        let waiting = Arc::new(Mutex::new(None::<Responder>));
        let (sender, asked) = channel();
        let running = started(Server::builder().reactors(3).workers(workers).on_request(
            move |server, _, responder| {
                *waiting.lock().unwrap() = Some(responder);
                let waiting = Arc::clone(&waiting);
                server.after(300, move |_| {
                    let responder = waiting.lock().unwrap().take();
                    responder.unwrap().end("late");
                });
                sender.send(()).unwrap();
            },
        ));
        // The first connection goes to reactor 1; the timers are reactor 0's.
        let mut http = HttpClient::connect(running.handle().addresses()[0]);
        http.send(request("GET", "/", "")).unwrap();
        asked.recv_timeout(PATIENCE).unwrap();
        let stopped = thread::spawn(|| running.stop());
        let answer = http.answer().unwrap();
        assert_eq!(
            (answer.status, &*answer.body, answer.closes),
            (200, "late", true)
        );
        assert!(http.is_at_end());
        drop(http);
        assert_eq!(
            stopped.join().unwrap(),
            Some(ServerOutcome::default()),
            "workers {workers}"
        );
    }
}

#[test]
fn requests_that_come_in_one_piece_during_a_stop_are_all_answered() {
    let mut server = Program::serve(&[]);
    // Keeps the stop from ending before the requests are here.
    let mut other = server.http();
    other.send("GET /healthz HTTP/1.1\r\n").unwrap();
    let mut http = server.http();
    assert_eq!(http.ask("GET", "/healthz", "").unwrap().status, 200);
    server.signal(Signal::TERM);
    server.stderr.wait_for("draining");
    http.send(request("GET", "/healthz", "").repeat(4)).unwrap();
    let closes = [(); 4].map(|()| http.answer().unwrap().closes);
    assert!(closes[..3].iter().all(|closes| !closes), "{closes:?}");
    assert!(http.is_at_end());
    drop(http);
    other.send("Host: 127.0.0.1\r\n\r\n").unwrap();
    let answer = other.answer().unwrap();
    assert_eq!((answer.status, answer.closes), (200, true));
    drop(other);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_crowd_is_sent_away_at_500_a_second() {
    const CROWD: usize = 1_000;
    let mut server = Program::serve(&["--echo"]);
    let mut clients: Vec<_> = (0..CROWD)
        .map(|_| Some(server.websocket("/echo")))
        .collect();
    let started = Instant::now();
    server.signal(Signal::TERM);
    let mut closed_at = Vec::new();
    while closed_at.len() < CROWD {
        let waiting: Vec<usize> = (0..CROWD)
            .filter(|&index| clients[index].is_some())
            .collect();
        let ready: Vec<usize> = {
            let streams = waiting
                .iter()
                .map(|&index| clients[index].as_ref().unwrap().socket.get_ref());
            let mut fds: Vec<_> = streams
                .map(|stream| PollFd::new(stream, PollFlags::IN))
                .collect();
            let patience = PATIENCE.try_into().unwrap();
            assert_ne!(
                poll(&mut fds, Some(&patience)).unwrap(),
                0,
                "nobody is sent away"
            );
            let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
            waiting
                .iter()
                .zip(&fds)
                .filter(|(_, fd)| is_ready(fd))
                .map(|(&index, _)| index)
                .collect()
        };
        for index in ready {
            let mut client = clients[index].take().unwrap();
            assert_eq!(client.hear_text_or_close(), Err(1001));
            closed_at.push(started.elapsed());
        }
    }
    let (first, last) = (closed_at[0], closed_at[CROWD - 1]);
    println!(
        "{CROWD} WebSockets closed from {first:?} to {last:?}, half of them by {:?}",
        closed_at[CROWD / 2]
    );
    // Nobody is sent away before their time, however slowly we look; so only the last one tells.
    assert!(last > Duration::from_millis(1_500), "all at once");
    assert!(last < Duration::from_secs(10), "{last:?}");
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_signal_right_after_the_first_sign_of_life_stops_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        for _ in 0..5 {
            let mut server = Program::serve(&[]);
            server.signal(signal);
            assert_eq!(server.exit_code(), 0, "{}", server.stderr.all());
        }
    }
}

#[test]
fn a_terminal_that_is_closed_stops_in_order_and_every_websocket_is_told() {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", "none"];
    let (mut command, terminal) = at_a_terminal(&serve);
    let mut server = Program::start(command.arg("--echo"));
    let mut client = server.websocket("/echo");
    client.echo("here");
    drop(terminal);
    assert_eq!(client.hear_text_or_close(), Err(1001));
    drop(client);
    assert_eq!(server.exit_code(), 0);
    assert!(server.stderr.all().contains("SIGHUP: the terminal is gone"));
}

#[test]
fn a_hangup_stops_nothing_while_the_terminal_is_there_or_where_there_is_none() {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", "none"];
    let (mut with, _terminal) = at_a_terminal(&serve);
    let mut without = Command::new("setsid");
    without.arg(env!("CARGO_BIN_EXE_tidings")).args(serve);
    for command in [&mut with, &mut without] {
        let mut server = Program::start(command.arg("--echo"));
        let mut client = server.websocket("/echo");
        server.signal(Signal::HUP);
        server.signal(Signal::USR2);
        // The one that came later was seen.
        server.stderr.wait_for("SIGUSR2");
        client.echo("still here");
        drop(client);
        server.stop();
    }
}

#[test]
fn signals_that_mean_nothing_here_are_logged_and_change_nothing() {
    let mut server = Program::serve(&["--echo"]);
    let mut client = server.websocket("/echo");
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        server.signal(signal);
        server.stderr.wait_for(name);
        client.echo("still here");
    }
    drop(client);
    server.stop();
}

#[test]
fn who_is_started_to_outlive_its_terminal_does() {
    let mut server = Program::start(
        Command::new("nohup")
            .arg(env!("CARGO_BIN_EXE_tidings"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--data",
                "none",
                "--echo",
            ]),
    );
    server.signal(Signal::HUP);
    server.signal(Signal::USR1);
    // The one that came later was seen.
    server.stderr.wait_for("SIGUSR1");
    server.websocket("/echo").echo("still here");
    server.stop();
}

/// Connections that the server has, with the one that asks.
fn slots(http: &mut HttpClient) -> u64 {
    let answer = http.ask("GET", "/v1/stats", "").unwrap();
    let stats: Value = serde_json::from_str(&answer.body).unwrap();
    stats["totals"]["slots"].as_u64().unwrap()
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [
        (Signal::TERM, Signal::TERM),
        (Signal::INT, Signal::INT),
        (Signal::TERM, Signal::INT),
    ] {
        let mut server = Program::serve(&["--echo"]);
        let _unmoved = server.websocket("/echo");
        let mut http = server.http();
        http.send("POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nhalf")
            .unwrap();
        let mut third = server.http();
        // The numbers are those of the turn before.
        assert!((0..10_000).any(|_| slots(&mut third) == 3));
        server.signal(first);
        server.stderr.wait_for("draining");
        let at = Instant::now();
        server.signal(second);
        assert_eq!(server.exit_code(), 1);
        // A stop of its own accord waits for half a minute.
        assert!(at.elapsed() < Duration::from_secs(15), "it waited");
        let log = server.stderr.all();
        assert!(
            log.contains("stopping immediately") && log.contains("connections_cut=3"),
            "{log}"
        );
    }
}

#[test]
fn sigint_stops_as_sigterm_does_and_sigpipe_does_nothing() {
    let mut server = Program::serve(&["--echo"]);
    let mut client = server.websocket("/echo");
    server.signal(Signal::PIPE);
    client.say("still here?");
    assert_eq!(client.hear_text(), "still here?");
    server.signal(Signal::INT);
    assert_eq!(client.hear_text_or_close(), Err(1001));
    drop(client);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn what_outlasts_the_time_for_a_stop_is_cut_and_counted() {
    let mut server = Program::serve(&["--stop-ms-max", "300"]);
    let mut half = server.http();
    half.send("POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nhalf")
        .unwrap();
    let mut http = server.http();
    // Both connections are taken in, since this later one is answered.
    assert_eq!(http.ask("GET", "/healthz", "").unwrap().status, 200);
    drop(http);
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 1);
    assert!(half.answer().is_err());
    let log = server.stderr.all();
    let numbers = "connections_cut=1 requests_unanswered=1 tasks_unfinished=0 threads_stuck=0";
    assert!(log.contains(numbers), "{log}");
}

/// The PIDs of both processes of the example, from its log.
fn processes_of(server: &mut Program) -> Vec<Pid> {
    let pid = |_| {
        let line = server.stderr.wait_for("process started");
        let (_, pid) = line.split_once("pid=").unwrap();
        Pid::from_raw(pid.parse().unwrap()).unwrap()
    };
    (0..2).map(pid).collect()
}

/// Gives tasks, one after the other, until nobody listens to their PIDs any more.
fn give_tasks(mut http: HttpClient, client: usize, pids: &Sender<(i32, Instant)>) {
    for number in 0.. {
        let task = format!("{client}/{number}");
        let answer = http.ask("POST", "/task", &task).unwrap();
        let result: Value = serde_json::from_str(&answer.body).unwrap();
        let backwards: String = task.chars().rev().collect();
        assert_eq!(
            (answer.status, &result["backwards"]),
            (200, &backwards.into())
        );
        let pid = result["pid"].as_i64().unwrap() as i32;
        if pids.send((pid, Instant::now())).is_err() {
            return;
        }
    }
}

#[test]
fn tasks_outlive_the_process_that_runs_them() {
    let server = Program::example("push_process");
    let address = server.address;
    let (sender, pids) = channel();
    let givers: Vec<_> = (0..8)
        .map(|client| {
            let sender = sender.clone();
            thread::spawn(move || give_tasks(HttpClient::connect(address), client, &sender))
        })
        .collect();
    let mut gaps = Vec::new();
    for _ in 0..3 {
        let (pid, _) = pids.iter().take(100).last().unwrap();
        let killed_at = Instant::now();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        let (_, back_at) = pids.iter().find(|&(next, _)| next != pid).unwrap();
        gaps.push(back_at - killed_at);
    }
    drop(pids);
    for giver in givers {
        giver.join().unwrap();
    }
    println!("back after {gaps:?}");
    // One of three, since the machine may be busy with something else for seconds.
    assert!(
        gaps.iter().any(|gap| *gap < Duration::from_secs(5)),
        "{gaps:?}"
    );
    server.stop();
}

#[test]
fn no_process_outlives_a_server_that_was_killed() {
    let mut server = Program::example("push_process");
    let processes = processes_of(&mut server);
    let mut http = server.http();
    for number in 0..100 {
        http.send(request("POST", "/task", &number.to_string()))
            .unwrap();
    }
    assert_eq!(http.answer().unwrap().status, 200);
    server.signal(Signal::KILL);
    server.ended();
    for process in processes {
        assert!(ends_within(process, PATIENCE), "{process:?} is left");
    }
}

#[test]
fn a_task_that_was_taken_is_finished_before_the_stop_is_over() {
    let mut server = Program::example("push_process");
    let processes = processes_of(&mut server);
    let mut clients: Vec<HttpClient> = (0..8).map(|_| server.http()).collect();
    for (number, http) in clients.iter_mut().enumerate() {
        http.send(request("POST", "/task", &number.to_string()))
            .unwrap();
    }
    assert_eq!(clients[7].answer().unwrap().status, 200);
    server.signal(Signal::TERM);
    for (number, http) in clients[..7].iter_mut().enumerate() {
        let answer = http.answer().unwrap();
        assert!(answer.body.contains(&number.to_string()), "{answer:?}");
    }
    drop(clients);
    assert_eq!(server.exit_code(), 0);
    for process in processes {
        assert!(ends_within(process, Duration::ZERO), "{process:?} is left");
    }
}
