//! The inside of tidings: what runs, the way of the data, the layers, three journeys, the
//! invariants.
//!
//! This page is for those who read or change tidings; a program that uses the library needs
//! [`server`](crate::server) alone. Most modules named here are hidden from the documentation: their
//! files are in `src`, and each begins with what it is, what it never does and what always holds.
//!
//! # What runs
//!
//! ```text
//! one process
//!  ├ main thread: signals, the processes, renewals, upgrades, the stop
//!  ├ reactors: own the sockets; reactor 0 also listens, deals connections out, and keeps the timers
//!  ├ workers: run the callbacks, and may block; light ones, and all if there is none, run on reactors
//!  ├ disk thread: writes the records that wait, syncs once, then delivers and answers
//!  ├ replay thread: reads pages of history for clients that return
//!  ├ in a cluster: look-ups, for questions that may wait for the engine; bus and catch-up, for what others say
//!  ├ bindings' thread, if they are written to a store: says there who is where
//!  └ processes: the same binary again, each at the other end of a socket pair
//! ```
//!
//! A renewal replaces the workers' threads one after another, and then each process. The queue of a worker
//! goes from its old thread to the next one, and so does what waits for a turn; a process gets what the one
//! before it had not finished.
//!
//! An upgrade executes another image of the program in the same process: everything comes to a stand
//! (`server/freeze`), is written down in sections (`handover`), and goes on in the next image, or in this one
//! if that fails (`server/upgrade`). What isn't the server's is added by its user: the daemon's own parts, or
//! what `Builder::on_freeze` writes.
//!
//! # The way of the data
//!
//! Data goes in one direction, in few hops, and each hop hands on one batch a turn:
//!
//! ```text
//! bytes ▶ socket ▶ Connection ▶ events ▶ worker's queue ▶ callback
//!                                    └─ a light one ────────┤
//!                                                           │ commands, a batch a reactor
//! bytes ◀ socket ◀ outbox ◀───────── Command ◀── mailbox ◀──┘
//!                             callback ▶ ProcessLink ▶ main thread ▶ pipe ▶ process
//!                             callback ▶ disk thread ▶ the same mailboxes, in the order of the disk
//! ```
//!
//! A reactor's turn: poll, read each ready connection once, hand the events on, carry out the
//! commands, do what is due, write each outbox once, poll again. What more than 64 connections hear is
//! written in shares of 24 or 48, one a turn: an answer to somebody else goes out between two of them.
//! Of those that come or go, which cost most, a turn reads from 32.
//!
//! # Layers
//!
//! A layer uses only layers above it in this table; `tests/architecture` checks which ones.
//!
//! | layer | what it is | what it never does |
//! |---|---|---|
//! | `base` | the ground floor: ids, time, pressure, the body of a message, the description of a number | keeps state, does input or output |
//! | `handover` | the bytes in which one image of the program tells the next what it knew: sections, records, fields | knows what a field means |
//! | `proto` | HTTP/1.1, WebSocket, a connection as a state machine: bytes and time in, events and bytes out | opens a socket, reads a clock, takes a lock |
//! | `store` | the journal on disk, its index, the disk thread | knows clients, connections, permissions |
//! | `chat` | who is there, what was said, who may hear it: pure state, in shards | does input or output, reads a clock, looks into a message |
//! | `cluster` | what servers share: the log and the bus of several nodes in Redis, the bindings in Redis or MySQL | waits for an engine without a limit; calls a client |
//! | `tls` | TLS of connections that this program makes, and whom it trusts | verifies a certificate itself; has a key |
//! | `net` | the reactor, and what it owns: slots, outboxes, topics, the timer wheel; its mailbox | calls a callback of the user |
//! | [`server`](crate::server) | the library's face: the builder, handles, workers, processes, the life from start to stop | parses a byte of a client |
//! | `api` | what the HTTP fronts share: bodies, keys, refusals, joined answers, numbers | says a message; knows which front it serves |
//! | `link` | both ends of the protocol between two machines, as state machines: frames and time in, frames and events out | opens a socket, reads a clock, publishes |
//! | `endpoint` | what clients speak: the native protocol, the HTTP API, links of gateways; catching up from the disk | serialises again what a client wrote |
//! | `gateway` | HTTP on another machine: an outbox on disk, and the push process with its links | forgets a message that wasn't acknowledged |
//! | the binary | `config`, `auth`, `control`, `daemon`, `service`, `page`, `cli`, `client`, `output`: settings, keys, `tidings serve` and `gateway`, their control socket, their place in the system, the chat page, the command line, the log | uses what the library hides from a user, but for the layers above |
//!
//! So the protocol is tested without a network, with every way to cut its input; and a reactor
//! knows deliveries, not what they mean.
//!
//! # Journeys
//!
//! Each table lists the files of `src` in the order in which a message comes through them, what each
//! does, and the form that the message takes there; a row without a form passes the message on as it
//! is. A file that comes a second time is counted once. Left out are plain conversions, locks,
//! counters, and the reader and the writer of JSON. `tests/architecture` checks the files, the forms and the counts.
//!
//! ## A message, from its socket to the callback
//!
//! A light message, such as a `say`, goes no further than `server/light.rs`, which has its callback run
//! on the spot, unless something of its connection is still with the worker.
//!
//! 14 files, 6 forms.
//!
//! | thread | file | what it does | the message is now |
//! |---|---|---|---|
//! | reactor | `net/reactor/turn.rs` | learns from the kernel which sockets are readable | |
//! | | `net/reactor/read.rs` | reads each of them once, into the reactor's own buffer | `Input`: bytes |
//! | | `proto/connection/mod.rs` | knows whether the connection speaks HTTP or WebSocket | |
//! | | `proto/connection/websocket_side.rs` | answers pings and closes, lets messages through | `ConnectionEvent` |
//! | | `proto/websocket/decoder.rs` | joins fragments, checks UTF-8 | `Item` |
//! | | `proto/websocket/header.rs` | reads the head of each frame | |
//! | | `proto/websocket/mask.rs` | removes the mask, in place | |
//! | | `server/light.rs` | keeps it on this thread if it is light, and the turn isn't long yet | |
//! | | `server/sinks.rs` | chooses the worker of the connection, and copies the payload: the one copy | `WorkerEvent` |
//! | | `server/queue.rs` | queues what one turn read for one worker, and counts the pressure | `EventBatch` |
//! | worker | `server/worker.rs` | takes the events of a batch one after the other | |
//! | | `server/scheduler.rs` | keeps one whose connection asked for much until its turn comes | `Frame`: borrowed bytes |
//! | | `server/runner.rs` | chooses the callback; closes the connection if the callback panics | |
//! | | `server/handlers.rs` | calls it, and catches the panic | |
//!
//! ## A stored `say`, from its frame to the outboxes
//!
//! To a room, by a user. The callback of the table above is the endpoint's. The message crosses two
//! threads, and comes back to the first; the frame is encoded once, whatever the number of members.
//! A `say` in memory stays on the first, and is sent by `chat/say.rs` itself.
//!
//! 35 files, 17 forms.
//!
//! | thread | file | what it does | the message is now |
//! |---|---|---|---|
//! | reactor | `endpoint/native/light.rs` | sees that it is a `say`, and so light | |
//! | | `endpoint/mod.rs` | tells gateways from clients, and text from binary frames | `Frame` |
//! | | `endpoint/native/mod.rs` | carries out each command of the frame | |
//! | | `endpoint/native/parse.rs` | reads one command, or an array of them | `SequencedCommand` |
//! | | `api/posting.rs` | reads the receiver and the message | `Posting` |
//! | | `endpoint/sessions/mod.rs` | refuses a command too many; knows in whose name it is given | |
//! | | `api/rate_limits.rs` | counts the commands of the user | |
//! | | `chat/say.rs` | checks names, id and rights; copies the texts, once | `Envelope`, `KeptMessage` |
//! | | `chat/connections.rs` | knows the user of the connection, and the user's rooms | |
//! | | `chat/channels.rs` | makes sure of the room, under its lock; knows the epoch | |
//! | | `chat/channel_table.rs` | finds it by its name | |
//! | | `chat/pending.rs` | holds the message until it is on disk | `PendingMessage` |
//! | | `endpoint/services.rs` | adds who is to be answered, gives it to the disk thread | |
//! | | `store/disk.rs` | counts the pressure | |
//! | | `store/job_queue.rs` | queues it; wakes the disk thread if that sleeps | |
//! | disk | `store/disk.rs` | takes all that waits | |
//! | | `endpoint/store_job.rs` | makes the record, which borrows the kept message | `StoreJob`, `MessageRecord` |
//! | | `store/journal.rs` | refuses it where the disk is full or has failed | |
//! | | `store/pending.rs` | recognises a repeat; gives the offset | `PlacedMessage`, `ResolvedMessage` |
//! | | `store/dedup.rs` | knows the ids of late, where the sender gave one | |
//! | | `store/log_record.rs` | encodes it | |
//! | | `store/batch.rs` | seals the records of the batch with checksums | `WriteBatch`: bytes |
//! | | `store/journal.rs` | writes the batch, syncs, and only then shows it to readers | |
//! | | `store/state.rs` | brings the index up to date | |
//! | | `store/channel_log.rs` | notes where on disk the message is | `Location` |
//! | | `endpoint/store_job.rs` | gives the message back to the chat | |
//! | | `chat/pending.rs` | takes the lock of the room's shard | |
//! | | `chat/channels.rs` | tells of a gap where the epoch is another one | |
//! | | `chat/placement.rs` | has the message kept, and given to the members | `Placement` |
//! | | `chat/log.rs` | keeps it in memory for clients that return soon | |
//! | | `endpoint/server_sink.rs` | sends it at once, still under the lock | `Notice` |
//! | | `endpoint/frames.rs` | writes the JSON; `data` is copied as it came | |
//! | | `server/handle.rs` | makes one command for each reactor | `Message` |
//! | | `server/delivery.rs` | encodes the WebSocket frame, once for all | |
//! | | `server/shared.rs` | finds the reactor's mailbox | |
//! | | `net/mailbox.rs` | queues the command; wakes the reactor if it sleeps | |
//! | reactor | `net/reactor/apply.rs` | carries the command out | `Command` |
//! | | `net/topics.rs` | knows the members among the reactor's connections | |
//! | | `net/reactor/write.rs` | puts the frame into each outbox; at the turn's end writes each once | |
//! | | `net/outbox.rs` | holds a reference to the frame until the socket has taken it | `Piece` |
//!
//! The answer: `chat/pending.rs` gives a `Receipt`, `endpoint/store_task.rs` and `endpoint/frames.rs`
//! write it as the sender's `ok`, `endpoint/answers.rs` gathers those of one batch, and a push takes
//! them through the same mailboxes, behind the messages themselves. Without a `seq` there is no `ok`.
//!
//! ## `POST /v1/messages`, from its bytes to its answer
//!
//! The request is light; one that isn't goes through queue, worker and scheduler, as in the first
//! table.
//!
//! 29 files, 11 forms.
//!
//! | thread | file | what it does | the message is now |
//! |---|---|---|---|
//! | reactor | `net/reactor/read.rs` | reads the socket once | `Input`: bytes |
//! | | `proto/connection/mod.rs` | knows that the connection speaks HTTP | |
//! | | `proto/connection/http_side.rs` | goes from head to body to request; gives the request its serial number | `HttpRequest` |
//! | | `proto/http/parse.rs` | finds the end of the head, and reads it | |
//! | | `proto/http/head.rs` | says how long the body is | |
//! | | `proto/http/body.rs` | gathers the body, chunked or not | `BodyDecoder` |
//! | | `server/sinks.rs` | sees that nothing of the connection is with its worker | |
//! | | `server/light.rs` | keeps it on this thread if it is light, and the turn isn't long yet | |
//! | | `server/runner.rs` | makes the request and the right to answer it | `Request` |
//! | | `server/handlers.rs` | calls the endpoint; a panic becomes a 500 | |
//! | | `endpoint/mod.rs` | asks the API first, the host of the endpoint second | |
//! | | `endpoint/http/mod.rs` | checks key, limit and query, then calls the handler | `ApiCall` |
//! | | `endpoint/http/routes.rs` | finds path and method in the table | |
//! | | `endpoint/sessions/mod.rs` | finds the name of the API key, and counts the request | |
//! | | `endpoint/http/messages.rs` | is the handler: says the message, as above from `chat/say.rs` on | |
//! | | `api/body.rs` | wants JSON in UTF-8 | |
//! | | `api/posting.rs` | reads the fields | `Posting` |
//! | | `endpoint/http/reply.rs` | gives the responder to the disk thread together with the message | `ApiReply` |
//! | disk | `endpoint/store_job.rs` | once the message is delivered, writes the receipt as JSON | `Response` |
//! | | `endpoint/frames.rs` | writes the fields of a receipt | |
//! | | `endpoint/answers.rs` | gathers the answers of one batch of the disk | |
//! | | `server/responder.rs` | makes the command for the reactor of the connection | |
//! | | `server/shared.rs` | finds the reactor's mailbox | |
//! | | `net/mailbox.rs` | queues the command; wakes the reactor if it sleeps | |
//! | reactor | `net/reactor/apply.rs` | carries the command out | `Command` |
//! | | `proto/connection/http_side.rs` | takes the answer when its turn among the pipelined ones comes | |
//! | | `proto/http/answers.rs` | keeps the answers in the order of their requests | |
//! | | `proto/http/response.rs` | encodes it | |
//! | | `net/reactor/read.rs` | puts the bytes into the outbox | `Output`: bytes |
//! | | `net/outbox.rs` | holds them until the socket has taken them | `Piece` |
//! | | `net/reactor/write.rs` | writes at the end of the turn | |
//!
//! # Invariants
//!
//! 1. **Nobody waits for somebody else's queue.** A queue takes whatever it is given, and counts it
//!    against a high and a low mark (`base::pressure`). Above the high one the reactors stop *reading*
//!    from the connections that feed it, and go on writing, closing and timing; below the low one
//!    its consumer wakes them. So nothing deadlocks, nothing is dropped in silence, and memory is
//!    bounded by the marks plus one turn's reading.
//! 2. **Events of one connection are handled in order; `on_close` comes exactly once, last.** They go
//!    to one worker; a light one is handled on the reactor only while nothing of its connection is
//!    there, and what its callback sends stands before what the worker sends later. A light callback
//!    waits for nothing but locks that are held for a moment, and a turn of the reactor runs them for a
//!    millisecond at most. A turn reads a bounded number of bytes from each connection, so that nobody
//!    starves others.
//! 3. **An [`Fd`](crate::server::Fd) is never used again.** Slots are, but each has a generation: a late
//!    command or a stale event finds nobody, never a stranger.
//! 4. **An idle connection owns no buffer.** A reactor has one read buffer; only the rest of an
//!    unfinished frame is kept. Ten thousand silent connections are the common case.
//! 5. **A publish is encoded once, and costs a command a reactor, not one a member.** Server frames
//!    carry no mask, so the bytes are equal for all, and all outboxes share them.
//! 6. **Output is written once a turn**, after the commands of that turn: what many said to one
//!    member goes out in one call. A turn writes all answers, but only a share of a large delivery,
//!    so that a turn stays short; what comes meanwhile for a member that waits joins the one call. An
//!    answer to such a member takes along what waits before it, so each connection's order stays.
//! 7. **A slow reader costs what one connection may, and nobody else's time.** Its outbox has a
//!    bound, in bytes and in time without progress; then whole frames are dropped and Close 4008
//!    follows. Answers to its own requests never kill a peer: its
//!    next request waits until there is room. Of channels in which only the newest message counts
//!    (`net/outbox/latest.rs`) one message waits at the most. Who asks for much has turns (`server/scheduler.rs`), on
//!    a worker and on a reactor without workers alike.
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
//!     It outlives the image of the program (`server/upgrade`).
//! 14. **What is sent in a channel is posted under the lock of its shard, in the order of the
//!     offsets.** In memory whoever says it gives the offset there; a stored one comes from the disk
//!     thread, after the sync. Nobody sees an offset that a crash could take back.
//! 15. **Catching up ends under that lock**: what is missing is read from the disk page by page,
//!     and the last of it and the subscription are one command. So there is no hole, no repeat, and
//!     no queue that grows with the speed of the room.
//! 16. **A server that stands still has nothing under way** (`server/freeze`). From the hush to the
//!     thaw a reactor tells its owner nothing; what was handed on is answered, what was given to a queue
//!     is done; what stays waits as plain data: in the kernel, in connections and outboxes, for a
//!     turn. No deadline counts the time, and a freeze that somebody holds is taken back.
//! 17. **Until an upgrade is committed, the image before is whole and one `execve` away.** What was handed
//!     over has no owner until then: whatever fails, no connection is closed by it.
//! 18. **`unsafe` is denied, but for one file.** `server/upgrade/kernel.rs` has what an upgrade asks of
//!     the kernel and no safe function gives: an owner for a descriptor of which only the number is
//!     known, the execution of another program in place of this one, and a mask of signals. Each has its
//!     reason beside it.
