//! The handle: everything that a callback or any thread can do with a running server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::delivery::{AtOnce, Delivery, PerBatch, encoded};
use super::freeze::{CallPass, FreezeErrand, FreezeError, FreezeStep, FreezeTimes};
use super::message::Message;
use super::process::{ProcessLink, TaskError, TaskId};
use super::push_error::PushError;
use super::renewal::Renewal;
use super::settings::ServerSettings;
use super::shared::ServerShared;
use super::stats::Stats;
use super::timers::{TimerId, Timers, Times};
use super::turn;
use super::upgrade::UpgradeOutcome;
use crate::base::{Fd, PeerAddress, Rollout};
use crate::net::ListenAddress;
use crate::net::command::{AwaitedBy, Command, CommandBatch, DeliveryWay, SlowWay};
use crate::net::directory::BindError;
use crate::proto::websocket::close_code_may_be_sent;

/// The name of the process that runs [`super::Builder::on_task`].
pub(super) const TASK_PROCESS: &str = "task";

/// A handle to a running server.
///
/// Callbacks get a [`WorkerHandle`], whose commands travel together when the callback's batch is
/// done. Threads of your own take a `Handle` from [`Handle::handle`] and clone it freely; its
/// commands travel at once. Both have the same methods.
///
/// No method waits. A command for a connection that has gone meanwhile does nothing.
#[derive(Debug)]
pub struct Handle<D = AtOnce> {
    pub(super) shared: Arc<ServerShared>,
    timers: Arc<Timers<TimerCallback>>,
    pub(super) delivery: D,
}

/// The function that a timer calls.
pub(super) type TimerCallback = Arc<dyn Fn(&WorkerHandle) + Send + Sync>;

/// The handle that callbacks get.
pub type WorkerHandle = Handle<PerBatch>;

impl Clone for Handle {
    fn clone(&self) -> Self {
        self.handle()
    }
}

/// A description of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The connection's name.
    pub fd: Fd,
    /// The peer's address.
    pub peer: PeerAddress,
    /// The moment at which the connection was accepted.
    pub connected_at: SystemTime,
    /// Whether the connection is an open WebSocket.
    pub is_established: bool,
    /// The user to whom the connection is bound.
    pub user: Option<Arc<str>>,
    /// The reactor that owns the connection.
    pub reactor: usize,
    /// The worker that handles the connection's events; `None` where there are no workers.
    pub worker: Option<usize>,
}

impl<D: Delivery> Handle<D> {
    pub(super) fn new(
        shared: Arc<ServerShared>,
        timers: Arc<Timers<TimerCallback>>,
        delivery: D,
    ) -> Self {
        Self {
            shared,
            timers,
            delivery,
        }
    }

    pub(super) fn timers(&self) -> &Timers<TimerCallback> {
        &self.timers
    }

    pub(super) fn shared(&self) -> &Arc<ServerShared> {
        &self.shared
    }

