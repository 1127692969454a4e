//! The part of a handle that decides when the callbacks of one connection run: pauses, and functions ahead
//! of what they hold back.

use super::connection_job::{ConnectionJob, UserFunction};
use super::delivery::Delivery;
use super::handle::{Handle, WorkerHandle};
use super::turn;
use crate::base::Fd;

impl<D: Delivery> Handle<D> {
    /// Pauses a connection, as Swoole's `pause` does: nothing is read from it, and the callbacks of what
    /// was read already are held back, `on_close` among them, until [`Handle::resume`]. Called in a
    /// callback of this very connection, no other one of it follows; from elsewhere, one that begins in
    /// this moment may. To pause again changes nothing. Pushes go on, and so does `on_buffer_empty`.
    ///
    /// Whoever pauses has to resume, even where the peer has gone meanwhile: its end stands behind what it
    /// said. A pause is over as well once the connection is disconnected, by [`Handle::disconnect`] or for
    /// a bound: what is held back counts as what waits for its turn, and where that is too much in all,
    /// those with the most of it are closed with 1013. A stop waits for what is held back until its time
    /// is up, and an upgrade carries it and the pause.
    ///
    /// A message in parts ([`Frame::parts`](super::Frame::parts)) stays where it was stopped.
    ///
    /// ```no_run
    /// use tidings::server::Server;
    ///
    /// # fn is_allowed(_: &str) -> bool { true }
    /// # fn main() -> Result<(), tidings::server::ServerError> {
    /// Server::builder()
    ///     .listen("127.0.0.1:9502")
    ///     .on_open(|server, request| {
    ///         // Nothing that it says is heard until somebody has looked it up.
    ///         let (server, fd) = (server.handle(), request.fd);
    ///         server.pause(fd);
    ///         let name = request.path().to_owned();
    ///         std::thread::spawn(move || {
    ///             let is_allowed = is_allowed(&name);
    ///             server.run(fd, move |server| {
    ///                 let told = match is_allowed {
    ///                     true => server.push(fd, "welcome"),
    ///                     false => server.disconnect(fd, 4_403, "unknown"),
    ///                 };
    ///                 told.ok();
    ///             });
    ///             server.resume(fd);
    ///         });
    ///     })
    ///     .on_message(|server, frame| drop(server.push(frame.fd, frame)))
    ///     .run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pause(&self, fd: Fd) {
        let _pass = self.enter();
        // A callback runs, so the end of the connection isn't told yet.
        (self.shared.pauses).begin(fd, || turn::is_of(fd) || self.exists(fd));
    }

    /// Ends a pause, as Swoole's `resume` does: what was held back is handled in its order, behind what
    /// was given to [`Handle::run`] before, and the connection is read again.
    pub fn resume(&self, fd: Fd) {
        let _pass = self.enter();
        if let Some(pause) = self.shared.pauses.ask_for_end(fd) {
            self.delivery.send_before(&self.shared);
            (self.shared).submit_for(fd, ConnectionJob::GoOn { fd, pause });
        }
    }

    /// Calls a function on the thread that runs the callbacks of a connection, HTTP or WebSocket: beside
    /// none of them, behind those of what was read and handed on before, and ahead of what a
    /// [`Handle::pause`] holds back. If it panics, a WebSocket is closed with 1011.
    ///
    /// It is dropped without a call where the connection has ended by then.
    pub fn run(&self, fd: Fd, function: impl FnOnce(&WorkerHandle) + Send + 'static) {
        let _pass = self.enter();
        self.delivery.send_before(&self.shared);
        let function = UserFunction::new(function);
        (self.shared).submit_for(fd, ConnectionJob::Call { fd, function });
    }
}
