//! What is published goes compressed to those who have agreed on it, and plain to the others.

use std::sync::mpsc::channel;

use tidings::server::{Builder, CloseReason, Rollout, ServerSettings};

use crate::support::deflating_client::{DeflatingClient, DeflatingHeard, Message};
use crate::support::server::{LocalServer, Mode, in_every_mode, with_one_reactor};
use crate::support::wait::{next, until};
use crate::support::websocket::WebSocketClient;

fn settings(deflates: bool) -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.reactor.connection.deflate = deflates;
    settings.reactor.connection.message_size_max = 4 << 20;
    settings.reactor.stall_ms_max = 60_000;
    settings
}

/// Everyone hears `tea`.
fn room(mode: Mode, deflates: bool) -> Builder {
    mode.builder()
        .settings(settings(deflates))
        .on_open(|server, request| server.subscribe(request.fd, "tea"))
}

fn joined(server: &LocalServer, count: usize) -> Vec<DeflatingClient> {
    let before = server.stats().totals.subscriptions;
    let address = server.handle.addresses()[0];
    let clients = (0..count)
        .map(|_| DeflatingClient::connect(address, "/"))
        .collect();
    until("all are subscribed", || {
        server.stats().totals.subscriptions == before + count as u64
    });
    clients
}

fn text(number: usize, size: usize) -> String {
    let mut text = String::new();
    while text.len() < size {
        text += &format!(
            "{{\"n\":{number},\"text\":\"said {}\"}},",
            text.len() * 7_919
        );
    }
    text.truncate(size);
    text
}

#[test]
fn a_mixed_room_hears_the_same_in_the_same_order_and_each_message_is_compressed_once() {
    in_every_mode(|mode| {
        let server = LocalServer::start(room(mode, true));
        let mut deflating = joined(&server, 3);
        let mut plain: Vec<_> = (0..3)
            .map(|_| WebSocketClient::join(&server.handle))
            .collect();
        until("all are subscribed", || {
            server.stats().totals.subscriptions == 6
        });
        assert_eq!(server.stats().totals.websockets_deflating, 3);
        let sizes = [100, 511, 512, 1_000, 30_000, 100_000];
        for (number, size) in sizes.into_iter().enumerate() {
            match number % 2 {
                0 => server.handle.publish("tea", &text(number, size)),
                _ => server.handle.broadcast(&text(number, size)),
            }
        }
        for (number, size) in sizes.into_iter().enumerate() {
            let said = text(number, size);
            for client in &mut deflating {
                let message = client.message();
                assert_eq!(message.text, said);
                assert_eq!(message.is_compressed, size >= 512, "{size} bytes");
                assert!(!message.is_compressed || message.size < size * 2 / 3);
            }
            for client in &mut plain {
                assert_eq!(client.hear_text(), said);
            }
        }
        let done = server.stats().deflate;
        assert_eq!(done.messages, 4, "once a message, not once a receiver");
        assert_eq!(done.bytes_before, 512 + 1_000 + 30_000 + 100_000);
        assert!(done.bytes_after < done.bytes_before / 2, "{done:?}");
        assert_eq!(done.idle, 1, "one thread has published");
    });
}

#[test]
fn off_means_off() {
    with_one_reactor(|mode| {
        let server = LocalServer::start(room(mode, false));
        let mut client = joined(&server, 1).remove(0);
        assert_eq!(client.extensions, None);
        server.handle.publish("tea", &text(1, 2_000));
        assert!(!client.message().is_compressed);
        let stats = server.stats();
        assert_eq!(
            (stats.totals.websockets_deflating, stats.deflate.idle),
            (0, 0)
        );
    });
}

#[test]
fn nothing_is_compressed_where_nobody_here_understands_it_or_it_is_turned_off() {
    with_one_reactor(|mode| {
        let server = LocalServer::start(room(mode, true));
        let mut plain = WebSocketClient::join(&server.handle);
        until("it is subscribed", || {
            server.stats().totals.subscriptions == 1
        });
        server.handle.publish("tea", &text(1, 2_000));
        assert_eq!(plain.hear_text(), text(1, 2_000));
        assert_eq!(server.stats().deflate, Default::default());

        let mut client = joined(&server, 1).remove(0);
        server.handle.publish("tea", &text(2, 2_000));
        assert!(client.message().is_compressed);
        server
            .handle
            .set_settings(&settings(false), &Rollout::default());
        assert_eq!(server.stats().deflate.idle, 0, "its memory is given back");
        server.handle.publish("tea", &text(3, 2_000));
        assert!(!client.message().is_compressed);
        // What this one sends is still understood, as its handshake has it.
        assert_eq!(server.stats().totals.websockets_deflating, 1);
        drop(client);
        until("it is gone", || {
            server.stats().totals.websockets_deflating == 0
        });
    });
}

#[test]
fn a_large_message_to_one_connection_is_compressed_if_that_one_understands_it() {
    in_every_mode(|mode| {
        let builder = mode.builder().settings(settings(true));
        let server = LocalServer::start(builder.on_message(|server, frame| {
            server.push(frame.fd, frame).ok();
        }));
        let address = server.handle.addresses()[0];
        let mut plain = WebSocketClient::join(&server.handle);
        let mut deflating = DeflatingClient::connect(address, "/");
        for size in [1_000, 20_000, 200_000] {
            let said = text(1, size);
            plain.echo(&said);
            deflating.say(&said);
            let heard = deflating.message();
            assert_eq!((heard.text, heard.is_compressed), (said, size > 16 * 1_024));
        }
        let large = text(1, 3 << 20);
        deflating.say(&large);
        let Message {
            text,
            is_compressed,
            ..
        } = deflating.message();
        assert!(text == large && !is_compressed, "it would take too long");
    });
}

#[test]
fn a_slow_reader_of_compressed_messages_is_closed_between_two_frames() {
    with_one_reactor(|mode| {
        let (sender, closes) = channel();
        let builder = room(mode, true)
            .on_close(move |_, fd, reason| sender.send((fd, reason.clone())).unwrap());
        let server = LocalServer::start(builder);
        let address = server.handle.addresses()[0];
        let mut slow = DeflatingClient::connect_narrow(address, "/");
        until("it is subscribed", || {
            server.stats().totals.subscriptions == 1
        });
        let mut others = joined(&server, 2);
        // Of noise with gaps, so that much is left of it when it is compressed.
        let mut state = 1_u64;
        let mut noise = || -> String {
            let mut text = String::new();
            for _ in 0..6_000 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text += &format!("{:08x}", state >> 32);
            }
            text
        };
        let mut said = Vec::new();
        while server.stats().totals.slow_readers == 0 {
            said.push(noise());
            server.handle.publish("tea", said.last().unwrap());
            for other in &mut others {
                let heard = other.message();
                assert!(heard.is_compressed && &heard.text == said.last().unwrap());
            }
        }
        assert_eq!(next(&closes).1, CloseReason::SlowReader);
        let mut heard = 0;
        let end = loop {
            match slow.hear() {
                DeflatingHeard::Message(message) => {
                    assert!(message.is_compressed && message.text == said[heard]);
                    heard += 1;
                }
                end => break end,
            }
        };
        assert_eq!(end, DeflatingHeard::Close(4_008));
        assert!(heard < said.len());
    });
}