    /// Returns a handle for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared), Arc::clone(&self.timers), AtOnce)
    }

    /// Sends a message to one WebSocket.
    ///
    /// # Errors
    ///
    /// [`PushError::NotEstablished`]. `Ok` is no promise that the message arrives: the peer may go
    /// at any time.
    pub fn push<'a>(&self, fd: Fd, message: impl Into<Message<'a>>) -> Result<(), PushError> {
        let _pass = self.enter();
        if !self.delivery.follows(fd) && !self.is_established(fd) {
            return Err(PushError::NotEstablished(fd));
        }
        let message = message.into();
        turn::note_pushed(fd, message.data.len());
        self.delivery.push(&self.shared, fd, message);
        Ok(())
    }

    /// Closes one WebSocket with a code of RFC 6455 §7.4 and a reason of at most 123 bytes (the
    /// rest is cut off). Earlier pushes are still sent.
    ///
    /// # Errors
    ///
    /// [`PushError`]; then nothing happens.
    pub fn disconnect(&self, fd: Fd, code: u16, reason: &str) -> Result<(), PushError> {
        let _pass = self.enter();
        if !close_code_may_be_sent(code) {
            return Err(PushError::CloseCode(code));
        }
        if !self.is_established(fd) {
            return Err(PushError::NotEstablished(fd));
        }
        let reason = Box::from(reason);
        self.put(fd.reactor(), Command::Disconnect { fd, code, reason });
        if self.shared.pauses.contains(fd) {
            self.resume(fd);
        }
        Ok(())
    }

    /// Whether there is a connection of this name, HTTP or WebSocket.
    #[must_use]
    pub fn exists(&self, fd: Fd) -> bool {
        self.shared
            .directory_of(fd)
            .is_some_and(|directory| directory.exists(fd))
    }

    /// Whether there is an open WebSocket of this name.
    #[must_use]
    pub fn is_established(&self, fd: Fd) -> bool {
        self.shared
            .directory_of(fd)
            .is_some_and(|directory| directory.is_established(fd))
    }

    /// The number of threads that may run callbacks of connections.
    #[must_use]
    pub fn callback_threads(&self) -> usize {
        self.shared.mailboxes.len() + self.shared.workers.len()
    }

    /// The number, from 0, of the thread that runs the callbacks of a connection: a worker, or its
    /// reactor where there are none. Light ones run on the reactor, whose number is its own.
    #[must_use]
    pub fn callback_thread_of(&self, fd: Fd) -> usize {
        match self.shared.workers.len() as u64 {
            0 => fd.reactor(),
            workers => self.shared.mailboxes.len() + (fd.serial() % workers) as usize,
        }
    }

    /// Counts a connection no more against
    /// [`connections_per_address_max`](super::ServerSettings::connections_per_address_max), since its
    /// peer has shown a token or a key.
    pub fn vouch_for(&self, fd: Fd) {
        self.shared.strangers.remove(fd);
    }

    /// Describes a connection; `None` if there is none of this name.
    #[must_use]
    pub fn connection_info(&self, fd: Fd) -> Option<ConnectionInfo> {
        let entry = self.shared.directory_of(fd)?.find(fd)?;
        let workers = self.shared.workers.len() as u64;
        Some(ConnectionInfo {
            fd,
            peer: entry.peer(),
            connected_at: entry.connected_at(),
            is_established: entry.established,
            user: entry.user,
            reactor: fd.reactor(),
            worker: (workers > 0).then(|| (fd.serial() % workers) as usize),
        })
    }

    /// Returns up to `limit` connections in the order of their names, from the first after `after`.
    ///
    /// Start with `Fd(0)`, go on with the last name of the list before.
    #[must_use]
    pub fn connections(&self, after: Fd, limit: usize) -> Vec<Fd> {
        let mut fds = Vec::new();
        for directory in &self.shared.directories {
            directory.collect_after(after, limit, &mut fds);
        }
        fds.sort_unstable();
        fds.truncate(limit);
        fds
    }

    /// Returns the network's addresses that the server listens on, in the order of
    /// [`super::Builder::listen`], with the ports that were chosen for port 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.shared.addresses
    }

    /// Returns all that the server listens on without TLS, Unix sockets as well, in the same order.
    #[must_use]
    pub fn listening(&self) -> &[ListenAddress] {
        &self.shared.listening
    }

    /// Returns all that the server listens on with TLS.
    #[must_use]
    pub fn listening_tls(&self) -> &[ListenAddress] {
        &self.shared.listening_tls
    }

    /// Reads the server's statistics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.shared, self.timers.len())
    }

    /// Makes a WebSocket a member of a topic.
    pub fn subscribe(&self, fd: Fd, topic: impl Into<Arc<str>>) {
        self.subscribe_after(fd, topic, &[]);
    }

    /// Sends `first` to a WebSocket and then makes it a member of a topic, with no message of the
    /// topic before or between.
    pub fn subscribe_after(&self, fd: Fd, topic: impl Into<Arc<str>>, first: &[Message<'_>]) {
        let _pass = self.enter();
        let mut frames = Vec::new();
        for message in first {
            frames.extend_from_slice(&encoded(*message));
        }
        turn::note_pushed(fd, frames.len());
        let (topic, frames_first) = (topic.into(), frames.into());
        self.put(
            fd.reactor(),
            Command::Subscribe {
                fd,
                topic,
                frames_first,
            },
        );
    }

    /// Ends the membership of a WebSocket in a topic.
    pub fn unsubscribe(&self, fd: Fd, topic: impl Into<Arc<str>>) {
        let _pass = self.enter();
        let topic = topic.into();
        self.put(fd.reactor(), Command::Unsubscribe { fd, topic });
    }

    /// Sends a message to all members of a topic: encoded once, one command a reactor; and compressed
    /// once, where it is large enough for that and somebody here understands it.
    pub fn publish<'a>(&self, topic: impl Into<Arc<str>>, message: impl Into<Message<'a>>) {
        let frame = self.shared.frames_of(message.into());
        self.publish_frame(&topic.into(), &frame);
    }

    /// Sends a message to all members of a topic, together with what follows within `delay_ms`, so
    /// that a member gets all of it in one write. The order within the topic stays; a member that
    /// leaves the topic, or is disconnected, gets what waits for it at once, and so do all when
    /// [`GatherBounds`](super::GatherBounds) are reached.
    pub fn publish_gathered<'a>(
        &self,
        topic: impl Into<Arc<str>>,
        message: impl Into<Message<'a>>,
        delay_ms: u16,
    ) {
        let slow = SlowWay::Waits;
        let frame = encoded(message.into());
        self.deliver(topic.into(), frame, DeliveryWay { delay_ms, slow });
    }

    /// Sends a message to all members of a topic. Where it waits for a slow reader, the next one of
    /// this kind takes its place, together with its own `gap`, which nobody else gets; so these
    /// messages never make a reader one that is closed for too many bytes. With `delay_ms` above 0 it
    /// waits for more, as in [`Handle::publish_gathered`].
    ///
    /// A topic with such messages should have no others but those of [`Handle::publish_fence`]: a
    /// newer message may pass them.
    pub fn publish_latest<'a>(
        &self,
        topic: impl Into<Arc<str>>,
        message: impl Into<Message<'a>>,
        gap: Option<Message<'_>>,
        delay_ms: u16,
    ) {
        let mut frames = gap.map(encoded).unwrap_or_default();
        let start = frames.len() as u32;
        frames.extend_from_slice(&encoded(message.into()));
        let slow = SlowWay::Latest { start };
        self.deliver(topic.into(), frames, DeliveryWay { delay_ms, slow });
    }

    /// Sends a message to all members of a topic of [`Handle::publish_latest`] that keeps its place
    /// among the others: what waits for a slow reader then is replaced no more.
    pub fn publish_fence<'a>(&self, topic: impl Into<Arc<str>>, message: impl Into<Message<'a>>) {
        let (delay_ms, slow) = (0, SlowWay::Fence);
        let frame = encoded(message.into());
        self.deliver(topic.into(), frame, DeliveryWay { delay_ms, slow });
    }

    /// Sends a message to every WebSocket: encoded once, one command a reactor.
    pub fn broadcast<'a>(&self, message: impl Into<Message<'a>>) {
        let _pass = self.enter();
        let frame = self.shared.frames_of(message.into());
        for reactor in 0..self.shared.mailboxes.len() {
            self.put(reactor, Command::Broadcast(frame.clone()));
        }
    }

    /// Asks for one call of [`super::Builder::on_buffer_empty`] when at most `bytes_max` bytes wait
    /// for this connection, those of earlier pushes among them.
    pub fn await_buffer(&self, fd: Fd, bytes_max: usize) {
        self.await_room(fd, bytes_max, AwaitedBy::User);
    }

    /// Closes a WebSocket, or cuts an HTTP connection.
    pub(super) fn give_up(&self, fd: Fd, code: u16, reason: &str) {
        let _pass = self.enter();
        let reason = Box::from(reason);
        self.put(fd.reactor(), Command::Disconnect { fd, code, reason });
    }

    pub(super) fn await_room(&self, fd: Fd, bytes_max: usize, by: AwaitedBy) {
        let _pass = self.enter();
        self.put(fd.reactor(), Command::AwaitBuffer { fd, bytes_max, by });
    }

    /// Makes the reactors look again at the connections that they held back because a pressure of
    /// [`super::Builder::pressure`] was high.
    pub fn nudge(&self) {
        self.shared.nudge_reactors();
    }

    /// Binds a WebSocket to a user, who may have any number of WebSockets; binding it to the same
    /// user again changes nothing.
    ///
    /// # Errors
    ///
    /// [`BindError`]; then nothing has changed.
    pub fn bind(&self, fd: Fd, user: &str) -> Result<(), BindError> {
        let _pass = self.enter();
        let directory = self
            .shared
            .directory_of(fd)
            .ok_or(BindError::NotEstablished(fd))?;
        directory.bind(fd, &Arc::from(user))?;
        self.subscribe(fd, user_topic(user));
        Ok(())
    }

    /// Ends the binding of a WebSocket; returns the user to whom it was bound.
    pub fn unbind(&self, fd: Fd) -> Option<Arc<str>> {
        let _pass = self.enter();
        let user = self.shared.directory_of(fd)?.unbind(fd)?;
        self.unsubscribe(fd, user_topic(&user));
        Some(user)
    }

    /// Sends a message to all WebSockets of a user.
    pub fn push_to_user<'a>(&self, user: &str, message: impl Into<Message<'a>>) {
        self.publish(user_topic(user), message);
    }

    /// Calls `callback` on a worker every `every_ms` milliseconds, until the timer is cleared.
    pub fn tick(
        &self,
        every_ms: u64,
        callback: impl Fn(&WorkerHandle) + Send + Sync + 'static,
    ) -> TimerId {
        self.start_timer(Times::UntilCleared, every_ms, Arc::new(callback))
    }

    /// Calls `callback` on a worker once, after `ms` milliseconds.
    pub fn after(
        &self,
        ms: u64,
        callback: impl Fn(&WorkerHandle) + Send + Sync + 'static,
    ) -> TimerId {
        self.start_timer(Times::Once, ms, Arc::new(callback))
    }

    /// Ends a timer; returns `false` if the timer had fired for the last time, or was cleared
    /// before.
    pub fn clear(&self, timer: TimerId) -> bool {
        let _pass = self.enter();
        // Sent in the same way as the start of the timer, so it arrives after the start.
        let clear = Command::ClearTimer(timer.0);
        self.shared.send(0, CommandBatch::of(clear));
        self.timers.remove(timer)
    }

    /// Gives a task to the process that runs [`super::Builder::on_task`]; the task's result goes to
    /// [`super::Builder::on_finish`].
    ///
    /// An accepted task is run at least once, even if the process dies.
    ///
    /// # Errors
    ///
    /// [`TaskError`]; then the task was not accepted.
    pub fn task(&self, payload: impl Into<bytes::Bytes>) -> Result<TaskId, TaskError> {
        self.process(TASK_PROCESS)
            .ok_or(TaskError::NoProcess)?
            .task(payload)
    }

    /// Returns the link to a process of [`super::Builder::process`].
    #[must_use]
    pub fn process(&self, name: &str) -> Option<&ProcessLink> {
        self.shared.processes.get(name)
    }

    /// Puts other bounds and times into force while the server runs: nobody is disconnected, and every
    /// connection goes by them from its next frame or deadline on. The marks of queues and the settings
    /// of processes stay what they were at the start.
    ///
    /// Each reactor has a part in `rollout`, until all its connections go by them.
    pub fn set_settings(&self, settings: &ServerSettings, rollout: &Rollout) {
        self.shared.set_settings(settings, rollout);
    }

    /// Whether a stop is under way.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.main.is_asked_to_stop()
    }

    /// Asks for a renewal, as SIGUSR1 does: the callbacks of [`super::Builder::handlers`] are made anew,
    /// the threads of the workers are replaced one after another, and then the processes. Nothing that
    /// waits is lost, and no connection notices.
    ///
    /// While a renewal is under way, all who ask get the next one.
    pub fn reload(&self) -> Renewal {
        self.shared.main.ask_to_renew()
    }

    /// Asks for an upgrade, as SIGUSR2 does: the file that the program was started from is executed in its
    /// place and goes on with all connections; see [`Builder::upgradable`](super::Builder::upgradable).
    ///
    /// While one is under way, all who ask get the next one. Where the upgrade succeeds there is nobody left
    /// to be told; [`Handle::last_upgrade`] tells the next image, and this one where it stays.
    pub fn upgrade(&self) {
        self.shared.main.ask_to_upgrade();
    }

    /// The end of the last upgrade, in `on_start` already; `None` if there was none.
    #[must_use]
    pub fn last_upgrade(&self) -> Option<UpgradeOutcome> {
        self.shared.main.upgrades.last()
    }

    /// Asks the server to stop gracefully, as SIGTERM does.
    pub fn stop(&self) {
        self.shared.main.ask_to_stop();
    }

    /// Stops the server at once, as a second signal does: connections are cut, and what isn't finished
    /// is counted.
    pub fn stop_now(&self) {
        self.shared.main.ask_to_force();
    }

    /// Stops the server in order, since something that it can't do without has ended: like
    /// [`Handle::stop`], but the outcome isn't clean.
    pub fn fail(&self, reason: &str) {
        self.shared.main.fail(reason);
    }

    /// The reason of [`Handle::fail`], or the thread of the server that has died; `None` while all
    /// is well.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.shared.main.failure()
    }

    fn start_timer(&self, times: Times, after_ms: u64, callback: TimerCallback) -> TimerId {
        let _pass = self.enter();
        let timer = self.timers.add(times, callback);
        let repeats = times == Times::UntilCleared;
        let start = Command::StartTimer {
            timer: timer.0,
            after_ms,
            repeats,
        };
        // Sent at once: any thread that learns the timer's name may clear it, and its command
        // must come after this one.
        self.shared.send(0, CommandBatch::of(start));
        timer
    }

    fn deliver(&self, topic: Arc<str>, frames: Vec<u8>, way: DeliveryWay) {
        let _pass = self.enter();
        let frames = self.shared.budget.shared(frames);
        for reactor in 0..self.shared.mailboxes.len() {
            let (topic, frames) = (Arc::clone(&topic), frames.clone());
            self.put(reactor, Command::Deliver { topic, frames, way });
        }
    }

    /// Begins a call that changes something; a call of a foreign thread waits while the server stands
    /// still.
    pub(super) fn enter(&self) -> Option<CallPass<'_>> {
        self.delivery.enter(&self.shared)
    }

    pub(super) fn put(&self, reactor: usize, command: Command) {
        self.delivery.put(&self.shared, reactor, command);
    }
}

