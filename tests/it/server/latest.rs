//! Topics of which a slow reader gets only the newest message: who keeps up hears all, who doesn't is
//! told of the gap and isn't closed for it.

use std::sync::mpsc::{Receiver, channel};

use tidings::server::{Builder, CloseReason, Fd, ServerSettings};

use crate::support::server::{
    LocalServer, Mode, in_every_mode, until_nothing_is_left, with_one_reactor,
};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

/// Bytes of a message: so many that few of them fill what the kernel takes for a narrow client.
const SIZE: usize = 60_000;

/// Messages that are much more than the bound of an outbox.
const MANY: u64 = 25;

/// Everyone hears `price`.
fn market(mode: Mode) -> (Builder, Receiver<(Fd, CloseReason)>) {
    let (sender, closes) = channel();
    let builder = mode
        .builder()
        .on_open(|server, request| server.subscribe(request.fd, "price"))
        .on_message(|server, frame| {
            // One that was closed meanwhile gets nothing.
            server.push(frame.fd, frame).ok();
        })
        .on_close(move |_, fd, reason| sender.send((fd, reason.clone())).unwrap());
    (builder, closes)
}

fn bounded(change: impl FnOnce(&mut ServerSettings)) -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.reactor.stall_ms_max = 60_000;
    change(&mut settings);
    settings
}

/// A server with a slow reader, its name, and one that keeps up.
struct Market {
    server: LocalServer,
    slow: WebSocketClient,
    fd: Fd,
    quick: WebSocketClient,
    /// The number of the last message, and that from which on the quick one has to hear.
    last: u64,
    delay_ms: u16,
}

impl Market {
    fn open(builder: Builder, settings: ServerSettings) -> Self {
        let server = LocalServer::start(builder.settings(settings));
        let slow = WebSocketClient::connect_narrow(server.handle.addresses()[0], "/");
        until("it is there", || server.stats().totals.subscriptions == 1);
        let fd = server.handle.connections(Fd(0), 1)[0];
        let quick = WebSocketClient::join(&server.handle);
        until("both are there", || {
            server.stats().totals.subscriptions == 2
        });
        Self {
            server,
            slow,
            fd,
            quick,
            last: 0,
            delay_ms: 0,
        }
    }

    fn say(&mut self) {
        self.last += 1;
        let text = format!("{} {}", self.last, "x".repeat(SIZE));
        let gap = format!("gap {}", self.last - 1);
        let handle = &self.server.handle;
        handle.publish_latest("price", &text, Some((&gap).into()), self.delay_ms);
    }

    /// Says one, which the quick one hears.
    fn tell(&mut self) {
        self.say();
        let heard = number_of(&self.quick.hear_text());
        assert_eq!(heard, self.last, "who keeps up hears all");
    }

    /// Says as much as the kernel takes for the slow one, and much more.
    fn tell_much(&mut self) {
        while self.server.stats().totals.backlogged == 0 {
            self.tell();
        }
        for _ in 0..MANY {
            self.tell();
        }
    }
}

