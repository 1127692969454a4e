//! Frames in and out: `cargo bench --bench codec`.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use tidings::proto::websocket::{
    ControlFrame, MessageDecoder, MessageKind, encode_message, unmask,
};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const SIZES: [usize; 3] = [64, 1024, 65_536];

fn main() {
    divan::main();
}

/// A masked frame of ASCII.
fn client_frame(kind: MessageKind, size: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut payload = vec![b'x'; size];
    encode_message(&mut frame, kind, &payload);
    let header_size = frame.len() - size;
    frame.truncate(header_size);
    frame[1] |= 0x80;
    unmask(&mut payload, MASK);
    [&frame[..], &MASK, &payload].concat()
}

/// Decoding takes the mask off in place, so every round starts from a fresh copy, made outside of
/// what is measured; sixteen frames a round hide the clock.
fn decode(bencher: Bencher<'_, '_>, frame: &[u8], payload_size: usize, read_size: usize) {
    const FRAMES: usize = 16;
    let stream = frame.repeat(FRAMES);
    bencher
        .counter(BytesCount::new(payload_size * FRAMES))
        .counter(divan::counter::ItemsCount::new(FRAMES))
        .with_inputs(|| stream.clone())
        .bench_local_refs(|stream| {
            let mut decoder = MessageDecoder::new();
            for read in stream.chunks_mut(read_size) {
                let mut start = 0;
                while start < read.len() {
                    let (taken, item) = decoder.decode(&mut read[start..], 1 << 20).unwrap();
                    black_box(item);
                    start += taken;
                }
            }
        });
}

#[divan::bench(args = SIZES)]
fn decode_text(bencher: Bencher<'_, '_>, size: usize) {
    decode(
        bencher,
        &client_frame(MessageKind::Text, size),
        size,
        usize::MAX,
    );
}

#[divan::bench(args = SIZES)]
fn decode_binary(bencher: Bencher<'_, '_>, size: usize) {
    decode(
        bencher,
        &client_frame(MessageKind::Binary, size),
        size,
        usize::MAX,
    );
}

/// Reads of 4,000 bytes end within most of the frames.
#[divan::bench(args = SIZES)]
fn decode_text_cut_by_reads(bencher: Bencher<'_, '_>, size: usize) {
    decode(bencher, &client_frame(MessageKind::Text, size), size, 4_000);
}

#[divan::bench(args = SIZES)]
fn encode(bencher: Bencher<'_, '_>, size: usize) {
    let payload = vec![b'x'; size];
    let mut out = Vec::with_capacity(size + 10);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        encode_message(&mut out, MessageKind::Text, black_box(&payload));
        black_box(&out);
    });
}

#[divan::bench]
fn encode_pong() -> ControlFrame {
    ControlFrame::pong(black_box(b"1234"))
}

#[divan::bench(args = SIZES, name = "unmask")]
fn unmask_payload(bencher: Bencher<'_, '_>, size: usize) {
    let mut payload = vec![b'x'; size];
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| unmask(black_box(&mut payload), MASK));
}
