//! The frame codec beside tungstenite's `WebSocketContext`: what one writes the other reads, and
//! what one refuses the other refuses.

use std::borrow::Cow;
use std::io::{self, Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tidings::proto::websocket::{
    ControlFrame, FrameError, Item, MessageDecoder, MessageKind, close_code_may_be_sent,
    encode_message,
};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

const MESSAGE_SIZE_MAX: usize = 70_000;

/// Both directions of a connection as bytes in memory.
#[derive(Default)]
struct Wire {
    read: Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn context(role: Role) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_SIZE_MAX))
        .max_frame_size(Some(MESSAGE_SIZE_MAX));
    WebSocketContext::new(role, Some(config))
}

/// What a client does.
#[derive(Debug, Clone)]
enum Act {
    Text(String),
    Binary(Vec<u8>),
    /// A message in fragments, each followed by a ping if it has one.
    Fragments(MessageKind, Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

impl Act {
    fn messages(&self) -> Vec<Message> {
        match self {
            Self::Text(text) => vec![Message::text(text.clone())],
            Self::Binary(bytes) => vec![Message::binary(bytes.clone())],
            Self::Ping(bytes) => vec![Message::Ping(bytes.clone().into())],
            Self::Pong(bytes) => vec![Message::Pong(bytes.clone().into())],
            Self::Fragments(kind, fragments) => fragment_messages(*kind, fragments),
        }
    }

    fn items(&self) -> Vec<Item<'static>> {
        match self {
            Self::Text(text) => vec![message(MessageKind::Text, text.as_bytes())],
            Self::Binary(bytes) => vec![message(MessageKind::Binary, bytes)],
            Self::Ping(bytes) => vec![Item::Ping(Cow::Owned(bytes.clone()))],
            Self::Pong(bytes) => vec![Item::Pong(Cow::Owned(bytes.clone()))],
            Self::Fragments(kind, fragments) => {
                let pings = fragments.iter().filter_map(|(_, ping)| ping.clone());
                let mut items: Vec<_> = pings.map(|ping| Item::Ping(Cow::Owned(ping))).collect();
                let whole: Vec<u8> = fragments
                    .iter()
                    .flat_map(|(bytes, _)| bytes.clone())
                    .collect();
                items.push(message(*kind, &whole));
                items
            }
        }
    }
}

fn fragment_messages(kind: MessageKind, fragments: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<Message> {
    let mut messages = Vec::new();
    for (index, (bytes, ping)) in fragments.iter().enumerate() {
        let opcode = match (index, kind) {
            (0, MessageKind::Text) => Data::Text,
            (0, MessageKind::Binary) => Data::Binary,
            _ => Data::Continue,
        };
        let is_final = index + 1 == fragments.len();
        let frame = Frame::message(bytes.clone(), OpCode::Data(opcode), is_final);
        messages.push(Message::Frame(frame));
        messages.extend(ping.clone().map(|ping| Message::Ping(ping.into())));
    }
    messages
}

fn message(kind: MessageKind, payload: &[u8]) -> Item<'static> {
    Item::Message {
        kind,
        payload: Cow::Owned(payload.to_vec()),
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..20),
        4 => vec(any::<u8>(), 120..130),
        1 => (65_530usize..65_540, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]),
    ]
}

fn control_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..10), 1 => vec(any::<u8>(), 120..=125)]
}

/// A message cut anywhere, also within a character; the last fragment has no ping behind it, since
/// that would come after the message.
fn fragments() -> impl Strategy<Value = Act> {
    let whole = prop_oneof![
        "\\PC{0,40}".prop_map(|text| (MessageKind::Text, text.into_bytes())),
        bytes().prop_map(|bytes| (MessageKind::Binary, bytes)),
    ];
    let cuts = vec(
        (any::<Index>(), proptest::option::of(control_bytes())),
        1..5,
    );
    (whole, cuts).prop_map(|((kind, bytes), cuts)| {
        let mut places: Vec<_> = cuts
            .into_iter()
            .map(|(cut, ping)| (cut.index(bytes.len() + 1), ping))
            .collect();
        places.sort();
        let mut start = 0;
        let mut fragments = Vec::new();
        for (place, ping) in places {
            fragments.push((bytes[start..place].to_vec(), ping));
            start = place;
        }
        fragments.push((bytes[start..].to_vec(), None));
        Act::Fragments(kind, fragments)
    })
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => "\\PC{0,60}".prop_map(Act::Text),
        3 => bytes().prop_map(Act::Binary),
        3 => fragments(),
        1 => control_bytes().prop_map(Act::Ping),
        1 => control_bytes().prop_map(Act::Pong),
    ];
    vec(act, 0..8)
}

