use std::io;

use proptest::prelude::*;

use super::*;
use crate::net::outbox::Flushed;
use crate::proto::websocket::{MessageKind, encode_message};

const TOPICS: usize = 3;
const SLOT: u32 = 7;

/// What a frame of the tests says: of a topic the number of a message, the number behind which a gap
/// ends, or a fence behind the message of a number; or the number of another frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Message(usize, u64),
    Gap(usize, u64),
    Fence(usize, u64),
    Other(u64),
}

impl Said {
    /// A frame with a payload of so many bytes, which begins with what it says.
    fn frame(self, size: usize) -> Vec<u8> {
        let (kind, topic, number) = match self {
            Self::Message(topic, number) => (b'm', topic, number),
            Self::Gap(topic, number) => (b'g', topic, number),
            Self::Fence(topic, number) => (b'f', topic, number),
            Self::Other(number) => (b'o', 0, number),
        };
        let mut payload = vec![kind, topic as u8];
        payload.extend_from_slice(&number.to_be_bytes());
        payload.resize(payload.len().max(size), 0);
        let mut frame = Vec::new();
        encode_message(&mut frame, MessageKind::Binary, &payload);
        frame
    }

    /// Reads whole frames.
    fn all(mut wire: &[u8]) -> Vec<Self> {
        let mut all = Vec::new();
        while let [_, size, rest @ ..] = wire {
            let (size, rest) = match *size {
                126 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
                size => (size.into(), rest),
            };
            let (payload, next) = rest.split_at(size);
            let number = u64::from_be_bytes(payload[2..10].try_into().unwrap());
            let topic = payload[1].into();
            all.push(match payload[0] {
                b'm' => Self::Message(topic, number),
                b'g' => Self::Gap(topic, number),
                b'f' => Self::Fence(topic, number),
                _ => Self::Other(number),
            });
            wire = next;
        }
        assert!(wire.is_empty(), "a frame is cut off");
        all
    }
}

/// One reader, and what it has to hear.
struct Reader {
    arena: Arena,
    outbox: Outbox,
    wire: Vec<u8>,
    /// The number of the last message of each topic.
    last: [u64; TOPICS],
    /// The numbers of messages that have to come, whatever came after them.
    kept: Vec<(usize, u64)>,
    /// What has to come in this order.
    fences: Vec<Said>,
    others: Vec<Said>,
}

impl Reader {
    fn new() -> Self {
        Self {
            arena: Arena::default(),
            outbox: Outbox::new(),
            wire: Vec::new(),
            last: [0; TOPICS],
            kept: Vec::new(),
            fences: Vec::new(),
            others: Vec::new(),
        }
    }

    fn other(&mut self, content: Content, size: usize) {
        let said = Said::Other(self.others.len() as u64);
        self.others.push(said);
        let frame = Bytes::from(said.frame(size));
        self.outbox.push(&mut self.arena, frame, content);
    }

    fn message(&mut self, topic: usize, size: usize) {
        self.last[topic] += 1;
        let number = self.last[topic];
        let gap = Said::Gap(topic, number - 1).frame(0);
        let message = Said::Message(topic, number).frame(size);
        let instead = Bytes::from([&gap[..], &message[..]].concat());
        let frame = instead.slice(gap.len()..);
        self.push(topic, frame, Some(instead));
    }

    fn fence(&mut self, topic: usize) {
        let said = Said::Fence(topic, self.last[topic]);
        self.fences.push(said);
        self.kept.push((topic, self.last[topic]));
        self.push(topic, Bytes::from(said.frame(0)), None);
    }

    fn push(&mut self, topic: usize, frame: Bytes, instead: Option<Bytes>) {
        let latest = LatestPiece {
            slot: SLOT,
            topic: topic as u32,
            instead,
        };
        self.outbox.push_latest(&mut self.arena, frame, latest);
    }

    /// Leaves a topic, which has the same number when it is joined again.
    fn leave(&mut self, topic: usize) {
        self.kept.push((topic, self.last[topic]));
        self.outbox.keep(&mut self.arena, topic as u32);
    }

    /// Reads so many bytes at the most, as the reactor lets it.
    fn read(&mut self, room: usize) {
        let (wire, mut left) = (&mut self.wire, room);
        let written = self.outbox.flush(&mut self.arena, |slices| {
            let before = wire.len();
            for slice in slices {
                let part = &slice[..left.min(slice.len())];
                wire.extend_from_slice(part);
                left -= part.len();
            }
            match wire.len() - before {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                written => Ok(written),
            }
        });
        if written.unwrap() == Flushed::Waits {
            self.outbox.settle(&mut self.arena);
            self.check_waiting();
        }
    }

    /// Checks that of each topic no more than one message waits that another may replace.
    fn check_waiting(&self) {
        let (mut waiting, mut bytes, mut key) = ([0; TOPICS], 0, self.outbox.head);
        while key != NONE {
            let piece = &self.arena.pieces[key as usize];
            bytes += piece.bytes.len();
            if piece.content == Content::Latest && !self.outbox.is_begun(key) {
                let known = self.arena.latest.known[key as usize].as_ref().unwrap();
                waiting[known.topic as usize] += 1;
                let place = (SLOT, known.topic);
                assert_eq!(self.arena.latest.waiting.get(&place), Some(&key));
            }
            (self.outbox.tail == key).then(|| assert_eq!(piece.next, NONE));
            key = piece.next;
        }
        assert!(waiting.iter().all(|count| *count <= 1), "{waiting:?}");
        assert_eq!(bytes, self.outbox.kept());
    }

