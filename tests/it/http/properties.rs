//! HTTP over whole streams: however the bytes are cut, mended or broken.

use std::fmt::Write;
use std::iter;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tidings::proto::http::{
    AnswerContext, AnswerTo, Answers, BodyDecoder, Head, HttpError, HttpLimits, Response, Version,
    parse,
};

/// What a stream turned out to hold: whole requests, then perhaps a refusal.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    requests: Vec<Request>,
    refused: Option<HttpError>,
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

/// A connection in small: heads and bodies in turn, from parts of a stream.
#[derive(Default)]
struct Reader {
    head_bytes: Vec<u8>,
    searched: usize,
    body: Option<(Head, BodyDecoder)>,
    seen: Seen,
}

impl Reader {
    fn receive(&mut self, part: &[u8], limits: &HttpLimits) -> Result<(), HttpError> {
        self.head_bytes.extend_from_slice(part);
        loop {
            let Some((_, decoder)) = &mut self.body else {
                let Some((head, size)) = parse(&self.head_bytes, &mut self.searched, limits)?
                else {
                    return Ok(());
                };
                head.expects_continue()?;
                let decoder = BodyDecoder::new(head.framing()?, limits)?;
                self.head_bytes.drain(..size);
                self.body = Some((head, decoder));
                continue;
            };
            let (taken, complete) = decoder.decode(&self.head_bytes)?;
            self.head_bytes.drain(..taken);
            if !complete {
                assert!(
                    self.head_bytes.is_empty(),
                    "an unfinished body takes every byte"
                );
                return Ok(());
            }
            if let Some((head, decoder)) = self.body.take() {
                self.see(&head, decoder.into_body());
            }
        }
    }

    fn see(&mut self, head: &Head, body: Bytes) {
        self.seen.requests.push(Request {
            method: head.method().to_owned(),
            target: head.target().to_owned(),
            fields: head
                .fields()
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect(),
            body,
        });
    }
}

fn seen_in<'a>(parts: impl IntoIterator<Item = &'a [u8]>, limits: &HttpLimits) -> Seen {
    let mut reader = Reader::default();
    for part in parts {
        if let Err(error) = reader.receive(part, limits) {
            reader.seen.refused = Some(error);
            break;
        }
    }
    reader.seen
}

/// Bounds that short streams can pass.
fn small() -> HttpLimits {
    HttpLimits {
        target_size_max: 40,
        head_size_max: 200,
        head_fields_max: 6,
        body_size_max: 30,
        chunk_extensions_size_max: 8,
        trailers_size_max: 16,
    }
}

const STREAM: &str = "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n\
    POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
    \r\nPOST /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;x=y\r\nhello\r\nB\r\n, \r\n\r\nworld\r\n00;z\r\nX: y\r\n\r\n\
    HEAD http://b:1/e HTTP/1.1\r\nHost: b:1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n\r\n\
    OPTIONS * HTTP/1.0\r\n\r\n\
    DELETE /f HTTP/1.1\r\nhOST: [::1]:80\r\nContent-Length: 0\r\nX:\t  \u{e9} \r\n\r\n";

fn expected() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("GET", "/a?b", ""),
        ("POST", "/c", "hello"),
        ("POST", "/d", "hello, \r\n\r\nworld"),
        ("HEAD", "http://b:1/e", "\r\n"),
        ("OPTIONS", "*", ""),
        ("DELETE", "/f", ""),
    ]
}

/// Streams that end in a refusal, each for another reason.
const REFUSED: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
    "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /234567890123456789012345678901234567890 HTTP/1.1\n",
    "GET / HTTP/1.1\r\nX: 34567890123456789012345678901234567890123456789012345678901234567890\
     12345678901234567890123456789012345678901234567890123456789012345678901234567890\
     12345678901234567890123456789012345678901234567890123456789012345678901234567890\n\n",
    "GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1F\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;234567890\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 45678901234567890\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\nContent-Length: 5\r\n\r\nhello",
];

/// Cut once anywhere, and cut everywhere.
fn assert_cuts_change_nothing(stream: &[u8], limits: &HttpLimits) -> Seen {
    let whole = seen_in([stream], limits);
    for cut in 0..stream.len() {
        let (start, rest) = stream.split_at(cut);
        assert_eq!(seen_in([start, rest], limits), whole, "cut at {cut}");
    }
    assert_eq!(seen_in(stream.chunks(1), limits), whole, "byte by byte");
    whole
}

#[test]
fn every_fragmentation_of_pipelined_requests_gives_the_same_requests() {
    let seen = assert_cuts_change_nothing(STREAM.as_bytes(), &small());
    assert_eq!(seen.refused, None);
    let text = |body| std::str::from_utf8(body).unwrap();
    let requests = seen.requests.iter();
    let seen: Vec<_> = requests
        .map(|request| {
            (
                &request.method[..],
                &request.target[..],
                text(&request.body),
            )
        })
        .collect();
    assert_eq!(seen, expected());
}

#[test]
fn every_fragmentation_of_a_refused_stream_gives_the_same_refusal() {
    for stream in REFUSED {
        let seen = assert_cuts_change_nothing(stream.as_bytes(), &small());
        assert!(seen.refused.is_some(), "{stream:?}: {seen:?}");
    }
}

/// One request as it was meant.
#[derive(Debug, Clone)]
struct Meant {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    /// The sizes of the chunks, in turn; none: Content-Length.
    chunks: Vec<usize>,
}

