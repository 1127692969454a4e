//! Every setting of the server: its meaning, unit, default and bounds, and what happens when a bound
//! is hit.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::addresses::ListenAddresses;
use super::gather::GatherRule;
use super::retention::{RetentionRule, SyncSetting};
use super::section::section;
use super::trusted_proxy::TrustedProxy;
use super::types::{LogFormat, LogLevel, Origin, PageMode, Pem, SocketMode};
use crate::auth::{Algorithm, Secret};
use tidings::server::{ListenAddress, ProxyHeader, WORKERS_MAX};

/// A day, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The address on which a server listens if nothing else is said.
const LISTEN: ListenAddress =
    ListenAddress::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9502));

/// The most that a size in bytes may be: 1 TiB.
const SIZE_MAX: u64 = 1 << 40;

section! {
    /// The server as a whole.
    GeneralSection {
        /// Address to listen on, for HTTP and WebSocket, or a list of them; port 0 takes a free one. A
        /// name such as "localhost:9502" stands for all its addresses, "unix:/run/tidings.sock" is a Unix
        /// socket. On any other than a loopback address or a Unix socket the server starts only with
        /// keys, or with `insecure`.
        listen: ListenAddresses = ListenAddresses::from(LISTEN), by upgrade;
        /// Who may connect to Unix sockets, as the mode of a file says it; "0666" lets everybody.
        unix_mode: SocketMode = SocketMode(0o660), by upgrade;
        /// Threads that own the sockets. More than there are cores don't help.
        reactors: usize = 1, within 1..=64, by restart;
        /// Threads that run the handlers; 0 runs them on the reactors.
        workers: usize = 1, within 0..=WORKERS_MAX as u64, by upgrade;
        /// Name by which clients know this server; empty makes a name up at each start.
        node: String = String::new(), within 0..=64, by upgrade;
        /// Pages of these origins may talk to the server, beside those of its own host.
        origins_allowed: Vec<Origin> = Vec::new(), by reload;
        /// Proxies that are believed when they say whom they ask for: addresses, networks such as
        /// "10.0.0.0/8", or "unix" for whoever connects to a Unix socket. The client's address is then the
        /// last one in their field that isn't one of theirs; it is shown, logged, and limits by address
        /// count by it.
        proxies_trusted: Vec<TrustedProxy> = Vec::new(), by reload;
        /// The one field that is read for it: "x-forwarded-for", "forwarded" or "x-real-ip". Proxies pass
        /// the others on as a client wrote them.
        proxy_header: ProxyHeader = ProxyHeader::XForwardedFor, by reload;
        /// Local addresses of `listen`, such as "10.0.0.2:9504", at which each connection begins with a PROXY
        /// header (version 1 or 2) of a trusted proxy; "0.0.0.0:9504" stands for every address with this
        /// port. Whoever isn't trusted, or begins with anything else, is cut there.
        proxy_protocol: Vec<SocketAddr> = Vec::new(), by reload;
        /// Whether the chat page is at `/`: "open" in open mode only, "on" always, "off" never.
        page: PageMode = PageMode::Open, by reload;
        /// Serves other machines too, although no keys are asked for: everybody is whoever they
        /// say.
        insecure: bool = false, by reload;
        /// Answers every frame at `/echo` with the same frame, up to 16 MiB; for benchmarks and
        /// conformance suites.
        echo: bool = false, by reload;
        /// Path of the control socket, by which `tidings status`, `stop` and the like ask the server.
        /// Empty: `control.sock` in the folder of the data. "none": no socket.
        control: String = String::new(), within 0..=4_096, by upgrade;
        /// File with the number of the process, for scripts; written once the server listens, and
        /// removed at its end. Empty: none.
        pid_file: String = String::new(), within 0..=4_096, by upgrade;
        /// Time between the word to stop and the stop, in milliseconds: `/readyz` says 503, and new
        /// work is still taken. Balancers need it to see that: with Kubernetes 5,000 to 15,000.
        stop_delay_ms: u64 = 0, within 0..=DAY_MS, by reload;
        /// Time that a stop may take, in milliseconds; then what is left is cut.
        stop_ms_max: u64 = 30_000, within 0..=DAY_MS, by reload;
        /// Time in which a worker has to come to its renewal, in milliseconds; one that is stuck for
        /// longer stays as it is.
        renew_ms_max: u64 = 30_000, within 1..=DAY_MS, by upgrade;
        /// Time in which all has to come to a stand for an upgrade, in milliseconds; then the server
        /// goes on as it is.
        freeze_ms_max: u64 = 2_000, within 10..=DAY_MS, by reload;
        /// Longest stand that an upgrade is dared for, in milliseconds: if it took longer in the trial,
        /// the upgrade is refused.
        pause_ms_max: u64 = 2_000, within 1..=DAY_MS, by reload;
        /// Time in which the next program has to go on after an upgrade, in milliseconds; then the one
        /// before goes on.
        thaw_ms_max: u64 = 10_000, within 10..=DAY_MS, by reload;
    }
}

