//! Topics: joining, leaving, and walking through a large room.

use std::sync::Arc;

use divan::{Bencher, black_box, counter::ItemsCount};
use tidings::net::topics::{TopicBounds, Topics};

const MEMBERS: u32 = 10_000;
const BOUNDS: TopicBounds = TopicBounds {
    topics_max: 100_000,
    topics_per_connection_max: 100,
};

fn main() {
    divan::main();
}

/// Ten thousand connections, each with the room, everyone's line and its own.
fn room() -> Topics {
    let mut topics = Topics::new(BOUNDS);
    for slot in 0..MEMBERS {
        for name in ["lobby", "*", &format!("@user{slot}")] {
            topics
                .subscribe(slot, &name.into())
                .expect("within the bounds");
        }
    }
    topics
}

#[divan::bench]
fn subscribe_and_unsubscribe_in_a_room_of_10_000(bencher: Bencher) {
    let (mut topics, lobby) = (room(), "lobby".into());
    bencher.bench_local(|| {
        let joined = topics.subscribe(MEMBERS, black_box(&lobby));
        (joined, topics.unsubscribe(MEMBERS, black_box("lobby")))
    });
}

#[divan::bench]
fn subscribe_and_unsubscribe_as_the_only_member(bencher: Bencher) {
    let (mut topics, ann) = (room(), "@ann".into());
    bencher.bench_local(|| {
        let joined = topics.subscribe(MEMBERS, black_box(&ann));
        (joined, topics.unsubscribe(MEMBERS, black_box("@ann")))
    });
}

/// From the middle: the last member of the room takes the place.
#[divan::bench]
fn close_and_come_back_with_3_topics(bencher: Bencher) {
    let mut topics = room();
    let names = ["lobby", "*", "@ann"].map(Arc::from);
    let mut slot = 0;
    bencher.bench_local(|| {
        slot = (slot + 7_919) % MEMBERS;
        let left = topics.unsubscribe_all(slot);
        for name in &names {
            topics.subscribe(slot, name).expect("within the bounds");
        }
        left
    });
}

#[divan::bench]
fn walk_through_10_000_members(bencher: Bencher) {
    let topics = room();
    bencher.counter(ItemsCount::new(MEMBERS)).bench_local(|| {
        for member in topics.members(black_box("lobby")) {
            black_box(member.slot);
        }
    });
}
