use super::*;
use crate::proto::websocket::{MessageKind, encode_message};
use proptest::prelude::*;

fn frame(size: usize, fill: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_message(&mut frame, MessageKind::Binary, &vec![fill; size]);
    frame
}

/// A socket that takes `room` bytes and then no more.
fn take<'a>(
    room: usize,
    wire: &'a mut Vec<u8>,
) -> impl FnMut(&[IoSlice<'_>]) -> io::Result<usize> + 'a {
    let mut left = room;
    move |slices| {
        let before = wire.len();
        for slice in slices {
            let part = &slice[..left.min(slice.len())];
            wire.extend_from_slice(part);
            left -= part.len();
        }
        if wire.len() == before {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(wire.len() - before)
        }
    }
}

fn filled(arena: &mut Arena) -> (Outbox, Vec<u8>) {
    let (mut outbox, mut all) = (Outbox::new(), Vec::new());
    for (size, content) in [
        (3, Content::Own),
        (200, Content::Own),
        (10, Content::Shared),
        (900, Content::Shared),
        (5, Content::Own),
        (2_000, Content::Whole),
        (70_000, Content::Own),
    ] {
        let bytes = frame(size, size as u8);
        all.extend_from_slice(&bytes);
        outbox.push(arena, Bytes::from(bytes), content);
    }
    (outbox, all)
}

#[test]
fn whatever_the_socket_takes_the_bytes_come_whole_and_in_order() {
    for room in (1..1_200).step_by(7) {
        let (mut arena, mut wire) = (Arena::default(), Vec::new());
        let (mut outbox, all) = filled(&mut arena);
        while outbox.flush(&mut arena, take(room, &mut wire)).unwrap() == Flushed::Waits {
            outbox.settle(&mut arena);
            assert_eq!(outbox.bytes(), all.len() - wire.len());
        }
        assert!(wire == all && arena.pieces.is_empty(), "room {room}");
        assert_eq!((outbox.bytes(), outbox.counted()), (0, 0));
    }
}

#[test]
fn pieces_that_wait_are_copied_and_counted_unless_they_are_large_and_shared() {
    let mut arena = Arena::default();
    let (mut outbox, all) = filled(&mut arena);
    outbox.settle(&mut arena);
    assert_eq!(outbox.counted(), all.len() - frame(900, 0).len());
    assert_eq!(
        arena.pieces.len(),
        5,
        "joined where they stand side by side"
    );
    outbox.clear(&mut arena);
    assert_eq!(
        (outbox.counted(), outbox.bytes(), arena.pieces.len()),
        (0, 0, 0)
    );
}

#[test]
fn dropping_what_is_not_begun_ends_on_a_frame_boundary() {
    for sent in 0..1_200 {
        for settled in [false, true] {
            let (mut arena, mut wire) = (Arena::default(), Vec::new());
            let (mut outbox, all) = filled(&mut arena);
            if sent > 0 {
                outbox.flush(&mut arena, take(sent, &mut wire)).unwrap();
            }
            if settled {
                outbox.settle(&mut arena);
            }
            outbox.drop_unstarted(&mut arena);
            outbox
                .flush(&mut arena, take(usize::MAX, &mut wire))
                .unwrap();
            assert_eq!(
                wire.len(),
                frame_boundary_at_or_after(&all, sent),
                "sent {sent}"
            );
            assert!(all.starts_with(&wire));
        }
    }
}

impl Outbox {
    /// Checks the claims that hold after every call.
    fn check(&self, arena: &Arena) {
        let (mut bytes, mut counted, mut last) = (0, 0, NONE);
        let (mut settled, mut key) = (self.settled == NONE, self.head);
        while key != NONE {
            let piece = &arena.pieces[key as usize];
            assert!(!piece.bytes.is_empty());
            assert!(!(piece.mark == Mark::Counted && settled && self.settled != NONE));
            bytes += piece.bytes.len();
            counted += if piece.mark == Mark::Counted {
                piece.bytes.len()
            } else {
                0
            };
            settled |= key == self.settled;
            (last, key) = (key, piece.next);
        }
        assert_eq!(self.bytes, bytes - self.sent as usize);
        assert_eq!(self.counted, counted);
        assert_eq!(self.tail, last);
        assert!(settled, "the piece that was settled last is in the list");
    }

    fn pieces(&self, arena: &Arena) -> usize {
        let (mut count, mut key) = (0, self.head);
        while key != NONE {
            (count, key) = (count + 1, arena.next_of(key));
        }
        count
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Sizes of the payloads of the frames that make one piece.
    Push(Content, Vec<usize>),
    Write(usize),
    Settle,
    DropUnstarted,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let content = prop::sample::select(vec![
        Content::Own,
        Content::Own,
        Content::Whole,
        Content::Shared,
        Content::Http,
    ]);
    let sizes = prop::collection::vec(prop_oneof![0..20_usize, 100..400_usize], 0..4);
    prop_oneof![
        10 => (content, sizes).prop_map(|(content, sizes)| Step::Push(content, sizes)),
        6 => (0..800_usize).prop_map(Step::Write),
        6 => Just(Step::Settle),
        1 => Just(Step::DropUnstarted),
        1 => Just(Step::Clear),
    ]
}

/// A model of an outbox: the bytes to write, and the places at which they may be cut.
#[derive(Default)]
struct Model {
    stream: Vec<u8>,
    written: usize,
    /// The end of each piece, whether it is HTTP, and the ends of its frames.
    pieces: Vec<(usize, bool, Vec<usize>)>,
}

impl Model {
    fn push(&mut self, content: Content, sizes: &[usize], fill: u8) -> Bytes {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for &size in sizes {
            bytes.extend_from_slice(&frame(size, fill));
            ends.push(self.stream.len() + bytes.len());
        }
        self.stream.extend_from_slice(&bytes);
        if !bytes.is_empty() {
            let is_http = content == Content::Http;
            self.pieces.push((self.stream.len(), is_http, ends));
        }
        bytes.into()
    }

    fn drop_unstarted(&mut self) {
        let mut end = self.written;
        self.pieces.retain(|(piece_end, ..)| *piece_end > end);
        for (piece_end, is_http, ends) in &self.pieces {
            if !is_http {
                let start = end.max(self.written);
                let begun = start == self.written && self.is_within_frame(start);
                if begun {
                    end = *ends.iter().find(|end| **end >= start).unwrap();
                }
                break;
            }
            end = *piece_end;
        }
        self.stream.truncate(end);
        self.pieces.clear();
        if end > self.written {
            self.pieces.push((end, true, vec![end]));
        }
    }

    fn is_within_frame(&self, position: usize) -> bool {
        let mut start = 0;
        while start < position {
            start += frame_boundary_at_or_after(&self.stream[start..], 1);
        }
        start > position
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_outbox_is_a_row_of_bytes(steps in prop::collection::vec(step(), 0..80)) {
        let (mut arena, mut outbox) = (Arena::default(), Outbox::new());
        // Somebody else's pieces stand between ours.
        let mut other = Outbox::new();
        let (mut model, mut wire) = (Model::default(), Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(content, sizes) => {
                    let bytes = model.push(content, &sizes, number as u8);
                    outbox.push(&mut arena, bytes, content);
                    other.push(&mut arena, Bytes::from_static(b"x"), Content::Http);
                }
                Step::Write(room) => {
                    let flushed = outbox.flush(&mut arena, take(room, &mut wire)).unwrap();
                    model.written = wire.len();
                    prop_assert_eq!(flushed == Flushed::Empty, wire.len() == model.stream.len());
                }
                Step::Settle => {
                    outbox.settle(&mut arena);
                    prop_assert!(outbox.first_unsettled(&arena).is_none());
                }
                Step::DropUnstarted => {
                    outbox.drop_unstarted(&mut arena);
                    model.drop_unstarted();
                }
                Step::Clear => {
                    outbox.clear(&mut arena);
                    model.stream.truncate(model.written);
                    // The next byte begins a frame.
                    model = Model::default();
                    wire.clear();
                }
            }
            outbox.check(&arena);
            prop_assert_eq!(outbox.bytes(), model.stream.len() - model.written);
            prop_assert_eq!(outbox.is_empty(), outbox.bytes() == 0);
            prop_assert!(model.stream.starts_with(&wire));
        }
        outbox.flush(&mut arena, take(usize::MAX, &mut wire)).unwrap();
        prop_assert!(wire == model.stream);
        prop_assert_eq!((outbox.bytes(), outbox.counted()), (0, 0));
        other.clear(&mut arena);
        prop_assert!(arena.pieces.is_empty());
    }
}

#[test]
fn a_slow_reader_of_small_frames_costs_little_more_than_their_bytes() {
    let (mut arena, mut outbox, mut all) = (Arena::default(), Outbox::new(), Vec::new());
    for number in 0..100_000_u32 {
        let bytes = frame(1, number as u8);
        all.extend_from_slice(&bytes);
        let content = if number % 2 == 0 {
            Content::Own
        } else {
            Content::Shared
        };
        outbox.push(&mut arena, Bytes::from(bytes), content);
        outbox.settle(&mut arena);
    }
    assert_eq!((outbox.bytes(), outbox.counted()), (all.len(), all.len()));
    let pieces = outbox.pieces(&arena);
    assert!(pieces <= all.len() / JOINED_BYTES_MAX + 1, "{pieces}");
    let mut wire = Vec::new();
    while outbox.flush(&mut arena, take(1_000, &mut wire)).unwrap() == Flushed::Waits {
        outbox.settle(&mut arena);
        outbox.check(&arena);
    }
    assert!(wire == all);
}

#[test]
fn what_waits_does_not_keep_its_batch_in_memory() {
    let (mut arena, mut outbox) = (Arena::default(), Outbox::new());
    let batch = Bytes::from([frame(10, 1), frame(10, 2), frame(10, 3)].concat());
    let shared = Bytes::from(frame(1_000, 4));
    outbox.push(&mut arena, batch.slice(12..24), Content::Own);
    outbox.push(&mut arena, shared.clone(), Content::Shared);
    outbox.push(&mut arena, batch.slice(24..), Content::Own);
    let mut wire = Vec::new();
    outbox.flush(&mut arena, take(5, &mut wire)).unwrap();
    assert!(!batch.is_unique());
    outbox.settle(&mut arena);
    assert!(batch.is_unique());
    assert!(!shared.is_unique(), "a large shared frame is never copied");
    assert_eq!(outbox.counted(), 24);
}

#[test]
fn the_handshake_and_the_answers_before_it_outlive_what_a_slow_reader_loses() {
    for room in [0, 3, 8, 12, 14] {
        let (mut arena, mut outbox, mut wire) = (Arena::default(), Outbox::new(), Vec::new());
        outbox.push(&mut arena, Bytes::from_static(b"answer"), Content::Http);
        outbox.push(&mut arena, Bytes::from_static(b"the 101"), Content::Http);
        outbox.push(&mut arena, Bytes::from(frame(3, b'x')), Content::Own);
        outbox.push(&mut arena, Bytes::from(frame(3, b'y')), Content::Whole);
        outbox.flush(&mut arena, take(room, &mut wire)).unwrap();
        outbox.settle(&mut arena);
        outbox.drop_unstarted(&mut arena);
        outbox.push(&mut arena, Bytes::from_static(b"close"), Content::Own);
        outbox.settle(&mut arena);
        outbox.check(&arena);
        outbox
            .flush(&mut arena, take(usize::MAX, &mut wire))
            .unwrap();
        let expected: &[u8] = if room <= 13 {
            b"answerthe 101close"
        } else {
            b"answerthe 101\x82\x03xxxclose"
        };
        assert!(wire == expected, "{room}: {wire:?}");
    }
}

#[test]
fn a_write_that_is_interrupted_goes_on_and_one_that_fails_says_so() {
    let (mut arena, mut outbox) = (Arena::default(), Outbox::new());
    outbox.push(&mut arena, Bytes::from_static(b"bytes"), Content::Http);
    let failed = outbox.flush(&mut arena, |_| Err(io::ErrorKind::BrokenPipe.into()));
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let closed = outbox.flush(&mut arena, |_| Ok(0));
    assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::WriteZero);
    let mut interrupted = false;
    let flushed = outbox.flush(&mut arena, |slices| {
        if std::mem::replace(&mut interrupted, true) {
            return Ok(slices.iter().map(|slice| slice.len()).sum());
        }
        Err(io::ErrorKind::Interrupted.into())
    });
    assert_eq!(flushed.unwrap(), Flushed::Empty);
}