impl GeneralSection {
    /// The file with the number of the process, if there shall be one.
    #[must_use]
    pub fn pid_path(&self) -> Option<&Path> {
        (!self.pid_file.is_empty()).then(|| Path::new(&self.pid_file))
    }
}

section! {
    /// The log. It never has messages, tokens or keys in it.
    LogSection {
        /// "text" for people, "json" for programs: a line an event.
        format: LogFormat = LogFormat::Text, by upgrade;
        /// Level: error, warn, info or debug; or for parts, such as "info,tidings::net=debug".
        level: LogLevel = LogLevel("info".into()), by reload;
        /// File that the log is appended to; SIGHUP and SIGUSR1 open it anew, so that it can be moved
        /// away. Empty: standard error.
        file: String = String::new(), within 0..=4_096, by upgrade;
    }
}

impl LogSection {
    /// The file of the log; `None` where the log is standard error.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (!self.file.is_empty()).then(|| Path::new(&self.file))
    }
}

section! {
    /// Rules that users' tokens (JWT) have to satisfy, beside a signature by one of the keys below.
    TokenSection {
        /// One of these has to stand in a token's `aud`. When empty, a token that names an audience
        /// is meant for others, and refused.
        audience: Vec<String> = Vec::new(), within 1..=1_024, by reload;
        /// One of these has to be a token's `iss`; when empty, every issuer will do.
        issuer: Vec<String> = Vec::new(), within 1..=1_024, by reload;
        /// Difference that is allowed between the clocks of token makers and of this server, in
        /// seconds: a token counts this much earlier and longer.
        leeway_s: u64 = 30, within 0..=3_600, by reload;
        /// Longest token, in bytes; a longer one is refused as a bad one, with close code 4001.
        token_size_max: usize = 8_192, within 64..=65_536, by reload;
        /// Time for a new connection to log in, in milliseconds; then close code 4002.
        login_ms_max: u64 = 10_000, within 100..=DAY_MS, by reload;
    }
}

section! {
    /// A key that tokens are verified with; its name is the `kid` of a token's header. A token
    /// without `kid` is tried with the keys of its algorithm, in the order of this file.
    /// To change keys: add the new one before the old one, wait until the old tokens have expired,
    /// take the old one out.
    TokenKeySection {
        /// Algorithm of the key: "HS256" takes a secret, "RS256" and "ES256" take a public key.
        algorithm: Algorithm = Algorithm::HS256, by reload;
        /// The secret (HS256), at least 32 bytes; the text is used as it stands here.
        secret: Secret = Secret::default(), by reload;
        /// A file with the secret instead; one line break at its end doesn't count.
        secret_file: String = String::new(), within 0..=4_096, by reload;
        /// The public key as a PEM block (RS256: RSA of at least 2,048 bits; ES256: P-256).
        public_key: Pem = Pem::default(), by reload;
        /// A file with the PEM block instead. Names of files are relative to this file's folder.
        public_key_file: String = String::new(), within 0..=4_096, by reload;
    }
}

