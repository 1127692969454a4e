//! The examples, run as their users run them.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::program::{Program, copy_program, example_path};

#[test]
fn websocket_only_answers_each_message_and_says_goodbye() {
    let mut server = Program::example("websocket_only");
    let mut client = server.websocket("/some/where");
    let line = server.stdout.wait_for("is here");
    assert!(line.ends_with("and asked for /some/where"), "{line}");

    for said in ["hello", "ünïcode \"quoted\"", ""] {
        client.say(said);
        assert_eq!(client.hear_text(), r#"["hello","world"]"#);
        server.stdout.wait_for(&format!("says {said:?}"));
    }
    server.websocket("/").leave();
    server.stdout.wait_for("is gone");
    assert_eq!(server.http().ask("GET", "/", "").unwrap().status, 404);

    let goodbye = std::thread::spawn(move || client.hear_text_or_close());
    server.stop();
    assert_eq!(goodbye.join().unwrap(), Err(1001));
}

#[test]
fn http_and_websocket_pushes_what_comes_by_http_to_the_fd_that_it_names() {
    let mut server = Program::example("http_and_websocket");
    let mut http = server.http();
    let page = http.ask("GET", "/", "").unwrap();
    assert!(page.fields.contains("content-type: text/html"), "{page:?}");
    assert!(page.body.contains("new WebSocket"), "{page:?}");

    let (mut ann, mut bob) = (server.websocket("/"), server.websocket("/"));
    let fds = [&mut ann, &mut bob].map(|client| {
        let told: Value = serde_json::from_str(&client.hear_text()).unwrap();
        told["fd"].as_u64().unwrap()
    });
    assert_ne!(fds[0], fds[1]);
    for (client, fd) in [(&mut bob, fds[1]), (&mut ann, fds[0])] {
        let body = format!("for {fd}, and nobody else");
        let answer = http.ask("POST", &format!("/push/{fd}"), &body).unwrap();
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "pushed": fd }).to_string())
        );
        assert_eq!(client.hear_text(), body);
        client.say("hello");
        assert_eq!(client.hear_text(), r#"["hello","world"]"#);
    }

    ann.leave();
    server.stdout.wait_for(&format!("{} is gone", fds[0]));
    for path in [
        &format!("/push/{}", fds[0]),
        "/push/",
        "/push/ann",
        "/elsewhere",
    ] {
        assert_eq!(
            http.ask("POST", path, "late").unwrap().status,
            404,
            "{path}"
        );
    }
    drop(http);
    let goodbye = std::thread::spawn(move || bob.hear_text_or_close());
    server.stop();
    assert_eq!(goodbye.join().unwrap(), Err(1001), "and nothing before it");
}

#[test]
fn push_process_answers_tasks_and_passes_messages_on_to_all() {
    let server = Program::example("push_process");
    let mut http = server.http();
    let answer = http.ask("POST", "/task", "a long jöb").unwrap();
    let result: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (answer.status, &result["backwards"]),
        (200, &json!("böj gnol a"))
    );
    assert_ne!(result["pid"], json!(server.pid().as_raw_pid()));

    let mut clients = [(); 3].map(|()| server.websocket("/"));
    for text in ["hello all", "and again"] {
        assert_eq!(http.ask("POST", "/send", text).unwrap().status, 202);
        for client in &mut clients {
            let heard = client.hear_text();
            assert!(heard.starts_with("process ") && heard.ends_with(&format!(" says {text}")));
            assert!(
                !heard.contains(&result["pid"].to_string()),
                "it is a process of its own"
            );
        }
    }
    assert_eq!(http.ask("GET", "/task", "").unwrap().status, 404);

    drop(http);
    let goodbyes =
        clients.map(|mut client| std::thread::spawn(move || client.hear_text_or_close()));
    server.stop();
    for goodbye in goodbyes {
        assert_eq!(goodbye.join().unwrap(), Err(1001));
    }
}

#[test]
fn two_machines_brings_what_comes_by_http_to_a_server_elsewhere_whoever_dies() {
    let upstream = Program::serve(&[]);
    let url = format!("ws://{}/ws?uid=gateway&room=lobby", upstream.address);
    let mut listener = upstream.websocket("/ws?uid=ann&room=lobby");
    let mut gateway = Program::example_with("two_machines", &[&url]);
    let mut http = gateway.http();
    let mut hears = |text: &str| {
        loop {
            let heard: Value = serde_json::from_str(&listener.hear_text()).unwrap();
            if heard["type"] == "msg" {
                assert_eq!(heard["data"], json!({ "text": text }));
                return;
            }
        }
    };
    assert_eq!(http.ask("POST", "/send", "höllo").unwrap().status, 202);
    hears("höllo");
    // Its process is killed, and the next one goes on.
    let line = gateway.stdout.wait_for("is connected");
    let pid: i32 = line.split(' ').nth(1).unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(http.ask("POST", "/send", "and again").unwrap().status, 202);
    hears("and again");
    assert_eq!(http.ask("GET", "/send", "").unwrap().status, 404);
    drop(http);
    gateway.stop();
    drop(listener);
    upstream.stop();
}

#[test]
fn upgrade_keeps_people_and_numbers_under_a_new_program_and_refuses_one_that_cant_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("upgrade");
    let build = |name: &str| {
        // As a build does it, whose file is moved into the place of the one that runs.
        let next = folder.path().join("next");
        copy_program(example_path(name), &next);
        std::fs::rename(next, &program).unwrap();
    };
    build("upgrade");
    let mut server = Program::start(Command::new(&program).arg("127.0.0.1:0"));
    let mut ann = server.websocket("/ann");
    assert_eq!(ann.hear_text(), "ann is here");
    ann.say("hello");
    assert_eq!(ann.hear_text(), "1. ann: hello");
    for line in ["2. ann: and again", "3. ann: and again"] {
        build("upgrade");
        server.signal(Signal::USR2);
        server.stdout.wait_for("upgraded from ");
        server
            .stdout
            .wait_for(&format!("listening on http://{}/", server.address));
        ann.say("and again");
        assert_eq!(ann.hear_text(), line);
    }
    build("websocket_only");
    server.signal(Signal::USR2);
    let line = server.stderr.wait_for("the program stays what it is");
    assert!(line.contains("Builder::upgradable wasn't called"), "{line}");
    let mut bob = server.websocket("/bob");
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.hear_text(), "bob is here");
    }
    bob.say("hi");
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.hear_text(), "4. bob: hi");
    }
    let goodbyes =
        [ann, bob].map(|mut client| std::thread::spawn(move || client.hear_text_or_close()));
    server.stop();
    for goodbye in goodbyes {
        assert_eq!(goodbye.join().unwrap(), Err(1001));
    }
}
