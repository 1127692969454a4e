//! What is so about each row of the bindings, for the thread that writes them.

use std::sync::Arc;

use super::Chat;
use super::binding_queue::BindingQueue;
use super::bindings::{BindingChange, BindingKey, BindingScope};
use super::channels::Audience as _;
use super::error::ChatError;
use super::name::{EVERYONE, User};
use crate::base::Fd;
use crate::base::sync::lock;

impl Chat {
    /// Has all changes of bindings noted in `queue`, too; to be called before anybody else calls the chat.
    pub fn feed(&mut self, queue: Arc<BindingQueue>) {
        self.common.bindings.push(queue);
    }

    /// Has what is written down of a lasting membership compared with what is so: this node of a cluster
    /// has begun or ended it.
    pub fn note_lasting(&self, room: &str, uid: &str) {
        (self.common).note(|| BindingKey::Lasting(room.into(), User::of_uid(uid)));
    }

    /// Has what is written down of a connection as this user's compared with what is so: somebody else
    /// wrote it, for a login that came to nothing.
    pub fn note_connection(&self, fd: Fd, uid: &str) {
        (self.common).note(|| BindingKey::Connection(fd, User::of_uid(uid)));
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
                let (connections, is_present) = found.map_or((0, false), |(_, found)| {
                    let audience = &found.audience;
                    (audience.connections_of(&user), audience.is_present(&user))
                });
                BindingChange::Present {
                    is_leaving: self.common.in_cluster() && connections == 0 && is_present,
                    room,
                    user,
                    connections,
                }
            }
            BindingKey::Heard(channel) => BindingChange::Heard {
                connections: self.heard(&channel),
                channel,
            },
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

    /// Counts the connections that hear a channel.
    fn heard(&self, channel: &str) -> usize {
        if channel == EVERYONE {
            return lock(&self.everyone).connections;
        }
        match channel.strip_prefix('@') {
            Some(uid) => {
                let channels = &mut self.inboxes.lock(uid).channels;
                (channels.find(uid)).map_or(0, |(_, found)| found.audience.connections())
            }
            None => {
                let channels = &mut self.rooms.lock(channel).channels;
                (channels.find(channel)).map_or(0, |(_, found)| found.audience.connections())
            }
        }
    }

    /// Shows how many connections hear each channel that a node of a cluster hears.
    fn each_heard(&self, visit: &mut dyn FnMut(BindingChange)) {
        let mut channels = Vec::new();
        self.attached_channels(&mut |channel, _| channels.push(Arc::clone(channel)));
        for channel in channels {
            let connections = self.heard(&channel);
            visit(BindingChange::Heard {
                channel,
                connections,
            });
        }
    }

    /// Shows all rows of `scope` that there are, shard by shard; each shard is locked while its rows are
    /// copied. Of a node of a cluster they are its own: lasting memberships are none of them.
    pub fn each_binding(&self, scope: BindingScope, visit: &mut dyn FnMut(BindingChange)) {
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
        let in_register = scope == BindingScope::Register;
        if in_register {
            self.each_heard(visit);
        }
        let in_cluster = self.common.in_cluster();
        for part in 0..if in_cluster { 0 } else { self.inboxes.len() } {
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
                    let here = users.filter(move |(_, connections, is_present)| {
                        *connections > 0 || in_register && *is_present
                    });
                    here.map(|(user, connections, _)| (Arc::clone(name), user.clone(), connections))
                });
                members.collect::<Vec<_>>()
            };
            for (room, user, connections) in rows {
                visit(BindingChange::Present {
                    room,
                    user,
                    connections,
                    is_leaving: connections == 0,
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

    /// Returns the time of a connection's login, in Unix milliseconds; 0 where nobody writes that down.
    #[must_use]
    pub fn logged_in_at(&self, fd: Fd) -> u64 {
        let shard = self.connections.lock_number(fd.0);
        shard.record_of(fd).since_unix_ms
    }
}