section! {
    /// A back end that may post over HTTP and act for any user. Its name stands in the log.
    /// It says `Authorization: Bearer KEY`.
    ApiKeySection {
        /// The key, at least 20 visible characters.
        key: Secret = Secret::default(), by reload;
        /// A file with the key instead; one line break at its end doesn't count.
        key_file: String = String::new(), within 0..=4_096, by reload;
    }
}

section! {
    /// Rooms, users and what they say.
    ChatSection {
        /// Channels without offsets and history: patterns of their names, where `*` stands for any
        /// characters.
        unkept: Vec<String> = Vec::new(), within 1..=255, by restart;
        /// Channels that keep their newest messages in memory only, until a restart: patterns of
        /// their names. All that are in neither list are stored on disk, if there is a data folder.
        in_memory: Vec<String> = Vec::new(), within 1..=255, by restart;
        /// Channels whose deliveries wait for more, so that a member gets all of it in one write:
        /// patterns of their names with the longest wait, such as "live-* delay=20ms"; the first one
        /// that matches counts. Other channels never wait.
        gather: Vec<GatherRule> = Vec::new(), by reload;
        /// Messages of one channel that wait so on a reactor; as many go out at once.
        gather_messages_max: usize = 1_000, within 1..=1_000_000, by reload;
        /// The same in bytes.
        gather_size_max: usize = 65_536, within 1..=SIZE_MAX, by reload;
        /// Bytes of all channels that wait so on a reactor; over that, the channel that is published
        /// to goes out at once.
        gather_total_size_max: usize = 16_777_216, within 1..=SIZE_MAX, by reload;
        /// Channels of which a slow reader gets only the newest message: patterns of their names. Where
        /// the channel has offsets, a `gap` tells it what was left out.
        latest: Vec<String> = Vec::new(), within 1..=255, by reload;
        /// Messages that a channel keeps; older ones are gone, and a resume that needs them is told
        /// so (`"recovered":false`).
        ring_messages_max: usize = 100, within 1..=1_000_000, by reload;
        /// Age up to which a channel keeps its messages, in milliseconds.
        ring_ms: u64 = 300_000, within 1_000..=365 * DAY_MS, by reload;
        /// Time after which a channel without members and messages is forgotten, in milliseconds.
        channel_idle_ms: u64 = 300_000, within 0..=365 * DAY_MS, by reload;
        /// Channels at most, rooms and users' inboxes together; one more is refused with
        /// `unavailable`. A tenth is left to back ends, and a login never needs a free one.
        channels_max: usize = 1_000_000, within 1..=100_000_000, by reload;
        /// Channels that one user opened and that are still there, at most: rooms, and lines of
        /// users who never came; one more is refused with `unavailable`. Back ends have no such
        /// share.
        channels_per_user_max: usize = 1_000, within 1..=100_000_000, by reload;
        /// Lines of users who never came, opened by other users, at most, apart from channels_max.
        /// From seven eighths on the oldest ones of whoever opened the most go, with the messages in
        /// them; their senders keep their own copies.
        unclaimed_lines_max: usize = 100_000, within 1..=100_000_000, by reload;
        /// Rooms that one connection may be in; one more is refused with `forbidden`.
        rooms_per_connection_max: usize = 100, within 1..=1_000_000, by reload;
        /// Connections that one user may have; one more closes the oldest, with close code 4003.
        connections_per_user_max: usize = 20, within 1..=1_000_000, by reload;
        /// Users of a room up to which `joined` and `left` are told there.
        presence_users_max: usize = 200, within 0..=1_000_000, by reload;
        /// Time after the last connection of a user left a room until `left` is told, in
        /// milliseconds; a reconnect within it isn't told at all.
        left_ms: u64 = 3_000, within 0..=DAY_MS, by reload;
        /// Time within which a message with the same id is the same message, in milliseconds.
        repeat_ms: u64 = 300_000, within 0..=DAY_MS, by reload;
        /// Ids that are remembered for that, in all; for one more the sender with the most loses its
        /// oldest, so that nobody pushes out what others said. Stored channels have a table of this
        /// size, and so have the others.
        repeat_entries_max: usize = 1_000_000, within 1..=100_000_000, by reload;
        /// Messages on one page of history at most.
        page_messages_max: usize = 1_000, within 1..=100_000, by reload;
        /// Size at which a page of history ends, in bytes; it says `"more":true` then.
        page_size_max: usize = 262_144, within 4_096..=SIZE_MAX, by reload;
    }
}

