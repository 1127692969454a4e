//! The timer wheel: what setting, cancelling and firing a timer costs, and asking for the next.

use divan::{Bencher, black_box, counter::ItemsCount};
use tidings::{base::Tick, net::wheel::Wheel};

const TIMERS: u64 = 10_000;

fn main() {
    divan::main();
}

/// A wheel as ten thousand connections with a 25 s heartbeat fill it.
fn heartbeats() -> Wheel<u64> {
    let mut wheel = Wheel::new(Tick(0));
    for index in 0..TIMERS {
        wheel.insert(Tick(1 + index * 7 % 25_000), index);
    }
    wheel
}

#[divan::bench]
fn insert_and_cancel(bencher: Bencher) {
    let mut wheel = heartbeats();
    let mut deadline = 0;
    bencher.bench_local(|| {
        deadline = (deadline + 7_919) % 60_000;
        let id = wheel.insert(Tick(deadline), 1);
        wheel.cancel(black_box(id))
    });
}

#[divan::bench]
fn fire_10_000(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(TIMERS))
        .with_inputs(heartbeats)
        .bench_local_values(|mut wheel| {
            for now in (0..=25_000).step_by(5) {
                while let Some(value) = wheel.pop_expired(Tick(now)) {
                    black_box(value);
                }
            }
            wheel
        });
}

/// One millisecond of an idle reactor: fire what is due, put it back, ask for the next.
#[divan::bench]
fn turn_with_10_000_heartbeats(bencher: Bencher) {
    let mut wheel = heartbeats();
    let mut now = Tick(0);
    bencher.bench_local(|| {
        now = now.after(1);
        while let Some(value) = wheel.pop_expired(now) {
            wheel.insert(now.after(25_000), value);
        }
        wheel.next_deadline()
    });
}

#[divan::bench]
fn turn_without_progress(bencher: Bencher) {
    let mut wheel = heartbeats();
    bencher.bench_local(|| (wheel.pop_expired(Tick(0)), wheel.next_deadline()));
}

/// A day gone at once, with every bucket to be passed.
#[divan::bench]
fn jump_of_a_day(bencher: Bencher) {
    bencher
        .with_inputs(heartbeats)
        .bench_local_values(|mut wheel| {
            while let Some(value) = wheel.pop_expired(Tick(86_400_000)) {
                black_box(value);
            }
            wheel
        });
}
