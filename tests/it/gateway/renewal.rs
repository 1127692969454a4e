//! The push process is renewed while messages flow, and an upstream sees one link end and the next begin.

use super::everything_breaks::Far;
use super::machine::Machine;
use super::server::Server;
use crate::service::{said, tidings};

#[test]
fn the_push_process_of_a_gateway_is_renewed_and_each_message_comes_once_in_order() {
    const MESSAGES: u64 = 300;
    const RENEWALS: u64 = 5;
    let server = Server::start();
    let machine = Machine::start(&[server.address]);
    let data = machine.folder.path().to_str().unwrap();
    for number in 0..MESSAGES {
        assert_eq!(machine.say("ann", number).status, 202);
        if number % (MESSAGES / RENEWALS) == 0 {
            let before = machine.push_pid();
            let (code, out, err) = said(&mut tidings(
                machine.folder.path(),
                &["reload", "--workers", "--gateway", "--data", data],
            ));
            assert_eq!((code, &*err), (0, ""), "{out}");
            assert!(out.contains("processes 1"), "{out}");
            assert_ne!(machine.push_pid(), before);
        }
    }
    machine.until_settled();
    assert_eq!(machine.stats()["processes"][0]["restarts"], RENEWALS);
    let heard = server.heard_of("ann");
    assert_eq!(heard, (0..MESSAGES).collect::<Vec<_>>());
}