section! {
    /// WebSocket connections.
    WebSocketSection {
        /// Largest message, in bytes; a longer one closes the connection with 1009.
        message_size_max: usize = 65_536, within 125..=SIZE_MAX, by reload;
        /// Whether messages go compressed to and from clients that offer it (permessage-deflate, as
        /// browsers do); an open connection keeps what its handshake has agreed on.
        deflate: bool = false, by reload;
        /// Size from which a message is compressed, in bytes, if that makes it smaller.
        deflate_size_min: usize = 512, within 0..=SIZE_MAX, by reload;
        /// Silence after which a connection is pinged, in milliseconds; 0 turns heartbeats off.
        ping_ms: u64 = 25_000, within 0..=DAY_MS, by reload;
        /// Time for any sign of life after a ping, in milliseconds; then close code 4010.
        pong_ms_max: u64 = 8_000, within 1..=DAY_MS, by reload;
        /// Time for the answer to our Close frame, in milliseconds; then the socket is cut.
        close_ms_max: u64 = 5_000, within 1..=DAY_MS, by reload;
    }
}

section! {
    /// HTTP requests.
    HttpSection {
        /// Time from a head's first byte to its end, in milliseconds; then 408. A fresh connection
        /// that sends nothing for as long is closed.
        head_ms_max: u64 = 10_000, within 1..=DAY_MS, by reload;
        /// Time from the end of a head to the end of its body, in milliseconds; then 408.
        body_ms_max: u64 = 30_000, within 1..=DAY_MS, by reload;
        /// Silence between two requests of a connection, in milliseconds; then it is closed. Above the
        /// 60 s of nginx and of AWS's balancers, whose requests would meet our close otherwise; answers
        /// tell it in `Keep-Alive`.
        idle_ms_max: u64 = 75_000, within 1..=DAY_MS, by reload;
        /// Longest target, in bytes; a longer one is answered with 414.
        target_size_max: usize = 8_192, within 16..=1 << 20, by reload;
        /// Longest head, in bytes; a longer one is answered with 431.
        head_size_max: usize = 16_384, within 256..=1 << 20, by reload;
        /// Lines in a head at most; more are answered with 431.
        head_fields_max: usize = 100, within 8..=10_000, by reload;
        /// Longest body, in bytes; a longer one is answered with 413.
        body_size_max: usize = 1_048_576, within 64..=SIZE_MAX, by reload;
        /// Chunk extensions of one body, in bytes; more are answered with 413.
        chunk_extensions_size_max: usize = 16_384, within 0..=1 << 20, by reload;
        /// Longest trailer section, in bytes; a longer one is answered with 431.
        trailers_size_max: usize = 8_192, within 0..=1 << 20, by reload;
        /// Requests of one connection that may wait for their answers; further ones stay unread.
        pipeline_requests_max: usize = 16, within 1..=10_000, by reload;
    }
}

