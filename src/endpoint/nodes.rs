//! What is so in the whole cluster: this node's own facts, and those of the other nodes beside them.
//!
//! All of this may wait for the engine of the cluster or for another node, so it runs on the thread for
//! look-ups alone. A server by itself has nobody else to ask, and is answered by its chat at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::far_sink::FarSink;
use super::frames;
use super::server_sink::ServerSink;
use super::services::Services;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{
    Actor, ChannelKind, ChatError, ErrorCode, FarRoom, MemberView, NewMessage, NodeAnswer,
    NodeRequest, NodeView, NodesError, Recipient, RoomDepth, RoomView, SayOutcome, User,
};
use crate::server::WorkerHandle;

impl From<NodesError> for Refusal {
    fn from(error: NodesError) -> Self {
        Self::new(ErrorCode::Unavailable, error.to_string())
    }
}

/// The users of a room in the whole cluster.
#[derive(Debug, Default)]
pub(super) struct RoomUsers {
    /// The first by their uids, each with all connections there.
    pub(super) users: BTreeMap<Box<str>, usize>,
    /// How many there are, also those that aren't listed; in a very large room one who is on two nodes
    /// counts twice.
    pub(super) total: usize,
    /// Connections there.
    pub(super) connections: usize,
}

impl RoomUsers {
    /// Puts this node's users of a room and those of the others together.
    pub(super) fn of(
        own: impl Iterator<Item = (Box<str>, usize)>,
        (own_total, own_connections): (usize, usize),
        far: Option<FarRoom>,
    ) -> Self {
        let mut users: BTreeMap<Box<str>, usize> = own.collect();
        let own_listed = users.len();
        let Some(far) = far else {
            return Self {
                users,
                total: own_total,
                connections: own_connections,
            };
        };
        let connections = own_connections + far.connections;
        let is_whole = own_listed == own_total && far.users.len() == far.users_total;
        for (uid, connections) in far.users {
            *users.entry(uid).or_default() += connections;
        }
        let total = match is_whole {
            true => users.len(),
            false => own_total + far.users_total,
        };
        Self {
            users,
            total,
            connections,
        }
    }
}

impl Services {
    /// What is asked of a room whose users are to be counted, and listed from the first behind `after`.
    pub(super) fn room_depth<'a>(&self, after: Option<&'a str>) -> RoomDepth<'a> {
        let settings = self.chat.settings();
        RoomDepth {
            exact_users_max: settings.presence_users_max(),
            users_max: settings.list_max() + 1,
            after,
            asks_lasting: false,
        }
    }

    /// What the other nodes have of a room.
    pub(super) fn far_room(
        &self,
        room: &str,
        depth: RoomDepth<'_>,
    ) -> Result<Option<FarRoom>, Refusal> {
        match self.nodes() {
            Some(nodes) => Ok(nodes.room(room, depth)?),
            None => Ok(None),
        }
    }

    /// The users of a room who are present, on all nodes.
    pub(super) fn users_of(&self, room: &str) -> Result<RoomUsers, Refusal> {
        let list_max = self.chat.settings().list_max();
        let far = self.far_room(room, self.room_depth(None))?;
        let exact_max = self.chat.settings().presence_users_max().max(list_max);
        let (own, own_total) = self.chat.present_in(room, exact_max);
        let here = self.chat.room(room).map_or(0, |room| room.connections);
        let own = own
            .into_iter()
            .map(|(user, count)| (user.uid().into(), count));
        Ok(RoomUsers::of(own, (own_total, here), far))
    }

    /// Tells a room that it is told again who comes and goes, once it is known who is there.
    pub(super) fn tell_who_is_there(self: &Arc<Self>, room: &str) {
        let room = Box::<str>::from(room);
        self.do_on_lookups(move |services| {
            let Ok(RoomUsers { users, total, .. }) = services.users_of(&room) else {
                return;
            };
            let list_max = services.chat.settings().list_max();
            let users = users.keys().take(list_max);
            let users: Vec<User> = users.map(|uid| User::of_uid(uid)).collect();
            if let Some(mut sink) = ServerSink::anywhere(services) {
                (services.chat).tell_who_is_there(&mut sink, &room, &users, total);
            }
        });
    }
}

/// A user, on all nodes.
#[derive(Debug, Default)]
pub(super) struct ClusterUser {
    /// The connections on all nodes, in the order of their logins.
    pub(super) connections: Vec<Fd>,
    /// Rooms of all connections and lasting ones, by name.
    pub(super) rooms: Vec<Arc<str>>,
    /// The session data of connections that have some.
    pub(super) sessions: Vec<(Fd, Arc<str>)>,
}