fn close() -> impl Strategy<Value = Option<(u16, String)>> {
    let code = prop_oneof![Just(1000), Just(1001), Just(1011), 3000u16..5000];
    proptest::option::of((code, "\\PC{0,30}"))
}

/// The bytes of a client that does all this and then closes.
fn client_bytes(acts: &[Act], close: Option<&(u16, String)>) -> Vec<u8> {
    let (mut client, mut wire) = (context(Role::Client), Wire::default());
    for message in acts.iter().flat_map(Act::messages) {
        client.write(&mut wire, message).unwrap();
    }
    let close = close.map(|(code, reason)| CloseFrame {
        code: (*code).into(),
        reason: reason.clone().into(),
    });
    client.write(&mut wire, Message::Close(close)).unwrap();
    client.flush(&mut wire).unwrap();
    wire.written
}

/// How our decoder ends on a stream that comes in reads of these sizes, over and over.
fn decode(stream: &[u8], read_sizes: &[usize]) -> (Vec<Item<'static>>, Option<FrameError>) {
    let mut decoder = MessageDecoder::new();
    let mut items = Vec::new();
    let mut bytes = stream.to_vec();
    let mut sizes = read_sizes.iter().cycle();
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let read_size = rest.len().min(*sizes.next().unwrap());
        let (mut read, behind) = rest.split_at_mut(read_size);
        rest = behind;
        while !read.is_empty() {
            let read_size = read.len();
            let copy_to_decode = &mut read.to_vec();
            match decoder.decode(copy_to_decode, MESSAGE_SIZE_MAX) {
                Ok((taken, item)) => {
                    assert!(item.is_some() || taken == read_size);
                    items.extend(item.map(owned));
                    read = &mut read[taken..];
                }
                Err(error) => return (items, Some(error)),
            }
            if matches!(items.last(), Some(Item::Close { .. })) {
                return (items, None);
            }
        }
    }
    (items, None)
}

fn owned(item: Item<'_>) -> Item<'static> {
    match item {
        Item::Message { kind, payload } => message(kind, &payload),
        Item::Deflated { .. } => panic!("nothing may come compressed"),
        Item::Ping(payload) => Item::Ping(Cow::Owned(payload.into_owned())),
        Item::Pong(payload) => Item::Pong(Cow::Owned(payload.into_owned())),
        Item::Close { code, reason } => Item::Close {
            code,
            reason: Cow::Owned(reason.into_owned()),
        },
    }
}

/// What tungstenite reads until a close, its first error (then true) or the end.
fn tungstenite_reads(role: Role, stream: Vec<u8>) -> (Vec<Item<'static>>, bool) {
    let (mut peer, mut wire) = (context(role), Wire::default());
    wire.read = Cursor::new(stream);
    let mut items = Vec::new();
    loop {
        items.push(match peer.read(&mut wire) {
            Ok(Message::Text(text)) => message(MessageKind::Text, text.as_bytes()),
            Ok(Message::Binary(bytes)) => message(MessageKind::Binary, &bytes),
            Ok(Message::Ping(bytes)) => Item::Ping(Cow::Owned(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => Item::Pong(Cow::Owned(bytes.to_vec())),
            Ok(Message::Close(close)) => {
                items.push(close_item(close));
                return (items, false);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => return (items, false),
            Err(_) => return (items, true),
        });
    }
}

fn close_item(close: Option<CloseFrame>) -> Item<'static> {
    match close {
        None => Item::Close {
            code: None,
            reason: Cow::Borrowed(""),
        },
        Some(CloseFrame { code, reason }) => {
            let reason = reason.as_str().to_owned();
            Item::Close {
                code: Some(code.into()),
                reason: Cow::Owned(reason),
            }
        }
    }
}

fn read_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![usize::MAX]),
        Just(vec![1]),
        vec(1usize..200, 1..6)
    ]
}

