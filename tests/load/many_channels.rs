//! A server with many stored channels: it starts at once, takes little memory, reads a page of any
//! of them at once, and gives back the disk of what is too old while it is written to.
//!
//! `TIDINGS_CHANNELS=10000` is the full size; best with `--release`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::api::{number, post};
use crate::support::http::HttpClient;
use crate::support::program::Program;
use crate::support::random::Random;
use crate::support::wait::until;
use crate::support::{PATIENCE, number_in_env};

/// Messages in each channel.
const MESSAGES: u64 = 100;
/// Messages in a request.
const BATCH: u64 = 1_000;
/// Messages on a page.
const PAGE: u64 = 50;

/// Bounds for a busy machine and a build without optimization; the figures that are printed say more.
const START_MAX: Duration = Duration::from_secs(20);
const PAGE_MAX: Duration = Duration::from_millis(250);
const MEMORY_MAX: u64 = 200 << 20;

fn channels() -> u64 {
    number_in_env("TIDINGS_CHANNELS").unwrap_or(100)
}

/// Fills all channels in turns, so that each is spread over all files.
fn fill(http: &mut HttpClient, channels: u64) {
    for first in (0..channels * MESSAGES).step_by(BATCH as usize) {
        let end = (first + BATCH).min(channels * MESSAGES);
        let messages: Vec<Value> = (first..end)
            .map(|number| {
                let (channel, place) = (number % channels, number / channels + 1);
                json!({"to": {"room": format!("room-{channel}")}, "data": {"place": place}})
            })
            .collect();
        let body = json!({ "messages": messages });
        let (status, answer) = http.json("POST", "/v1/messages/batch", &body);
        assert_eq!(status, 200, "{answer}");
    }
}

/// The newest messages of a channel; how long it took.
fn read_page(http: &mut HttpClient, channel: u64) -> Duration {
    let path = format!("/v1/rooms/room-{channel}/messages?before=1000000&limit={PAGE}");
    let began = Instant::now();
    let (status, page) = http.json("GET", &path, &Value::Null);
    let took = began.elapsed();
    assert_eq!(status, 200, "{page}");
    let places = (MESSAGES - PAGE + 1..=MESSAGES).rev();
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len() as u64, PAGE);
    for (message, place) in messages.iter().zip(places) {
        let told = (&message["offset"], &message["data"]["place"]);
        assert_eq!(told, (&json!(place), &json!(place)));
    }
    took
}

#[test]
fn many_channels_are_there_at_once_after_a_kill() {
    let channels = channels();
    let data = TempDir::new().unwrap();
    let server = Program::serve_in(data.path(), &[]);
    let began = Instant::now();
    fill(&mut server.http(), channels);
    let filled = began.elapsed();
    server.kill();

    let began = Instant::now();
    let server = Program::serve_in(data.path(), &[]);
    let mut http = server.http();
    let first = read_page(&mut http, 0);
    let started = began.elapsed();
    let memory_first = server.memory();
    assert_eq!(number(&server, "store", "channels"), channels);
    let messages = number(&server, "store", "messages");
    assert_eq!(messages, channels * MESSAGES);
    let mut random = Random::new(7);
    let mut pages: Vec<Duration> = (0..200)
        .map(|_| read_page(&mut http, random.below(channels)))
        .collect();
    pages.sort();
    let (median, worst) = (pages[pages.len() / 2], pages[pages.len() - 1]);
    let memory_last = server.memory();
    println!(
        "{messages} messages in {channels} channels, written in {filled:?}; first answer \
         {started:?} after the start (its page {first:?}); {} KiB then, {} KiB after 200 pages, of \
         which the median took {median:?}, the worst {worst:?}",
        memory_first >> 10,
        memory_last >> 10,
    );
    assert!(started < START_MAX, "{started:?}");
    assert!(median < PAGE_MAX, "{median:?}");
    assert!(memory_last < MEMORY_MAX, "{} KiB", memory_last >> 10);
    server.stop();
}

#[test]
fn what_is_too_old_gives_its_disk_back_while_the_server_is_written_to() {
    let data = TempDir::new().unwrap();
    let settings = ["store.keep=old-* age=1s", "store.segment_size_max=262144"];
    let server = Program::serve_in(data.path(), &settings);
    let mut http = server.http();
    let kept = post(&mut http, "kept", 100, &json!("kept"));
    let filler = json!("x".repeat(1_000));
    let (mut written, began, mut most) = (0, Instant::now(), 0);
    loop {
        let newest = post(&mut http, &format!("old-{}", written % 7), 100, &filler);
        assert!(newest.offset > 0);
        written += 1;
        let bytes = number(&server, "store", "bytes");
        most = most.max(bytes);
        if written * 100_000 > 4 * bytes {
            break;
        }
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "{bytes} of {written} are left"
        );
    }
    println!("{written} times 100 kB written, {most} bytes of files at most");
    // And when nobody writes any more, the rest.
    until("the old ones are gone", || {
        number(&server, "store", "messages") == 100 && number(&server, "store", "bytes") < 1 << 20
    });
    let (_, page) = http.json("GET", "/v1/rooms/kept/messages?limit=1", &Value::Null);
    assert_eq!(page["epoch"], kept.epoch);
    assert_eq!(
        (&page["offset"], &page["messages"][0]["offset"]),
        (&json!(100), &json!(1))
    );
    server.stop();
}
