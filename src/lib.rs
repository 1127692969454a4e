//! tidings: a chat and push server, and the Swoole-style library under it.
//!
//! A server begins with [`server::Server::builder`]; this page is for those who read or change what
//! is under it.
//!
//! # What runs
//!
//! ```text
//! one process
//!  ├ main thread: signals, the processes, the stop
//!  ├ reactors: own the sockets; reactor 0 also listens, deals connections out, and keeps the timers
//!  ├ workers: run the callbacks, and may block; with none, the reactors run them
//!  ├ disk thread: writes what waits, syncs once, then posts and answers
//!  ├ replay thread: reads pages of history for those who come back
//!  └ processes: the same binary again, each at the other end of a socket pair
//! ```
//!
//! # The way of the data
//!
//! One direction, few hops, and a batch a turn at each of them:
//!
//! ```text
//! bytes ▶ socket ▶ Connection ▶ events ▶ worker's queue ▶ callback
//!                                                           │ commands, a batch a reactor
//! bytes ◀ socket ◀ outbox ◀───────── Command ◀── mailbox ◀──┘
//!                             callback ▶ ProcessLink ▶ main thread ▶ pipe ▶ process
//!                             callback ▶ disk thread ▶ the same mailboxes, in the order of the disk
//! ```
//!
//! A reactor's turn: poll, read each ready connection once, hand the events on, carry out the
//! commands, do what is due, write each outbox once, poll again.
//!
//! # Layers
//!
//! A layer uses those above it in this table and no other; `tests/architecture.rs` checks it.
//!
//! | layer | what it is | what it never does |
//! |---|---|---|
//! | [`proto`] | HTTP/1.1, WebSocket, [a connection](proto::connection::Connection) as a state machine: bytes and time in, events and bytes out | opens a socket, reads a clock, takes a lock |
//! | [`net`] | [the reactor](net::reactor), and what it owns: slots, outboxes, topics, the [timer wheel](net::wheel); its [mailbox](net::mailbox) | calls a callback of the user |
//! | [`server`] | the builder, handles, workers, [processes](server::process), the life from start to stop | parses a byte of a client |
//! | [`chat`] | who is there, what was said, who may hear it: pure state, in shards | does I/O, reads a clock, looks into a message |
//! | [`store`] | [the journal](store::Journal), its index, [the disk thread](store::Disk) | knows clients, connections, permissions |
//! | [`api`] | what the HTTP fronts share: bodies, keys, refusals, joined answers, numbers | says a message; knows which front it serves |
//! | [`link`] | both ends of the protocol between two machines, as state machines: frames and time in, frames and events out | opens a socket, reads a clock, publishes |
//! | [`endpoint`] | what clients speak: the native protocol, the HTTP API, links of gateways; catching up from the disk | re-serialises what a client wrote |
//! | [`gateway`] | HTTP on another machine: an outbox on disk, and the push process with its links | forgets what wasn't acknowledged |
//! | the binary | the daemon, the command line, the load generator | reaches behind [`server`]: it is the library's first user |
//!
//! So the protocol is tested without a network, with every way to cut its input; and a reactor
//! knows deliveries, not what they mean.
//!
//! # Invariants
//!
//! 1. **Nobody waits for somebody else's queue.** A queue takes whatever it is given, and counts it
//!    against [a high and a low mark](base::pressure). Above the high one the reactors stop *reading*
//!    from the connections that feed it, and go on writing, closing and timing; below the low one
//!    its consumer wakes them. So nothing deadlocks, nothing is dropped in silence, and memory is
//!    bounded by the marks plus one turn's reading.
//! 2. **Events of one connection go to one worker, in order; `on_close` comes exactly once, last.**
//!    A turn reads a bounded number of bytes from each connection, so that nobody starves others.
//! 3. **An [`Fd`](server::Fd) is never used again.** Slots are, but each has a generation: a late
//!    command or a stale event finds nobody, never a stranger.
//! 4. **An idle connection owns no buffer.** A reactor has one read buffer; only the rest of an
//!    unfinished frame is kept. Ten thousand silent connections are the common case.
//! 5. **A publish is encoded once, and costs a command a reactor, not one a member.** Server frames
//!    carry no mask, so the bytes are equal for all, and all outboxes share them.
//! 6. **Output is written once a turn**, after the commands of that turn: what many said to one
//!    member goes out in one call.
//! 7. **A slow reader costs what one connection may, and nobody else's time.** Its outbox has a
//!    bound, in bytes and in time without progress; then whole frames are dropped and Close 4008
//!    follows. Answers to its own requests never kill a peer: its reading pauses.
//! 8. **Wake-ups are merged**: a mailbox wakes its reactor only when that isn't awake. The flag is
//!    cleared before the queue is looked at; a model checker goes through all orders.
//! 9. **Heartbeats cost nothing per message**: activity stores a tick, and the wheel looks at it
//!    when the timer comes round.
//! 10. **A task that was accepted is run at least once**, and its result comes exactly once. It is
//!     kept until then, whoever dies meanwhile.
//! 11. **A stop loses nothing that was read**: reactors end first, reactor 0 last of them, since
//!     timers live there and an answer elsewhere may wait for one; then the processes, then the
//!     workers, which still run what the processes sent.
//! 12. **Every bound has its unit in its name, and an outcome with a name.** A peer's input is
//!     never a reason to panic, and a callback's panic ends that one connection.
//! 13. **What a connection is, is plain data**: no closure, no thread handle, no borrowed pointer.
//!     It shall outlive the process image one day.
//! 14. **What is sent in a channel is posted under the lock of its shard, in the order of the
//!     offsets.** In memory a worker gives the offset there; a stored one comes from the disk
//!     thread, after the sync. Nobody sees an offset that a crash could take back.
//! 15. **Catching up ends under that lock**: what is missing is read from the disk page by page,
//!     and the last of it and the subscription are one command. So there is no hole, no repeat, and
//!     no queue that grows with the speed of the room.
//! 16. **`unsafe` is denied.**

#[cfg(feature = "chat")]
pub mod api;
pub mod base;
#[cfg(feature = "chat")]
pub mod chat;
#[cfg(feature = "chat")]
pub mod endpoint;
#[cfg(feature = "chat")]
pub mod gateway;
#[cfg(feature = "chat")]
pub mod link;
pub mod net;
pub mod proto;
pub mod server;
#[cfg(feature = "store")]
pub mod store;

/// The code in the README is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