section! {
    /// Output that waits for slow readers.
    OutboxSection {
        /// Waits for one reader at most, in bytes; more closes it with 4008. A single message may
        /// exceed it, and messages of `chat.latest` don't count.
        size_max: usize = 1_048_576, within 1_024..=SIZE_MAX, by reload;
        /// Waits for one reader until nothing more is read from it, in bytes.
        pause_size: usize = 262_144, within 1..=SIZE_MAX, by reload;
        /// Waits for one reader until it is written without waiting for the turn's end, in bytes.
        flush_size: usize = 65_536, within 1..=SIZE_MAX, by reload;
        /// Time that a reader may take nothing although something waits, in milliseconds; then
        /// close code 4008.
        stall_ms_max: u64 = 10_000, within 1..=DAY_MS, by reload;
        /// Time after our last byte until the socket of a peer that doesn't close is cut, in
        /// milliseconds.
        linger_ms_max: u64 = 5_000, within 1..=DAY_MS, by reload;
        /// Waits for all readers together at most, in bytes; over it the slowest are closed with
        /// 4008.
        total_size_max: usize = 1_073_741_824, within 1_024..=SIZE_MAX, by reload;
    }
}

section! {
    /// How much one client may ask for; 0 a second is no limit. Memory is bounded without it: a
    /// client that is too fast for the server is read more slowly. What it bounds is how much one
    /// client takes from the others, so it depends on what clients do there: 10 a second with
    /// bursts of 100 leave room for a person, but not for a back end or a load test.
    LimitSection {
        /// Commands a second of one user, on all connections that showed no API key together, `PING`
        /// among them; before the login, of one address (IPv6: one /64), where only logins that
        /// are taken count with their user. One more is refused with `rate_limited`, and who goes on
        /// at more than twice as much is closed with 4009. Coming again gives nothing new. What a
        /// user with a token posts by HTTP counts with it; one more is answered with 429.
        commands_per_s_max: u64 = 0, within 0..=1_000_000, by reload;
        /// Commands of one user at once, after a pause.
        commands_burst_max: u64 = 100, within 1..=1_000_000, by reload;
        /// Requests a second of one API key, by HTTP and on its WebSockets; without keys, of one
        /// address. One more is answered with 429. Of a batch each message counts, and of a message
        /// each receiver in `rooms` or `users`; /v1/stats and /metrics don't. A gateway heeds it too.
        requests_per_s_max: u64 = 0, within 0..=1_000_000, by reload;
        /// Requests of one API key at once, after a pause.
        requests_burst_max: u64 = 1_000, within 1..=1_000_000, by reload;
        /// Users, addresses and keys that asked lately, at most, where one of these limits is set;
        /// for one more the one that is nearly quiet again is forgotten, and counted.
        askers_max: usize = 1_000_000, within 16..=100_000_000, by reload;
        /// Connections of one address (IPv6: one /64) that have shown neither a token nor a key; one
        /// more is answered with 503. They count no more once they have logged in, or brought a request
        /// with an API key; without keys all count. 0 is no bound, and the default: behind a proxy
        /// everybody has the proxy's address, and on this machine everybody has a loopback address, so
        /// only who knows that neither is the case can name a number; 100 leave room for an office.
        connections_per_address_max: usize = 0, within 0..=1_000_000, by reload;
        /// Requests and messages of all connections that are half sent, in bytes; over it those
        /// with the most are refused, with 503 or close code 1013.
        unfinished_size_max: usize = 67_108_864, within 1_024..=SIZE_MAX, by reload;
    }
}

section! {
    /// The threads that own the sockets, each of them.
    ReactorSection {
        /// Connections at most; one more is answered with 503.
        connections_max: usize = 1_000_000, within 1..=100_000_000, by reload;
        /// Bytes read from one connection before the others have their turn.
        read_size_max: usize = 65_536, within 1_024..=1 << 24, by reload;
        /// Writes of large deliveries before the others have their turn; half as many while others talk.
        turn_writes_max: usize = 48, within 1..=1_000_000, by reload;
        /// Topics (rooms and users with a connection here) at most; one more is refused.
        topics_max: usize = 1_000_000, within 1..=100_000_000, by reload;
        /// Topics of one connection at most: its rooms, its user and `*`; one more is refused.
        topics_per_connection_max: usize = 1_000, within 3..=1_000_100, by reload;
    }
}