fn number_of(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Hears messages up to the last one, each next to the one before it or behind its gap, and whatever
/// else comes; gives how many messages came.
#[track_caller]
fn hear_up_to(client: &mut WebSocketClient, first: u64, last: u64) -> (u64, Vec<String>) {
    let (mut newest, mut gap, mut count, mut others) = (first - 1, None, 0, Vec::new());
    while newest < last {
        let text = client.hear_text();
        if let Some(number) = text.strip_prefix("gap ") {
            gap = Some(number.parse::<u64>().unwrap());
        } else if text.starts_with(|first: char| first.is_ascii_digit()) {
            let number = number_of(&text);
            assert!(number == newest + 1 || gap == Some(number - 1), "{number}");
            (newest, gap, count) = (number, None, count + 1);
        } else {
            others.push(text);
        }
    }
    (count, others)
}

#[test]
fn a_slow_reader_gets_the_newest_behind_a_gap_and_is_not_closed_for_the_rest() {
    in_every_mode(|mode| {
        let (builder, _closes) = market(mode);
        let mut market = Market::open(builder, bounded(|_| {}));
        market.tell_much();
        // Another reactor may still be on its way to what the quick one has heard.
        until("one is begun, and one waits", || {
            market.server.stats().outbox_bytes < 3 * (SIZE + 100)
        });
        let totals = market.server.stats().totals;
        assert_eq!(totals.slow_readers, 0);
        assert!(totals.latest_replaced >= MANY - 2);
        let (count, _) = hear_up_to(&mut market.slow, 1, market.last);
        assert!(count <= market.last - (MANY - 2), "{count}");
        // From now on it keeps up.
        until("nothing waits", || {
            market.server.stats().totals.backlogged == 0
        });
        market.tell();
        assert_eq!(number_of(&market.slow.hear_text()), market.last);
        drop((market.slow, market.quick));
        until_nothing_is_left(&market.server.handle);
    });
}

#[test]
fn what_else_waits_for_a_slow_reader_comes_and_counts_as_ever() {
    with_one_reactor(|mode| {
        let (builder, closes) = market(mode);
        let mut market = Market::open(builder, bounded(|_| {}));
        market.tell_much();
        let handle = market.server.handle.clone();
        handle.push(market.fd, "for you").unwrap();
        market.tell();
        handle.push(market.fd, &"y".repeat(900_000)).unwrap();
        market.tell();
        assert!(closes.try_recv().is_err(), "below the bound");
        let (_, others) = hear_up_to(&mut market.slow, 1, market.last);
        // The newest one stands where the first that waited stood, ahead of what came after it.
        let rest = [market.slow.hear_text(), market.slow.hear_text()];
        let others: Vec<String> = others.into_iter().chain(rest).collect();
        assert_eq!(others[0], "for you");
        assert_eq!(others[1].len(), 900_000);
        until("nothing waits", || {
            market.server.stats().totals.backlogged == 0
        });
        market.tell_much();
        for _ in 0..2 {
            handle.push(market.fd, &"y".repeat(900_000)).unwrap();
        }
        assert_eq!(next(&closes), (market.fd, CloseReason::SlowReader));
    });
}

#[test]
fn who_takes_nothing_for_too_long_is_closed_as_ever() {
    with_one_reactor(|mode| {
        let (builder, closes) = market(mode);
        let settings = bounded(|all| all.reactor.stall_ms_max = 200);
        let mut market = Market::open(builder, settings);
        // Each message replaces another one, and that is no progress.
        let closed = loop {
            market.tell();
            if let Ok(closed) = closes.try_recv() {
                break closed;
            }
        };
        assert_eq!(closed, (market.fd, CloseReason::SlowReader));
        let (_, end) = market.slow.hear_all();
        assert_eq!(end, Heard::Close(4_008));
    });
}

#[test]
fn a_fence_keeps_its_place_behind_the_newest_before_it() {
    with_one_reactor(|mode| {
        let (builder, _closes) = market(mode);
        let mut market = Market::open(builder, bounded(|_| {}));
        market.tell_much();
        let before = market.last;
        market.server.handle.publish_fence("price", "fence");
        assert_eq!(market.quick.hear_text(), "fence");
        for _ in 0..5 {
            market.tell();
        }
        let (_, others) = hear_up_to(&mut market.slow, 1, before);
        assert!(others.is_empty(), "{others:?}");
        assert_eq!(market.slow.hear_text(), "fence");
        let (count, _) = hear_up_to(&mut market.slow, before + 1, market.last);
        assert_eq!(count, 1, "only the newest one");
    });
}

#[test]
fn who_leaves_gets_what_waits_and_nothing_newer() {
    with_one_reactor(|mode| {
        let (builder, _closes) = market(mode);
        let mut market = Market::open(builder, bounded(|_| {}));
        market.tell_much();
        let (handle, before) = (market.server.handle.clone(), market.last);
        handle.unsubscribe(market.fd, "price");
        handle.push(market.fd, "you have left").unwrap();
        market.tell();
        handle.subscribe(market.fd, "price");
        market.tell();
        hear_up_to(&mut market.slow, 1, before);
        assert_eq!(market.slow.hear_text(), "you have left");
        hear_up_to(&mut market.slow, market.last, market.last);
    });
}

#[test]
fn what_waits_of_a_topic_that_is_gone_is_not_replaced_by_another_ones() {
    with_one_reactor(|mode| {
        let (builder, _closes) = market(mode);
        let mut market = Market::open(builder, bounded(|_| {}));
        market.tell_much();
        let handle = &market.server.handle;
        for fd in handle.connections(Fd(0), 2) {
            handle.unsubscribe(fd, "price");
        }
        handle.subscribe(market.fd, "gold");
        handle.publish_latest("gold", "gold", None, 0);
        let (_, others) = hear_up_to(&mut market.slow, 1, market.last);
        assert!(others.is_empty(), "{others:?}");
        assert_eq!(market.slow.hear_text(), "gold");
    });
}

#[test]
fn of_what_gathers_a_slow_reader_gets_the_newest_too() {
    with_one_reactor(|mode| {
        let (builder, _closes) = market(mode);
        let settings = bounded(|all| {
            all.reactor.gather.messages_max = 2;
            all.reactor.gather.bytes_max = 4 * SIZE;
        });
        let mut market = Market::open(builder, settings);
        market.delay_ms = u16::MAX;
        let tell_two = |market: &mut Market| {
            market.say();
            market.say();
            for number in market.last - 1..=market.last {
                assert_eq!(number_of(&market.quick.hear_text()), number);
            }
        };
        while market.server.stats().totals.backlogged == 0 {
            tell_two(&mut market);
        }
        for _ in 0..MANY {
            tell_two(&mut market);
        }
        assert_eq!(market.server.stats().totals.slow_readers, 0);
        let (count, _) = hear_up_to(&mut market.slow, 1, market.last);
        assert!(count <= market.last - 2 * (MANY - 2), "{count}");
    });
}