    /// Reads the rest, and looks at all that was heard.
    fn end(mut self) {
        self.read(usize::MAX);
        let latest = &self.arena.latest;
        assert!(self.arena.pieces.is_empty() && latest.waiting.is_empty());
        assert_eq!((latest.count, self.outbox.bytes()), (0, 0));
        let heard = Said::all(&self.wire);
        let is_other = |said: &&Said| matches!(said, Said::Other(_));
        let others: Vec<Said> = heard.iter().filter(is_other).copied().collect();
        assert_eq!(others, self.others);
        for topic in 0..TOPICS {
            self.check_topic(topic, &heard);
        }
    }

    fn check_topic(&self, topic: usize, heard: &[Said]) {
        let (mut newest, mut numbers, mut fences) = (0, vec![0], Vec::new());
        for (place, said) in heard.iter().enumerate() {
            match *said {
                Said::Message(of, number) if of == topic => {
                    let is_told = place > 0 && heard[place - 1] == Said::Gap(topic, number - 1);
                    assert!(number == newest + 1 || is_told, "{number} behind {newest}");
                    assert!(number > newest, "{number} behind {newest}");
                    newest = number;
                    numbers.push(number);
                }
                Said::Gap(of, number) if of == topic => {
                    let next = Some(&Said::Message(topic, number + 1));
                    assert_eq!(heard.get(place + 1), next);
                    assert!(number > newest, "a gap of nothing");
                }
                Said::Fence(of, number) if of == topic => {
                    assert_eq!(number, newest, "a fence keeps its place");
                    fences.push(*said);
                }
                _ => {}
            }
        }
        let own = |said: &&Said| matches!(said, Said::Fence(of, _) if *of == topic);
        let expected: Vec<Said> = self.fences.iter().filter(own).copied().collect();
        assert_eq!(fences, expected);
        assert_eq!(newest, self.last[topic], "the newest one comes");
        for (of, number) in &self.kept {
            assert!(*of != topic || numbers.contains(number), "{number} is lost");
        }
    }
}

#[test]
fn wherever_the_socket_cuts_the_newest_comes_whole_behind_a_gap() {
    let fill = |reader: &mut Reader| {
        reader.message(0, 40);
        reader.message(1, 300);
        reader.other(Content::Own, 20);
        reader.message(0, 30);
        reader.other(Content::Shared, 30);
        reader.message(2, 10);
        reader.fence(2);
        reader.message(2, 10);
    };
    let mut whole = Reader::new();
    fill(&mut whole);
    for cut in 0..=whole.outbox.bytes() {
        for second in [0, 1, 50, 400] {
            let mut reader = Reader::new();
            fill(&mut reader);
            reader.read(cut);
            reader.message(0, 50);
            reader.message(1, 10);
            reader.read(second);
            reader.message(0, 20);
            reader.fence(0);
            reader.other(Content::Whole, 100);
            reader.message(0, 60);
            reader.read(0);
            reader.message(0, 10);
            reader.read(0);
            reader.end();
        }
    }
}

#[test]
fn of_ten_thousand_messages_a_reader_that_takes_nothing_has_one_waiting() {
    let mut reader = Reader::new();
    reader.read(0);
    for _ in 0..100 {
        for _ in 0..100 {
            reader.message(0, 1_000);
        }
        reader.read(0);
        assert!(reader.outbox.bytes() < 1_100 && reader.outbox.is_one_piece());
    }
    assert_eq!(reader.arena.replaced(), 9_999);
    reader.end();
}

#[test]
fn what_the_next_message_replaces_does_not_count_against_the_bound() {
    let mut reader = Reader::new();
    for topic in 0..TOPICS {
        reader.message(topic, 600);
        reader.message(topic, 600);
    }
    reader.other(Content::Shared, 900);
    reader.read(0);
    assert!(reader.outbox.bytes() > 2_700);
    assert!(
        !reader.outbox.is_over(&reader.arena, 100),
        "one may be too long"
    );
    reader.other(Content::Shared, 900);
    reader.read(0);
    assert!(reader.outbox.is_over(&reader.arena, 1_000));
    assert!(!reader.outbox.is_over(&reader.arena, 2_000));
    // What stays counts again.
    reader.fence(0);
    reader.leave(1);
    reader.read(0);
    assert!(reader.outbox.is_over(&reader.arena, 2_000));
    reader.end();
}

#[derive(Debug, Clone)]
enum Step {
    Message(usize, usize),
    Fence(usize),
    Leave(usize),
    Other(Content, usize),
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let topic = 0..TOPICS;
    let sizes = prop_oneof![10..60_usize, 200..400_usize];
    let content = prop_oneof![
        Just(Content::Own),
        Just(Content::Shared),
        Just(Content::Whole),
    ];
    prop_oneof![
        8 => (topic.clone(), sizes.clone()).prop_map(|(topic, size)| Step::Message(topic, size)),
        1 => topic.clone().prop_map(Step::Fence),
        1 => topic.prop_map(Step::Leave),
        3 => (content, sizes).prop_map(|(content, size)| Step::Other(content, size)),
        3 => (0..500_usize).prop_map(Step::Read),
        2 => Just(Step::Read(0)),
    ]
}

proptest! {
    #[test]
    fn a_slow_reader_hears_all_but_what_a_newer_one_replaced(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut reader = Reader::new();
        for step in steps {
            match step {
                Step::Message(topic, size) => reader.message(topic, size),
                Step::Fence(topic) => reader.fence(topic),
                Step::Leave(topic) => reader.leave(topic),
                Step::Other(content, size) => reader.other(content, size),
                Step::Read(room) => reader.read(room),
            }
        }
        reader.end();
    }
}