impl Handle {
    /// Brings the whole server to a stand for an errand, and then has it go on.
    #[doc(hidden)]
    pub fn freeze(&self, errand: FreezeErrand) {
        self.shared.main.ask_to_freeze(errand);
    }

    /// Brings the whole server to a stand, and has it go on at once; `at_step` is called on the main
    /// thread before each step.
    ///
    /// # Errors
    ///
    /// [`FreezeError`]: it was taken back, and all goes on as before.
    #[doc(hidden)]
    pub fn freeze_trial(
        &self,
        at_step: impl FnMut(FreezeStep) + Send + 'static,
    ) -> Result<FreezeTimes, FreezeError> {
        let (tell, told) = crossbeam_channel::bounded(1);
        let ended = move |outcome| drop(tell.send(outcome));
        self.freeze(FreezeErrand::new(|_| {}, ended).at_each_step(at_step));
        told.recv().unwrap_or(Err(FreezeError::Stops))
    }

    /// Returns a handle whose commands travel together, at each [`WorkerHandle::flush`].
    #[must_use]
    pub fn gathering(&self) -> WorkerHandle {
        let (shared, timers) = (Arc::clone(&self.shared), Arc::clone(&self.timers));
        let delivery = PerBatch::new(shared.mailboxes.len(), None);
        Handle::new(shared, timers, delivery)
    }
}