impl Services {
    /// Says what is so of a user on all nodes.
    pub(super) fn user_anywhere(&self, uid: &str) -> Result<ClusterUser, Refusal> {
        let mut user = ClusterUser::default();
        if let Some(own) = self.chat.user(uid) {
            let session = |fd: &Fd| Some((*fd, self.chat.session(*fd).ok().flatten()?));
            user.sessions = own.connections.iter().filter_map(session).collect();
            user.connections = own.connections;
            user.rooms = own.rooms;
        }
        let Some(nodes) = self.nodes() else {
            return Ok(user);
        };
        let far = nodes.user(uid)?;
        let own = user.connections.drain(..);
        let mut connections: Vec<(u64, Fd)> =
            own.map(|fd| (self.chat.logged_in_at(fd), fd)).collect();
        for connection in far.connections {
            connections.push((connection.record.since_unix_ms, connection.fd));
            let session = connection.record.session;
            user.sessions
                .extend(session.map(|session| (connection.fd, session)));
        }
        connections.sort_by_key(|(since_unix_ms, _)| *since_unix_ms);
        user.connections = connections.into_iter().map(|(_, fd)| fd).collect();
        user.rooms.extend(far.rooms);
        user.rooms.sort_unstable();
        user.rooms.dedup();
        Ok(user)
    }

    /// Lists the generations of the other nodes on which a user is.
    pub(super) fn nodes_of(&self, uid: &str) -> Result<Vec<u64>, Refusal> {
        let Some(nodes) = self.nodes() else {
            return Ok(Vec::new());
        };
        let connections = nodes.user(uid)?.connections.into_iter();
        let mut found: Vec<u64> = connections.map(|one| one.generation).collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Asks something of another node.
    pub(super) fn ask_node(
        &self,
        generation: u64,
        request: &NodeRequest,
    ) -> Result<NodeAnswer, Refusal> {
        match self.nodes() {
            Some(nodes) => Ok(nodes.request(generation, request)?),
            None => Err(NodesError::Away("there are no other nodes".into()).into()),
        }
    }

    /// Asks something of the node that a connection is on; 404 where there is no such connection.
    pub(super) fn ask_node_of(&self, fd: Fd, request: &NodeRequest) -> Result<NodeAnswer, Refusal> {
        let none = || Refusal::not_found(format!("there is no connection {fd}"));
        let nodes = self.nodes().ok_or_else(none)?;
        let generation = nodes.node_of(fd)?.ok_or_else(none)?;
        if generation == nodes.own_generation() {
            return Err(none());
        }
        // One that has only just begun isn't known to be alive before its beat was read.
        let stands = || {
            Ok::<_, Refusal>(
                nodes
                    .nodes()?
                    .iter()
                    .any(|one| one.generation == generation),
            )
        };
        if !nodes.is_alive(generation) && !stands()? {
            return Err(none());
        }
        Ok(nodes.request(generation, request)?)
    }

    /// Has another node push a frame to a connection.
    pub(super) fn push_elsewhere(&self, fd: Fd, text: Box<str>) -> Result<(), Refusal> {
        let request = NodeRequest::Push { fd, message: text };
        match self.ask_node_of(fd, &request)?.status {
            200 => Ok(()),
            503 => Err(Refusal::new(
                ErrorCode::Unavailable,
                "that node isn't ready",
            )),
            _ => Err(ChatError::NoConnection(fd).into()),
        }
    }

    /// Says a message to a connection that isn't here: returns the frame for it, and the fields of the
    /// answer behind what `json` begins with.
    pub(super) fn message_to_far(
        &self,
        actor: Actor<'_>,
        fd: Fd,
        message: &NewMessage<'_>,
        json: Json,
    ) -> Result<(Box<str>, Json), Refusal> {
        let mut sink = FarSink::default();
        let said = self
            .chat
            .say(&mut sink, self.now(), actor, Recipient::Fd(fd), message)?;
        match said {
            SayOutcome::Said(receipt) => Ok((sink.text.into(), frames::said(json, &receipt))),
            SayOutcome::Pending(_) => Err(Refusal::new(
                ErrorCode::Internal,
                "a message to a connection isn't kept",
            )),
        }
    }

    /// Whether a receiver is a connection that another node may have.
    pub(super) fn is_far(&self, server: &WorkerHandle, recipient: Recipient<'_>) -> Option<Fd> {
        match recipient {
            Recipient::Fd(fd) if self.nodes().is_some() && !server.exists(fd) => Some(fd),
            _ => None,
        }
    }

    /// Answers who is in a room on all nodes, behind what `json` begins with.
    pub(super) fn who_anywhere(&self, room: &str, json: Json) -> Result<Json, Refusal> {
        let RoomUsers {
            users,
            total,
            connections,
        } = self.users_of(room)?;
        let list_max = self.chat.settings().list_max();
        let listed = total.min(users.len()).min(list_max);
        let users: Vec<Box<str>> = users.into_keys().take(list_max).collect();
        Ok(json
            .strings("users", users)
            .number("users_total", total as u64)
            .number("connections", connections as u64)
            .flag("more", listed < total))
    }

    /// Tells of each user whether there is a connection on any node, where this node's own are known.
    pub(super) fn online_anywhere(
        &self,
        uids: &[&str],
        mut own: Vec<bool>,
    ) -> Result<Vec<bool>, Refusal> {
        if let Some(nodes) = self.nodes() {
            let far = nodes.online(uids)?;
            own.iter_mut().zip(far).for_each(|(own, far)| *own |= far);
        }
        Ok(own)
    }

    /// Finds a node by its name.
    pub(super) fn node_named(&self, name: &str) -> Result<NodeView, Refusal> {
        let nodes = match self.nodes() {
            Some(nodes) => nodes.nodes()?,
            None => Vec::new(),
        };
        let found = nodes.into_iter().find(|node| *node.name == *name);
        found.ok_or_else(|| Refusal::not_found(format!("there is no node {name:?}")))
    }

    /// Has this node send its clients away.
    pub(super) fn drain(&self, within_ms: u64) -> Result<(), Refusal> {
        let drain = self
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.drain.get());
        let drain = drain.ok_or_else(|| {
            Refusal::new(
                ErrorCode::Unavailable,
                "this node can't be drained from here",
            )
        })?;
        drain(within_ms);
        Ok(())
    }
}

