//! What is so about each row of the bindings, for the thread that writes them.

use std::sync::Arc;

use super::Chat;
use super::binding_queue::BindingQueue;
use super::bindings::{BindingChange, BindingKey};
use super::error::ChatError;
use crate::base::Fd;

impl Chat {
    /// Has all changes of bindings noted in `queue`; to be called before anybody else calls the chat.
    pub fn feed(&mut self, queue: Arc<BindingQueue>) {
        self.common.bindings = Some(queue);
    }

    /// Says what is so about a row at this moment.
    #[must_use]
    pub fn binding(&self, row: BindingKey) -> BindingChange {
        match row {
            BindingKey::Connection(fd, user) => {
                let mut shard = self.connections.lock_number(fd.0);
                let owner = shard.login_of(fd).ok().map(|own| own.user == user);
                match owner {
                    Some(true) => BindingChange::Connected {
                        fd,
                        user,
                        record: shard.record_of(fd),
                    },
                    _ => BindingChange::Closed { fd, user },
                }
            }
            BindingKey::Member(room, user) => {
                let channels = &mut self.rooms.lock(&room).channels;
                let found = channels.find(&room);
                let connections =
                    found.map_or(0, |(_, found)| found.audience.connections_of(&user));
                BindingChange::Present {
                    room,
                    user,
                    connections,
                }
            }
            BindingKey::Lasting(room, user) => {
                let is_member = self.lasting_of(&user).contains(&room);
                BindingChange::Lasting {
                    room,
                    user,
                    is_member,
                }
            }
        }
    }

    /// Shows all rows that there are, shard by shard; each shard is locked while its rows are copied.
    pub fn each_binding(&self, visit: &mut dyn FnMut(BindingChange)) {
        for part in 0..self.connections.len() {
            let rows = {
                let shard = self.connections.lock_part(part);
                let logged_in = shard.in_order().into_iter().filter_map(|(fd, own)| {
                    let user = own.login.as_ref()?.user.clone();
                    Some((fd, user, shard.record_of(fd)))
                });
                logged_in.collect::<Vec<_>>()
            };
            for (fd, user, record) in rows {
                visit(BindingChange::Connected { fd, user, record });
            }
        }
        for part in 0..self.inboxes.len() {
            let rows = self.inboxes.lock_part(part).lasting.clone();
            for (user, rooms) in rows {
                for room in rooms {
                    visit(BindingChange::Lasting {
                        room,
                        user: user.clone(),
                        is_member: true,
                    });
                }
            }
        }
        for part in 0..self.rooms.len() {
            let rows = {
                let shard = self.rooms.lock_part(part);
                let members = shard.channels.by_name.in_order().flat_map(|(name, room)| {
                    let users = room.audience.users(None);
                    let here = users.filter(|(_, connections, _)| *connections > 0);
                    here.map(|(user, connections, _)| (Arc::clone(name), user.clone(), connections))
                });
                members.collect::<Vec<_>>()
            };
            for (room, user, connections) in rows {
                visit(BindingChange::Present {
                    room,
                    user,
                    connections,
                });
            }
        }
    }

    /// Replaces the session data of a connection that is logged in.
    ///
    /// # Errors
    ///
    /// [`ChatError::NoConnection`],
    /// [`ChatError::NotLoggedIn`], or there is too much of it; nothing has
    /// changed then.
    pub fn set_session(&self, fd: Fd, session: &str) -> Result<(), ChatError> {
        let common = &self.common;
        let max = common.settings.session_bytes_max();
        if session.len() > max {
            return Err(ChatError::SessionTooLarge(max));
        }
        let mut shard = self.connections.lock_number(fd.0);
        let user = shard.login_of(fd)?.user.clone();
        let mut record = shard.record_of(fd);
        let before = record.session.as_ref().map_or(0, |session| session.len());
        let (gauge, total_max) = (
            &common.totals.session_bytes,
            common.settings.sessions_bytes_max(),
        );
        if !gauge.replace_below(before, session.len(), total_max) {
            common.totals.refused_full.add(1);
            return Err(ChatError::SessionsFull(total_max));
        }
        record.session = Some(session.into());
        shard.set_record(fd, record);
        common.note(|| BindingKey::Connection(fd, user));
        Ok(())
    }

    /// Returns the session data of a connection, which may have none.
    ///
    /// # Errors
    ///
    /// [`ChatError::NoConnection`],
    /// [`ChatError::NotLoggedIn`].
    pub fn session(&self, fd: Fd) -> Result<Option<Arc<str>>, ChatError> {
        let mut shard = self.connections.lock_number(fd.0);
        shard.login_of(fd)?;
        Ok(shard.record_of(fd).session)
    }
}
