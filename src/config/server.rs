//! The library's server settings, made from ours.

use std::sync::Arc;

use super::Settings;
use tidings::server::{GatherBounds, HttpLimits, Limits, ServerSettings, Watermarks};

impl Settings {
    /// Makes the settings of the library's server.
    #[must_use]
    pub fn server(&self) -> ServerSettings {
        let (outbox, queues) = (&self.outbox, &self.queues);
        let mut server = ServerSettings {
            worker_queue: marks(queues.worker_items_high, queues.worker_size_high),
            mailbox: marks(queues.mailbox_items_high, queues.mailbox_size_high),
            outbox_bytes_total_max: outbox.total_size_max,
            unfinished_bytes_max: self.limits.unfinished_size_max,
            connections_per_address_max: self.limits.connections_per_address_max,
            stop_delay_ms: self.general.stop_delay_ms,
            deflate_size_min: self.websocket.deflate_size_min,
            stop_ms_max: self.general.stop_ms_max,
            renew_ms_max: self.general.renew_ms_max,
            freeze_ms_max: self.general.freeze_ms_max,
            pause_ms_max: self.general.pause_ms_max,
            thaw_ms_max: self.general.thaw_ms_max,
            ..ServerSettings::default()
        };
        let reactor = &mut server.reactor;
        reactor.connection = self.connection();
        reactor.connections_max = self.reactor.connections_max;
        reactor.read_bytes_max = self.reactor.read_size_max;
        reactor.turn_writes_max = self.reactor.turn_writes_max;
        reactor.outbox_bytes_max = outbox.size_max;
        reactor.outbox_pause_bytes = outbox.pause_size;
        reactor.stall_ms_max = outbox.stall_ms_max;
        reactor.linger_ms_max = outbox.linger_ms_max;
        reactor.flush_bytes = outbox.flush_size;
        reactor.topics.topics_max = self.reactor.topics_max;
        reactor.topics.topics_per_connection_max = self.reactor.topics_per_connection_max;
        reactor.proxies = Arc::new(self.proxies());
        reactor.gather = GatherBounds {
            messages_max: self.chat.gather_messages_max,
            bytes_max: self.chat.gather_size_max,
            bytes_total_max: self.chat.gather_total_size_max,
        };
        server
    }

    fn connection(&self) -> Limits {
        let (http, websocket) = (&self.http, &self.websocket);
        Limits {
            http: HttpLimits {
                target_size_max: http.target_size_max,
                head_size_max: http.head_size_max,
                head_fields_max: http.head_fields_max,
                body_size_max: http.body_size_max,
                chunk_extensions_size_max: http.chunk_extensions_size_max,
                trailers_size_max: http.trailers_size_max,
            },
            message_size_max: websocket.message_size_max,
            deflate: websocket.deflate,
            pipeline_requests_max: http.pipeline_requests_max,
            head_ms_max: http.head_ms_max,
            body_ms_max: http.body_ms_max,
            idle_ms_max: http.idle_ms_max,
            ping_ms: websocket.ping_ms,
            pong_ms_max: websocket.pong_ms_max,
            close_ms_max: websocket.close_ms_max,
        }
    }
}

/// Makes the marks of a queue: high at these values, low again at a quarter of them, so that
/// reading resumes well before the queue is empty and doesn't flicker.
fn marks(items_high: usize, bytes_high: usize) -> Watermarks {
    Watermarks {
        items_high,
        items_low: items_high / 4,
        bytes_high,
        bytes_low: bytes_high / 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_here_are_the_librarys() {
        let (here, there) = (Settings::default().server(), ServerSettings::default());
        assert_eq!(format!("{here:#?}"), format!("{there:#?}"));
    }
}
