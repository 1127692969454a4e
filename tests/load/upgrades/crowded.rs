//! An upgrade among many connections that are logged in and silent, beside a busy room: how long the room
//! hears nothing, how long the server stands still, what is handed over a connection, and its memory.
//!
//! In full, and of the second size: `TIDINGS_UPGRADE_IDLE=9900` or `18900`, with `TIDINGS_UPGRADES=5
//! TIDINGS_SERVER_CORE=0 taskset -c 1` and `--release --test load crowded -- --nocapture`, on a machine
//! without other work. `TIDINGS_UPGRADE_GAP_MS_MAX=100` bounds the silence.

use std::process::Command;
use std::thread;
use std::time::Duration;

use super::ledger::{Board, Ending, Finishing};
use super::listeners::Listeners;
use super::talkers::by_websocket;
use super::{binaries, keep_their_names, middle_and_longest, number_in, said_of_upgrade};
use crate::support::number_in_env;
use crate::support::program::Program;

/// Who is in the busy room.
const MEMBERS: usize = 100;

/// Between two messages to the room: nearly 100 a second.
const BETWEEN: Duration = Duration::from_millis(10);

/// Messages to each member before and after an upgrade that belong to it.
const AROUND: u64 = 20;

/// What an idle connection takes of a handover at the most, in bytes.
const HANDED_OVER_MAX: u64 = 250;

/// A server on a core of its own, if a variable names one.
fn serve(folder: &tempfile::TempDir) -> Program {
    let binary = &binaries()[0];
    let mut command = match number_in_env("TIDINGS_SERVER_CORE") {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(core.to_string()).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    command.current_dir(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data", "data"]);
    command.args(["--set", "control=control", "--set", "chat.in_memory=mem-*"]);
    Program::start(&mut command)
}

#[test]
fn silent_connections_make_an_upgrade_neither_large_nor_lossy() {
    let number = |name: &str, few| number_in_env(name).unwrap_or(few) as usize;
    let (idle, upgrades) = (
        number("TIDINGS_UPGRADE_IDLE", 300),
        number("TIDINGS_UPGRADES", 1),
    );
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&folder);
    let upgrade = |more: &[&str]| said_of_upgrade(folder.path(), &binaries()[0], more);
    let bytes = || number_in(&upgrade(&["--check"]), "would work: ", " bytes");
    let members = Listeners::connect(server.address, MEMBERS, MEMBERS);
    let alone = bytes();
    drop(members);
    let mut listeners = Listeners::connect(server.address, MEMBERS + idle, MEMBERS);
    let each = bytes().saturating_sub(alone) / idle as u64;
    let fds = listeners.fds();
    let board = Board::with_pauses(MEMBERS, BETWEEN);
    let (board, address, before) = (&board, server.address, server.memory());
    let (mut pauses, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
    let answered = thread::scope(|scope| {
        let finishing = Finishing(board);
        let _ending = Ending(board);
        let listeners = &mut listeners;
        let hear = scope.spawn(move || listeners.hear(board));
        let talker = scope.spawn(move || by_websocket(address, 0, 0, board));
        for _ in 0..upgrades {
            board.wait_for_more(AROUND);
            without.push(board.take_longest_gap());
            let said = upgrade(&[]);
            // The talker has a connection, too.
            let carried = number_in(&said, ": ", " connections carried");
            assert_eq!(carried, (MEMBERS + idle + 1) as u64, "{said}");
            pauses.push(Duration::from_millis(number_in(
                &said,
                "a pause of ",
                " ms",
            )));
            board.wait_for_more(AROUND);
            with.push(board.take_longest_gap());
        }
        board.end();
        let answered = talker.join().unwrap();
        board.wait_for_all();
        keep_their_names(&server, &fds);
        drop(finishing);
        hear.join().unwrap();
        answered
    });
    let after = server.memory();
    listeners.ledger.judge(&answered, &[]);
    let longest = with.iter().max().copied().unwrap();
    println!(
        "{idle} idle connections, {upgrades} upgrades, {} messages to {MEMBERS}: pauses {}; longest silence \
         {}, without an upgrade {}; {each} bytes handed over a connection; memory {before} bytes before, \
         {after} after",
        answered.len(),
        middle_and_longest(pauses),
        middle_and_longest(with),
        middle_and_longest(without),
    );
    assert!(each <= HANDED_OVER_MAX, "{each} bytes");
    if let Some(ms_max) = number_in_env("TIDINGS_UPGRADE_GAP_MS_MAX") {
        assert!(longest <= Duration::from_millis(ms_max), "{longest:?}");
    }
    drop(listeners);
    server.stop();
}
