//! The mailbox: what a send and its receipt cost, with and without a gauge and a wake-up.

use std::sync::Arc;

use divan::{Bencher, black_box, counter::ItemsCount};
use tidings::base::pressure::{Pressure, Watermarks};
use tidings::net::mailbox::{MailboxReceiver, MailboxSender, WakeFlag, mailbox};

const BATCH: u64 = 64;

fn main() {
    divan::main();
}

fn pressure() -> Option<Arc<Pressure>> {
    let mark = usize::MAX;
    let marks = Watermarks {
        items_high: mark,
        items_low: mark,
        bytes_high: mark,
        bytes_low: mark,
    };
    Some(Arc::new(Pressure::new(marks)))
}

/// One turn: woken, a batch received, asleep again.
fn turn((sender, receiver): &mut (MailboxSender<u64>, MailboxReceiver<u64>)) {
    for value in 0..BATCH {
        let _ = sender.send(black_box(value), 100);
    }
    receiver.woke();
    while let Some(value) = receiver.try_recv() {
        black_box(value);
    }
    black_box(receiver.settle());
    black_box(receiver.may_sleep());
}

#[divan::bench]
fn batch_of_64(bencher: Bencher) {
    let mut ends = mailbox(None, || {});
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| turn(&mut ends));
}

#[divan::bench]
fn batch_of_64_with_gauge(bencher: Bencher) {
    let mut ends = mailbox(pressure(), || {});
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| turn(&mut ends));
}

/// With a real wake-up a batch: a write to an eventfd, and the poll that finds it.
#[divan::bench]
fn batch_of_64_with_gauge_and_poll(bencher: Bencher) {
    let mut poll = mio::Poll::new().expect("a poll");
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
    let mut events = mio::Events::with_capacity(4);
    let mut ends = mailbox(pressure(), move || waker.wake().expect("a wake-up"));
    assert!(ends.1.may_sleep());
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        turn(&mut ends);
        poll.poll(&mut events, Some(std::time::Duration::ZERO))
            .expect("a poll");
    });
}

#[divan::bench]
fn wake_merged_into_an_awake_reactor(bencher: Bencher) {
    let flag = WakeFlag::new();
    bencher.bench_local(|| black_box(&flag).pushed(|| unreachable!("it is awake")));
}

#[divan::bench]
fn ask_whether_pressed(bencher: Bencher) {
    let (sender, _receiver) = mailbox::<()>(pressure(), || {});
    bencher.bench_local(|| black_box(&sender).is_high());
}