section! {
    /// The data on disk: messages, acknowledgements, lasting memberships.
    StoreSection {
        /// Folder of the data, made at the first start; "none" keeps everything in memory only.
        data: String = "./tidings-data".into(), within 1..=4_096, by restart;
        /// Moment from which a message counts as stored, and is answered and delivered. "always":
        /// after fdatasync; a crash of the program, the system or the power loses nothing that was
        /// answered. "interval 100ms": after the write, and synced that often; a crash of the
        /// system or the power may lose what came since. "os": after the write, and synced when the
        /// system likes.
        sync: SyncSetting = SyncSetting::default(), by reload;
        /// Messages that a channel keeps at most; then the oldest go.
        messages_max: u64 = 100_000, within 1..=u64::MAX >> 1, by reload;
        /// Age up to which a channel keeps its messages, in milliseconds.
        age_ms_max: u64 = 30 * DAY_MS, within 1_000..=36_500 * DAY_MS, by reload;
        /// Bytes that a channel keeps at most; then the oldest messages go.
        channel_size_max: u64 = 1 << 30, within 1_024..=SIZE_MAX, by reload;
        /// Other bounds for channels by patterns of their names, such as
        /// "team-* messages=1000 age=7d bytes=64MiB"; the first one that matches counts, and what
        /// it doesn't say is as above.
        keep: Vec<RetentionRule> = Vec::new(), by reload;
        /// Bytes of all files at most; then the oldest file goes, with the messages in it.
        total_size_max: u64 = 10 << 30, within 1 << 20..=SIZE_MAX << 10, by reload;
        /// Bytes that have to stay free on the disk; below, messages that are to be stored are
        /// refused with `disk_full`, and everything else goes on.
        disk_free_size_min: u64 = 256 << 20, within 0..=SIZE_MAX, by reload;
        /// Bytes after which a new file is begun.
        segment_size_max: u64 = 64 << 20, within 65_536..=1 << 31, by reload;
        /// Connections that catch up from the disk at a time; others wait for their turn.
        replays_active_max: usize = 256, within 1..=1_000_000, by reload;
        /// Channels that catch up or wait for it, over all connections; one more closes its
        /// connection with 1013.
        replays_max: usize = 1_000_000, within 1..=100_000_000, by reload;
    }
}

section! {
    /// Queues between threads. Above one of these marks nothing is read from the connections that
    /// would add to the queue, until a quarter is left; nothing is lost.
    QueueSection {
        /// Events for one worker.
        worker_items_high: usize = 16_384, within 1..=100_000_000, by upgrade;
        /// Events for one worker, in bytes. As much may wait on each thread for the turns of
        /// connections that ask for much; over that, those with the most are closed with 1013.
        worker_size_high: usize = 16_777_216, within 1_024..=SIZE_MAX, by upgrade;
        /// Batches of commands for one reactor.
        mailbox_items_high: usize = 16_384, within 1..=100_000_000, by upgrade;
        /// Commands for one reactor, in bytes.
        mailbox_size_high: usize = 67_108_864, within 1_024..=SIZE_MAX, by upgrade;
        /// Messages and other records for the disk.
        disk_items_high: usize = 65_536, within 1..=100_000_000, by upgrade;
        /// The same in bytes.
        disk_size_high: usize = 67_108_864, within 1_024..=SIZE_MAX, by upgrade;
        /// Records that are made durable together at most.
        disk_batch_max: usize = 8_192, within 1..=1_000_000, by reload;
        /// Longest wait of a sync for the senders that were answered just now, in hundredths of the
        /// last sync's time.
        disk_gather_percent: usize = 100, within 0..=1_000, by reload;
        /// The most microseconds of that wait.
        disk_gather_us_max: usize = 2_000, within 0..=1_000_000, by reload;
    }
}