/// Cases that need no file to be found again: the failing input is printed.
fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_a_tungstenite_client_writes_is_what_we_read(
        acts in acts(), close in close(), read_sizes in read_sizes(),
    ) {
        let mut expected: Vec<_> = acts.iter().flat_map(Act::items).collect();
        expected.push(match &close {
            None => Item::Close { code: None, reason: Cow::Borrowed("") },
            Some((code, reason)) => {
                Item::Close { code: Some(*code), reason: Cow::Owned(reason.clone()) }
            }
        });
        let stream = client_bytes(&acts, close.as_ref());
        prop_assert_eq!(decode(&stream, &read_sizes), (expected, None));
    }

    #[test]
    fn what_we_encode_is_what_a_tungstenite_client_reads(
        messages in vec((any::<bool>(), "\\PC{0,60}", bytes()), 0..8),
        ping in control_bytes(),
        close in close(),
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (is_text, text, bytes) in &messages {
            let (kind, payload) = match is_text {
                true => (MessageKind::Text, text.as_bytes()),
                false => (MessageKind::Binary, &bytes[..]),
            };
            encode_message(&mut stream, kind, payload);
            expected.push(message(kind, payload));
        }
        stream.extend(ControlFrame::ping(&ping).as_bytes());
        expected.push(Item::Ping(Cow::Owned(ping.clone())));
        stream.extend(ControlFrame::pong(&ping).as_bytes());
        expected.push(Item::Pong(Cow::Owned(ping)));
        let (frame, code, reason) = match &close {
            None => (ControlFrame::close_empty(), None, ""),
            Some((code, reason)) => (ControlFrame::close(*code, reason), Some(*code), &reason[..]),
        };
        stream.extend(frame.as_bytes());
        // The frame holds 123 bytes of the reason, and whole characters only.
        let reason = &reason[..reason.floor_char_boundary(123)];
        expected.push(Item::Close { code, reason: Cow::Borrowed(reason) });
        prop_assert_eq!(tungstenite_reads(Role::Client, stream), (expected, false));
    }

    #[test]
    fn a_damaged_stream_is_taken_and_refused_as_tungstenite_does(
        acts in acts(),
        close in close(),
        damages in vec((any::<Index>(), any::<u8>()), 0..4),
        read_sizes in read_sizes(),
    ) {
        let mut stream = client_bytes(&acts, close.as_ref());
        for (place, byte) in damages {
            let place = place.index(stream.len());
            stream[place] = byte;
        }
        agrees_with_tungstenite(stream, &read_sizes)?;
    }

    #[test]
    fn any_headers_are_taken_and_refused_as_tungstenite_does(
        frames in vec((header_start(), vec(any::<u8>(), 0..16)), 1..6),
        read_sizes in read_sizes(),
    ) {
        let stream = frames.into_iter().flat_map(|(start, rest)| [&start[..], &rest].concat());
        agrees_with_tungstenite(stream.collect(), &read_sizes)?;
    }
}

/// Mostly what may be, with a small length and a mask; sometimes anything.
fn header_start() -> impl Strategy<Value = [u8; 2]> {
    let first = prop_oneof![
        6 => prop::sample::select(vec![0x00u8, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a]),
        1 => any::<u8>(),
    ];
    let second = prop_oneof![6 => 0x80u8..0x8c, 1 => any::<u8>()];
    (first, second).prop_map(|(first, second)| [first, second])
}

/// Behind the stream come zeros, so that tungstenite, which judges whole frames, gets to judge the
/// last one too; and a zero header is an unmasked frame, so that both end with a close or an error.
fn agrees_with_tungstenite(mut stream: Vec<u8>, read_sizes: &[usize]) -> Result<(), TestCaseError> {
    stream.resize(stream.len() + MESSAGE_SIZE_MAX + 20, 0);
    let (ours, error) = decode(&stream, read_sizes);
    let (mut theirs, refused) = tungstenite_reads(Role::Server, stream);
    match error {
        // tungstenite takes any form of length.
        Some(FrameError::LengthNotMinimal) => {
            theirs.truncate(ours.len());
        }
        // tungstenite reports such a close as one with 1002, if its reason is UTF-8.
        Some(FrameError::CloseCode(code)) => {
            prop_assert!(!close_code_may_be_sent(code));
            let last = if refused { None } else { theirs.pop() };
            let is_1002 = matches!(
                last,
                Some(Item::Close {
                    code: Some(1002),
                    ..
                })
            );
            prop_assert!(refused || is_1002, "{:?}", last);
        }
        _ if matches!(
            ours.last(),
            Some(Item::Close {
                code: Some(1014),
                ..
            })
        ) =>
        {
            return Ok(());
        }
        _ => prop_assert_eq!(error.is_some(), refused, "{:?}", error),
    }
    prop_assert_eq!(ours, theirs);
    Ok(())
}