impl Services {
    /// Describes rooms of all nodes, in the order of their names.
    pub(super) fn rooms_anywhere(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RoomView>, Refusal> {
        let own = self.chat.rooms(prefix, after, limit);
        let Some(nodes) = self.nodes() else {
            return Ok(own);
        };
        let depth = RoomDepth {
            users_max: 0,
            ..self.room_depth(None)
        };
        let far = nodes.rooms(prefix, after, limit, depth)?.into_iter();
        let mut far: BTreeMap<Arc<str>, FarRoom> =
            far.map(|room| (Arc::clone(&room.name), room)).collect();
        let views = own.into_iter().map(|room| {
            let far = far.remove(&room.name);
            self.room_with(Some(room), far)
        });
        let mut views: Vec<RoomView> = views.flatten().collect();
        let others = far
            .into_values()
            .filter_map(|far| self.room_with(None, Some(far)));
        views.extend(others);
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views.truncate(limit);
        Ok(views)
    }

    /// Describes a room of any node; `None` where there is no such room.
    pub(super) fn room_anywhere(&self, room: &str) -> Result<Option<RoomView>, Refusal> {
        let depth = RoomDepth {
            users_max: 0,
            ..self.room_depth(None)
        };
        let far = self.far_room(room, depth)?;
        Ok(self.room_with(self.chat.room(room), far))
    }

    /// Puts what this node and what the others have of a room together.
    fn room_with(&self, own: Option<RoomView>, far: Option<FarRoom>) -> Option<RoomView> {
        let Some(far) = far else {
            return own;
        };
        let keeps = self.chat.kind_of_shared(&far.name) != ChannelKind::None;
        let kept = far.kept.filter(|_| keeps);
        let mut view = own.unwrap_or_else(|| RoomView {
            name: Arc::clone(&far.name),
            position: kept.map(|(position, _)| position),
            users: 0,
            connections: 0,
            messages: 0,
        });
        view.messages = kept.map_or(0, |(_, messages)| messages);
        view.connections += far.connections;
        let exact_max = self.chat.settings().presence_users_max();
        let (own, own_total) = self.chat.present_in(&far.name, exact_max);
        let own = own
            .into_iter()
            .map(|(user, count)| (user.uid().into(), count));
        view.users = RoomUsers::of(own, (own_total, 0), Some(far)).total;
        Some(view)
    }

    /// Lists members of a room of any node, also lasting ones who are away, by their uids; `None` where
    /// there is no such room.
    pub(super) fn members_anywhere(
        &self,
        room: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<MemberView>>, Refusal> {
        let own = self.chat.members(room, after, limit);
        if self.nodes().is_none() {
            return Ok(own);
        }
        let depth = RoomDepth {
            users_max: limit,
            asks_lasting: true,
            ..self.room_depth(after)
        };
        let far = self.far_room(room, depth)?;
        if own.is_none() && far.is_none() {
            return Ok(None);
        }
        let own = own.unwrap_or_default().into_iter();
        let mut members: BTreeMap<Box<str>, usize> = own
            .map(|member| (member.user.uid().into(), member.connections))
            .collect();
        let far = far.unwrap_or_default();
        let there = far
            .users
            .into_iter()
            .filter(|(_, connections)| *connections > 0);
        let lasting = far.lasting.into_iter().map(|uid| (uid, 0));
        for (uid, connections) in there.chain(lasting) {
            if after.is_none_or(|after| *uid > *after) {
                *members.entry(uid).or_default() += connections;
            }
        }
        let members = members.into_iter().take(limit);
        let member = |(uid, connections): (Box<str>, usize)| MemberView {
            user: User::of_uid(&uid),
            connections,
        };
        Ok(Some(members.map(member).collect()))
    }
}
