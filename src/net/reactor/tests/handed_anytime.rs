//! Whatever is said to whom, and whenever another reactor goes on: each hears all of it, in its order.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};

use super::super::ReactorLimits;
use super::bench::{Bench, Peer, frame};
use super::handed_outboxes::{narrow, texts};
use crate::net::command::{Command, DeliveryWay, SlowWay};

const PEERS: usize = 6;
const TOPICS: [&str; 3] = ["tea", "coffee", "*"];

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// A peer that reads now and then, and what it has to hear.
struct Reader {
    peer: Peer,
    topics: BTreeSet<&'static str>,
    expected: Vec<String>,
    heard: Vec<u8>,
}

impl Reader {
    fn read(&mut self, size_max: usize) {
        let socket = self.peer.socket.get_mut();
        socket.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; size_max];
        match socket.read(&mut buffer) {
            Ok(size) => self.heard.extend_from_slice(&buffer[..size]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

/// Takes a step: something is said, somebody joins or leaves, reads, or another reactor goes on.
fn step(bench: &mut Bench, readers: &mut [Reader], dice: &mut Dice, number: usize) {
    let (who, topic) = (dice.below(PEERS), TOPICS[dice.below(TOPICS.len())]);
    let size = [3, 200, 3_000, 80_000][dice.below(4)];
    let text = format!("{number:05}{}", "x".repeat(size));
    let fd = readers[who].peer.fd;
    match dice.below(10) {
        0 | 1 => {
            bench.push(fd, &text);
            readers[who].expected.push(text);
        }
        2..=4 => {
            match dice.below(2) {
                0 => bench.publish(topic, &text),
                _ => bench.command(Command::Deliver {
                    topic: topic.into(),
                    frames: frame(&text),
                    way: DeliveryWay {
                        delay_ms: 0,
                        slow: SlowWay::Fence,
                    },
                }),
            }
            let members = readers.iter_mut();
            let members = members.filter(|reader| reader.topics.contains(topic));
            members.for_each(|reader| reader.expected.push(text.clone()));
        }
        5 => {
            bench.command(Command::Subscribe {
                fd,
                topic: topic.into(),
                frames_first: frame("welcome"),
            });
            readers[who].expected.push("welcome".to_owned());
            readers[who].topics.insert(topic);
        }
        6 => {
            let topic_of = topic.into();
            bench.command(Command::Unsubscribe {
                fd,
                topic: topic_of,
            });
            readers[who].topics.remove(topic);
        }
        7 | 8 => readers[who].read(1 + dice.below(200_000)),
        _ => {
            bench.nudge();
            bench.turn();
            bench.hand_over();
        }
    }
}

#[test]
fn each_hears_all_of_it_in_its_order() {
    for seed in 0..6 {
        let limits = ReactorLimits {
            outbox_bytes_max: 1 << 30,
            ..ReactorLimits::default()
        };
        let mut bench = Bench::with(limits, 0);
        let peers = bench.open(PEERS);
        narrow(&bench);
        let mut readers: Vec<Reader> = peers
            .into_iter()
            .map(|peer| Reader {
                peer,
                topics: BTreeSet::new(),
                expected: Vec::new(),
                heard: Vec::new(),
            })
            .collect();
        let mut dice = Dice(seed);
        for number in 0..300 {
            step(&mut bench, &mut readers, &mut dice, number);
            if dice.below(3) == 0 {
                bench.nudge();
                bench.turn();
            }
        }
        for reader in &mut readers {
            bench.push(reader.peer.fd, "end");
        }
        let end = frame("end");
        while !readers.iter().all(|reader| reader.heard.ends_with(&end)) {
            bench.nudge();
            bench.turn();
            readers.iter_mut().for_each(|reader| reader.read(1_000_000));
            if dice.below(5) == 0 {
                bench.hand_over();
            }
        }
        for reader in readers {
            let shown = |text: &String| format!("{}…{}", &text[..text.len().min(10)], text.len());
            let mut expected: Vec<String> = reader.expected.iter().map(shown).collect();
            expected.push("end…3".to_owned());
            assert_eq!(texts(&reader.heard), expected, "seed {seed}");
        }
        assert_eq!(bench.reactor.shared.budget.bytes(), 0);
    }
}
