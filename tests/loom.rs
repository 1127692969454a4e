//! Every interleaving of the wake-up flag, the mailbox and the pressure marks.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --profile loom --no-default-features --test loom`
//!
//! A binary of its own: loom replaces the atomics of the whole crate. A wake-up that is lost shows as a deadlock, which loom reports.
#![cfg(loom)]

use loom::model::Builder;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Notify, mpsc};
use loom::thread;
use std::sync::Arc;

use tidings::base::pressure::{Pressure, Watermarks};
use tidings::net::mailbox::{WakeFlag, mailbox};

/// All interleavings in which a thread is put aside against its will at most `times`.
fn with_preemptions(times: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(times);
    builder.check(test);
}

/// A reactor that runs turns, and sleeps between them, until `turn` says that all is done.
fn run(flag: &WakeFlag, eventfd: &Notify, is_empty: impl Fn() -> bool, turn: impl Fn() -> bool) {
    while !turn() {
        if flag.may_sleep(&is_empty) {
            eventfd.wait();
            flag.woke();
        }
    }
}

#[test]
fn a_push_is_never_slept_through() {
    const PRODUCERS: usize = 2;
    with_preemptions(3, || {
        let flag = Arc::new(WakeFlag::new());
        let eventfd = Arc::new(Notify::new());
        // Relaxed on purpose: the flag alone must give the order.
        let queue = Arc::new(AtomicUsize::new(0));
        for _ in 0..PRODUCERS {
            let (flag, eventfd, queue) = (flag.clone(), eventfd.clone(), queue.clone());
            thread::spawn(move || {
                queue.fetch_add(1, Ordering::Relaxed);
                flag.pushed(|| eventfd.notify());
            });
        }
        let seen = std::cell::Cell::new(0);
        run(
            &flag,
            &eventfd,
            || queue.load(Ordering::Relaxed) == seen.get(),
            || {
                seen.set(queue.load(Ordering::Relaxed));
                seen.get() == PRODUCERS
            },
        );
    });
}

#[test]
fn a_nudge_is_never_slept_through_nor_overwritten_by_a_push() {
    with_preemptions(3, || {
        let flag = Arc::new(WakeFlag::new());
        let eventfd = Arc::new(Notify::new());
        let pressed = Arc::new(AtomicBool::new(true));
        {
            let (flag, eventfd, pressed) = (flag.clone(), eventfd.clone(), pressed.clone());
            thread::spawn(move || {
                pressed.store(false, Ordering::Relaxed);
                flag.nudge(|| eventfd.notify());
            });
        }
        {
            let (flag, eventfd) = (flag.clone(), eventfd.clone());
            thread::spawn(move || flag.pushed(|| eventfd.notify()));
        }
        run(
            &flag,
            &eventfd,
            || true,
            || !pressed.load(Ordering::Relaxed),
        );
    });
}

#[test]
fn a_mailbox_delivers_everything_and_wakes_who_paused() {
    const EACH: usize = 2;
    with_preemptions(2, || {
        let eventfd = Arc::new(Notify::new());
        let resumed = Arc::new(Notify::new());
        let marks = Watermarks {
            items_high: 1,
            items_low: 0,
            bytes_high: 100,
            bytes_low: 100,
        };
        let pressure = Arc::new(Pressure::new(marks));
        let wake = {
            let eventfd = eventfd.clone();
            move || eventfd.notify()
        };
        let (sender, mut receiver) = mailbox(Some(pressure.clone()), wake);
        for producer in 0..2 {
            let (sender, resumed) = (sender.clone(), resumed.clone());
            thread::spawn(move || {
                for value in 0..EACH - producer {
                    assert!(sender.send(value, 1).is_ok());
                }
                if producer == 0 {
                    while sender.is_high() {
                        resumed.wait();
                    }
                }
            });
        }
        let mut received = 0;
        while received < 2 * EACH - 1 {
            if receiver.may_sleep() {
                eventfd.wait();
                receiver.woke();
            }
            while receiver.try_recv().is_some() {
                received += 1;
            }
            if receiver.settle() {
                resumed.notify();
            }
        }
        assert!(!pressure.is_high());
        assert_eq!((pressure.items(), pressure.bytes()), (0, 0));
    });
}

#[test]
fn whoever_pauses_at_a_gauge_is_woken() {
    with_preemptions(3, || {
        let marks = Watermarks {
            items_high: 1,
            items_low: 0,
            bytes_high: 9,
            bytes_low: 0,
        };
        let pressure = Arc::new(Pressure::new(marks));
        let resumed = Arc::new(Notify::new());
        let (sender, receiver) = mpsc::channel();
        for bytes in [4, 6] {
            let (pressure, sender) = (pressure.clone(), sender.clone());
            thread::spawn(move || {
                pressure.add(1, bytes);
                sender.send(bytes).unwrap();
            });
        }
        {
            // Feeds nothing at the moment, but has seen the pressure.
            let (pressure, resumed) = (pressure.clone(), resumed.clone());
            thread::spawn(move || {
                while pressure.is_high() {
                    resumed.wait();
                }
            });
        }
        for _ in 0..2 {
            let bytes = receiver.recv().unwrap();
            if pressure.take(1, bytes) {
                resumed.notify();
            }
        }
        assert!(!pressure.is_high());
        assert_eq!((pressure.items(), pressure.bytes()), (0, 0));
    });
}
