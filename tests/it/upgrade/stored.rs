//! What is stored is known in the next image without being read, however much that is.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tidings::base::clock::unix_ms;
use tidings::store::{
    Channel, Epoch, Journal, MessageBody, MessageRecord, Record, Store, StoreSettings,
};

use super::{Upgradable, rounds};
use crate::support::program::Program;

/// The bytes of a message's data, of which nothing is read in an upgrade.
const DATA_SIZE: usize = 400;

/// Stores so many messages in each of 100 rooms, before a server is there; returns the bytes of the files.
fn fill(folder: &Path, messages: u64) -> u64 {
    let settings = StoreSettings {
        free_bytes_min: 0,
        ..StoreSettings::new(folder)
    };
    let mut store = Journal::open(settings).unwrap();
    let data = format!("\"{}\"", "x".repeat(DATA_SIZE));
    let ts = unix_ms();
    let rooms: Vec<String> = (0..100).map(|room| format!("room{room}")).collect();
    for _ in 0..messages {
        for room in &rooms {
            let record = Record::Message(MessageRecord {
                channel: Channel::stored(room, Epoch::from_bits(7)),
                second: None,
                body: MessageBody {
                    id: "id",
                    from: Some("ann"),
                    to: None,
                    ts,
                    data: &data,
                },
                idempotency_key: None,
                id_owner: 0,
                opens: false,
                mark: None,
                except: &[],
            });
            store.append(ts, &record).unwrap();
        }
        store.commit().unwrap();
    }
    store.reader().totals().bytes
}

/// The bytes that a process has read so far, those of its children that have ended among them.
fn read_by(program: &Program) -> u64 {
    let pid = program.pid().as_raw_nonzero();
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

fn post(server: &Upgradable, id: &str) -> Value {
    let message = json!({"to": {"room": "room7"}, "data": "one more", "id": id});
    let (status, answer) = server.program.http().json("POST", "/v1/messages", &message);
    assert_eq!(status, 200, "{answer}");
    answer["results"][0].clone()
}

#[test]
fn an_upgrade_reads_nothing_of_what_is_stored_and_goes_on_with_all_of_it() {
    // With TIDINGS_UPGRADE_ROUNDS=100 200,000 messages.
    let messages = 20 * rounds(10) as u64;
    let mut bytes = 0;
    let mut server = Upgradable::start(Path::new(env!("CARGO_BIN_EXE_tidings")), &[], |command| {
        let folder = command.get_current_dir().unwrap();
        bytes = fill(&folder.join("tidings-data"), messages);
    });
    let before = post(&server, "before");
    assert_eq!(before["offset"], messages + 1, "{before}");
    for round in 0..3 {
        let read = read_by(&server.program);
        server.is_upgraded(&[]);
        let read = read_by(&server.program) - read;
        println!("{read} bytes read, {bytes} stored");
        assert!(
            read < bytes / 2,
            "{read} bytes were read, {bytes} are stored"
        );
        let repeat = post(&server, "before");
        let place = (&repeat["duplicate"], &repeat["offset"], &repeat["epoch"]);
        assert_eq!(place, (&json!(true), &before["offset"], &before["epoch"]));
        let after = post(&server, &format!("after {round}"));
        assert_eq!(after["epoch"], before["epoch"], "{after}");
        assert_eq!(after["offset"], messages + 2 + round, "{after}");
        let page = format!("/v1/rooms/room7/messages?after={}", messages - 1);
        let found = server.program.http().json("GET", &page, &json!(null)).1;
        let found = found["messages"].as_array().unwrap().len() as u64;
        assert_eq!(found, 3 + round);
    }
    let log = server.program.stderr.all();
    assert_eq!(log.matches("files_read=false").count(), 3, "{log}");
    server.program.stop();
}