fn meant() -> impl Strategy<Value = Meant> {
    let field = (
        "x-[a-z!#$%&'*+.^_`|~0-9-]{0,8}",
        "([!-~\u{e9}]([ \t!-~]{0,12}[!-~])?)?",
    );
    let target = "/[a-z0-9/%&=:@.~_\u{e9}-]{0,20}(\\?[a-z0-9/?=&]{0,10})?";
    (
        select(vec!["GET", "POST", "PUT", "DELETE", "M-SEARCH"]),
        target,
        vec(field, 0..5),
        vec(any::<u8>(), 0..60),
        vec(1..30_usize, 0..4),
    )
        .prop_map(|(method, target, fields, body, chunks)| Meant {
            method: method.to_owned(),
            target,
            fields,
            body,
            chunks,
        })
}

impl Meant {
    fn encode(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: a\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            write!(head, "{name}: {value} \r\n").unwrap();
        }
        if self.chunks.is_empty() {
            write!(head, "Content-Length: {}\r\n\r\n", self.body.len()).unwrap();
            return [head.as_bytes(), &self.body].concat();
        }
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        let mut bytes = head.into_bytes();
        let mut rest = self.body.as_slice();
        for &size in self.chunks.iter().cycle() {
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
            if chunk.is_empty() {
                return bytes;
            }
            rest = after;
        }
        unreachable!("a cycle has no end")
    }

    fn assert_is(&self, seen: &Request) {
        assert_eq!((&seen.method, &seen.target), (&self.method, &self.target));
        assert_eq!(seen.body, self.body);
        // Between Host and the framing.
        let own = &seen.fields[1..seen.fields.len() - 1];
        let meant = self
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()));
        assert_eq!(own, meant.collect::<Vec<_>>());
    }
}

/// The stream in pieces, cut at these places.
fn pieces<'s>(stream: &'s [u8], cuts: &[Index]) -> Vec<&'s [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.sort_unstable();
    let starts = iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([stream.len()]);
    starts
        .zip(ends)
        .map(|(start, end)| &stream[start..end])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_requests_are_read_as_they_were_meant(
        meant in vec(meant(), 1..4),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let stream: Vec<u8> = meant.iter().flat_map(Meant::encode).collect();
        let seen = seen_in(pieces(&stream, &cuts), &HttpLimits::default());
        prop_assert_eq!(seen.refused, None);
        prop_assert_eq!(seen.requests.len(), meant.len());
        for (meant, seen) in meant.iter().zip(&seen.requests) {
            meant.assert_is(seen);
        }
    }

    #[test]
    fn broken_streams_are_read_the_same_however_they_are_cut(
        which in 0..=REFUSED.len(),
        edits in vec((any::<Index>(), 0..3_u8, prop_oneof![
            any::<u8>(),
            select(b"\r\n :;,+-xX05Aa\t\0/*?#[]".to_vec()),
        ]), 1..6),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let mut stream = REFUSED.get(which).unwrap_or(&STREAM).as_bytes().to_vec();
        for (place, kind, byte) in edits {
            let place = place.index(stream.len());
            match kind {
                0 => stream[place] = byte,
                1 => stream.insert(place, byte),
                _ => drop(stream.remove(place)),
            }
        }
        let whole = seen_in([&stream[..]], &small());
        prop_assert_eq!(&seen_in(stream.chunks(1), &small()), &whole);
        prop_assert_eq!(&seen_in(pieces(&stream, &cuts), &small()), &whole);
    }

    #[test]
    fn no_bytes_at_all_make_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        let whole = seen_in([&bytes[..]], &small());
        prop_assert_eq!(seen_in(bytes.chunks(1), &small()), whole);
    }

    #[test]
    fn answers_leave_in_the_order_of_the_requests(
        order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
        asked_first in 0..12_usize,
    ) {
        let mut answers = Answers::new();
        let mut serials: Vec<u32> = (0..=asked_first).map(|_| answers.begin(AnswerTo::REFUSED)).collect();
        let mut left = Vec::new();
        for &request in &order {
            while serials.len() <= request {
                serials.push(answers.begin(AnswerTo::REFUSED));
            }
            answers.fill(serials[request], Response::text(request.to_string()));
            left.extend(iter::from_fn(|| answers.next_answer()).map(|(_, response)| {
                String::from_utf8_lossy(response.content()).into_owned()
            }));
        }
        let expected: Vec<_> = (0..12).map(|request| request.to_string()).collect();
        prop_assert_eq!(left, expected);
    }

    #[test]
    fn an_answer_is_one_answer_whatever_its_fields_hold(
        fields in vec((".{0,12}", ".{0,24}"), 0..8),
        body in vec(any::<u8>(), 0..40),
        keep_alive: bool,
    ) {
        let mut response = Response::new(200).body(body.clone());
        for (name, value) in &fields {
            response = response.field(name, value);
        }
        let to = AnswerTo { head_only: false, keep_alive, version: Version::Http11 };
        let bytes = response.encode(to, AnswerContext { date: "now", idle_s: 75 });
        let mut lines = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Response::new(&mut lines);
        let size = parsed.parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(&bytes[size..], &body[..]);
        // X-Content-Type-Options, Date, Content-Length, Connection; Keep-Alive where it goes on.
        let own = 4 + usize::from(keep_alive);
        prop_assert_eq!(parsed.headers.len(), response.fields().count() + own);
        prop_assert!(response.fields().count() <= fields.len());
    }
}