impl WorkerHandle {
    /// The number of the thread that runs this callback of a connection, as
    /// [`Handle::callback_thread_of`] counts.
    #[must_use]
    pub fn thread_of_callback(&self, fd: Fd) -> usize {
        let own = self.delivery.own();
        own.unwrap_or_else(|| self.callback_thread_of(fd))
    }

    /// Whether a callback should stop inside the message of `fd` that it handles, since others wait
    /// or since `fd` has enough answers to read; [`WorkerHandle::stop_at`] stops there.
    ///
    /// To be asked after each part of a message that holds several.
    #[must_use]
    pub fn must_stop(&self, fd: Fd) -> bool {
        turn::is_of(fd) && turn::is_over()
    }

    /// Has the message that is being handled come again, with `parts` as [`Frame::parts`], at this
    /// connection's next turn; the connection's later messages stay behind it. For use after
    /// [`WorkerHandle::must_stop`]; the callback returns then.
    ///
    /// [`Frame::parts`]: super::Frame::parts
    pub fn stop_at(&self, parts: u32) {
        turn::stop_at(parts);
    }

    /// Sends the commands of this callback now, so that commands of other handles come after them.
    pub fn flush(&self) {
        // A thread of its own may gather commands as well.
        let _pass = self.shared.freeze.gate.enter();
        self.delivery.flush(&self.shared);
    }
}

/// Returns the topic whose members are all connections of a user.
fn user_topic(user: &str) -> String {
    format!("@{user}")
}
