//! What comes at the wrong moment: a stop, a reload, a log file to be opened anew.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Upgradable, rounds, upgrade_in};
use crate::support::random::Random;

/// The longest upgrade that signals are spread over.
const SPREAD: Duration = Duration::from_millis(400);

#[test]
fn sigterm_is_obeyed_whenever_it_comes() {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for round in 0..rounds(6) {
        let mut server = Upgradable::serve(&[]);
        let wait = SPREAD.mul_f64(random.below(1_000) as f64 / 1_000.0);
        let folder = server.folder.path();
        std::thread::scope(|scope| {
            let upgrade = scope.spawn(move || upgrade_in(folder, &[]));
            let until = Instant::now() + wait;
            while Instant::now() < until {
                std::thread::yield_now();
            }
            server.program.signal(Signal::TERM);
            drop(upgrade.join());
        });
        assert_eq!(
            server.program.exit_code(),
            0,
            "round {round}, after {wait:?}"
        );
        let log = server.program.stderr.all();
        assert!(log.contains("stopped"), "round {round}: {log}");
    }
}
