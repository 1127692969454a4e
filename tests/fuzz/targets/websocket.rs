//! Frames of a client: the same however they are cut, within their bounds, and what tungstenite
//! makes of them.

use std::borrow::Cow;
use std::io::{self, Cursor, Read, Write};

use tidings::proto::websocket::{
    FrameError, Item, MessageDecoder, MessageKind, close_code_may_be_sent, encode_message,
};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use super::cuts;

/// Below the first length that takes eight bytes, and above the first that takes two, so that a
/// short input reaches the bound in every form.
const MESSAGE_SIZE_MAX: usize = 300;

/// Items that came, and the rule that was broken behind them.
type Decoded = (Vec<Item<'static>>, Option<FrameError>);

/// Decodes the bytes of a client.
pub fn websocket(data: &[u8]) {
    let whole = decoded([data]);
    assert_eq!(decoded(data.chunks(1)), whole, "byte by byte");
    for cut in cuts(data.len()) {
        let (before, behind) = data.split_at(cut);
        assert_eq!(decoded([before, behind]), whole, "cut at {cut}");
    }
    for item in &whole.0 {
        check(item);
    }
    agrees_with_tungstenite(data);
}

fn decoded<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut decoder, mut items) = (MessageDecoder::new(), Vec::new());
    for read in reads {
        let mut read = read.to_vec();
        let mut start = 0;
        while start < read.len() {
            let left = read.len() - start;
            match decoder.decode(&mut read[start..], MESSAGE_SIZE_MAX) {
                Ok((taken, item)) => {
                    assert!(taken > 0, "it goes nowhere");
                    assert!(item.is_some() || taken == left, "it leaves its own");
                    start += taken;
                    items.extend(item.map(owned));
                }
                Err(error) => {
                    let mut more = [0x81];
                    let again = decoder.decode(&mut more, MESSAGE_SIZE_MAX);
                    assert_eq!(again, Err(error), "a broken rule stays broken");
                    return (items, Some(error));
                }
            }
            if matches!(items.last(), Some(Item::Close { .. })) {
                return (items, None);
            }
        }
        let buffered = decoder.buffered_bytes();
        assert!(buffered <= 512.max(MESSAGE_SIZE_MAX + 125), "{buffered}");
        assert!(
            !decoder.is_between_messages() || buffered == 0,
            "{buffered}"
        );
    }
    (items, None)
}

fn owned(item: Item<'_>) -> Item<'static> {
    let bytes = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
    match item {
        Item::Message { kind, payload } => Item::Message {
            kind,
            payload: bytes(payload),
        },
        Item::Deflated { .. } => panic!("nothing may come compressed"),
        Item::Ping(payload) => Item::Ping(bytes(payload)),
        Item::Pong(payload) => Item::Pong(bytes(payload)),
        Item::Close { code, reason } => Item::Close {
            code,
            reason: Cow::Owned(reason.into_owned()),
        },
    }
}

fn check(item: &Item<'_>) {
    match item {
        Item::Message { kind, payload } => {
            assert!(payload.len() <= MESSAGE_SIZE_MAX);
            assert!(*kind == MessageKind::Binary || std::str::from_utf8(payload).is_ok());
            let mut frame = Vec::new();
            encode_message(&mut frame, *kind, payload);
            let (theirs, refused) = tungstenite_reads(Role::Client, frame);
            assert!(!refused && theirs == [item.clone()], "{theirs:?}");
        }
        Item::Deflated { .. } => panic!("nothing may come compressed"),
        Item::Ping(payload) | Item::Pong(payload) => assert!(payload.len() <= 125),
        Item::Close { code, reason } => {
            assert!(reason.len() <= 123);
            assert!(code.is_none_or(close_code_may_be_sent));
        }
    }
}

/// Behind the bytes come zeros: tungstenite judges whole frames, and gets to judge the last one
/// too; and zeros are an unmasked frame, so that both end with a close or an error.
fn agrees_with_tungstenite(data: &[u8]) {
    let mut stream = data.to_vec();
    stream.resize(stream.len() + MESSAGE_SIZE_MAX + 20, 0);
    let (ours, error) = decoded([&stream[..]]);
    let (mut theirs, refused) = tungstenite_reads(Role::Server, stream);
    match error {
        // tungstenite takes any form of length, also of a control frame, where we need not read it.
        Some(FrameError::LengthNotMinimal | FrameError::ControlTooLong) => {
            theirs.truncate(ours.len());
        }
        // tungstenite reports such a close as one with 1002, if its reason is UTF-8.
        Some(FrameError::CloseCode(_)) => {
            let last = if refused { None } else { theirs.pop() };
            let is_1002 = matches!(
                last,
                Some(Item::Close {
                    code: Some(1002),
                    ..
                })
            );
            assert!(refused || is_1002, "{last:?}");
        }
        // 1014 was registered after tungstenite's list had been made.
        None if matches!(
            ours.last(),
            Some(Item::Close {
                code: Some(1014),
                ..
            })
        ) =>
        {
            return;
        }
        error => assert_eq!(error.is_some(), refused, "{error:?}"),
    }
    assert_eq!(ours, theirs);
}

/// What tungstenite makes of the bytes, and whether it refuses what follows.
fn tungstenite_reads(role: Role, stream: Vec<u8>) -> TheirItems {
    let config = WebSocketConfig::default()
        .read_buffer_size(1_024)
        .max_message_size(Some(MESSAGE_SIZE_MAX))
        .max_frame_size(Some(MESSAGE_SIZE_MAX));
    let mut peer = WebSocketContext::new(role, Some(config));
    let mut wire = Wire(Cursor::new(stream));
    let mut items = Vec::new();
    loop {
        items.push(match peer.read(&mut wire) {
            Ok(Message::Text(text)) => Item::Message {
                kind: MessageKind::Text,
                payload: Cow::Owned(text.as_bytes().to_vec()),
            },
            Ok(Message::Binary(bytes)) => Item::Message {
                kind: MessageKind::Binary,
                payload: Cow::Owned(bytes.to_vec()),
            },
            Ok(Message::Ping(bytes)) => Item::Ping(Cow::Owned(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => Item::Pong(Cow::Owned(bytes.to_vec())),
            Ok(Message::Close(close)) => {
                let code = close.as_ref().map(|close| close.code.into());
                let reason = close.map_or_else(String::new, |close| close.reason.to_string());
                items.push(Item::Close {
                    code,
                    reason: Cow::Owned(reason),
                });
                return (items, false);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (items, false);
            }
            Err(_) => return (items, true),
        });
    }
}

/// Items, and whether the bytes behind them were refused.
type TheirItems = (Vec<Item<'static>>, bool);

/// Bytes that come; what is answered goes nowhere.
struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
