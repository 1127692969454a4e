//! The counters of a reactor, which only the reactor writes and any thread may read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::{Metric, MetricKind};

/// One number with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owner may call this: it is a plain load and store, without a locked
    /// instruction.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Subtracts `n`; only the owner may call this.
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Reads the present number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($kind:ident { $($(#[doc = $doc:literal])+ $name:ident,)* })*) => {
        /// The numbers of one reactor.
        #[derive(Debug, Default)]
        pub struct Counters { $($($(#[doc = $doc])* pub $name: Counter,)*)* }

        /// The numbers of one reactor, or of several added up, at one moment.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct CounterValues { $($($(#[doc = $doc])* pub $name: u64,)*)* }

        impl Counters {
            /// Adds these numbers to `values`.
            pub fn add_to(&self, values: &mut CounterValues) {
                $($(values.$name += self.$name.get();)*)*
            }

            /// Goes on with a number of an earlier image; gauges are of what is there now, and a number
            /// that isn't known any more is dropped.
            pub(crate) fn restore(&self, name: &str, value: u64) {
                $($(if name == stringify!($name) && MetricKind::$kind == MetricKind::Counter {
                    self.$name.set(value);
                })*)*
            }
        }

        impl CounterValues {
            /// Lists the name and the value of each number.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$($((stringify!($name), self.$name),)*)*]
            }

            /// Describes each number.
            #[must_use]
            pub fn described(&self) -> Vec<Metric> {
                vec![$($(Metric {
                    name: stringify!($name),
                    kind: MetricKind::$kind,
                    help: concat!($($doc),+).trim_ascii_start(),
                    value: self.$name,
                },)*)*]
            }
        }
    };
}

counters! {
    Gauge {
        /// WebSockets open now.
        websockets,
        /// WebSockets open now that have agreed on compression.
        websockets_deflating,
        /// Streams of events open now; they count as WebSockets, too.
        event_streams,
        /// Connection slots in use now: connections of both kinds, and those on their way out.
        slots,
        /// Timers set now.
        timers,
        /// Topics with a member now.
        topics,
        /// Memberships of connections in topics now.
        subscriptions,
        /// Messages that wait now for more of their topic.
        gathered_waiting,
        /// Bytes of messages that wait now for more of their topic.
        gathered_bytes,
        /// Connections whose outbox holds something now.
        backlogged,
        /// Bytes kept now of requests and messages that are half sent.
        unfinished_bytes,
        /// Connections not read from now because their own outbox or answers have to go out first.
        paused,
        /// Connections not read from now because their worker or a mailbox has too much waiting.
        held,
        /// Encrypted connections now, also those whose handshake isn't done.
        tls_connections,
        /// Connections listed now for a large delivery that is written in shares.
        writes_later,
    }
    Counter {
        /// Connections accepted so far.
        accepted,
        /// Connections refused because there were `connections_max` already.
        refused,
        /// Connections refused because their address had `connections_per_address_max` without a login.
        refused_addresses,
        /// Accepts that failed because there was no free descriptor.
        accept_failures,
        /// TLS handshakes done in full.
        tls_handshakes_full,
        /// TLS handshakes shortened by the ticket of an earlier connection.
        tls_handshakes_resumed,
        /// Time that TLS handshakes took of this thread, in microseconds.
        tls_handshakes_us,
        /// TLS connections ended with an alert: a handshake that failed, or a broken record.
        tls_failed,
        /// TLS connections that came to a port where none is spoken.
        tls_on_plain,
        /// Plain HTTP that came to a port for TLS.
        plain_on_tls,
        /// HTTP requests handed to a handler, or answered without one.
        requests,
        /// Requests refused for breaking HTTP.
        requests_malformed,
        /// Requests refused with a head or a body over its bound.
        requests_oversized,
        /// Requests refused with 408, since they did not arrive in time.
        requests_late,
        /// Messages received.
        messages_in,
        /// Bytes received.
        bytes_in,
        /// Runs of frames put into an outbox: one a connection for pushes in a row, one a member for a
        /// publish.
        deliveries,
        /// Deliveries of messages that had waited for more of their topic, one a topic and reactor.
        gathered,
        /// Those of them that went out early, since as much waited as may.
        gathered_full,
        /// Messages that a newer one of their topic has replaced, since their reader is slow.
        latest_replaced,
        /// Bytes sent.
        bytes_out,
        /// Pushes for a connection that was gone or closing.
        pushes_late,
        /// Subscriptions refused because the connection or the reactor had too many.
        subscriptions_refused,
        /// WebSockets closed with 4008.
        slow_readers,
        /// Connections refused since too much was half sent in all: 503, or close code 1013.
        unfinished_refused,
        /// HTTP connections cut because their answers weren't read.
        slow_http_readers,
        /// WebSockets closed with 4010.
        ping_timeouts,
        /// WebSockets closed for breaking the protocol.
        violations,
        /// Pings sent.
        pings,
        /// Commands carried out.
        commands,
        /// Times the reactor went through its loop.
        turns,
        /// Calls of `read`.
        reads,
        /// Calls of `write` or `writev`.
        writes,
        /// Connections cut at the end of a stop.
        cut,
        /// Requests left without an answer at the end of a stop.
        unanswered,
    }
}
