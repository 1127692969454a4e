//! The members of one room: their connections, and whether the room is told who comes and goes.

use std::collections::BTreeMap;

use super::channel_table::Listing;
use super::channels::Audience;
use super::fds::Fds;
use super::name::User;
use super::stats::{Gauge, Totals};
use crate::base::{Fd, Tick};

/// The members of one room. A room with one connection takes no allocation: with many private
/// rooms, most are so.
#[derive(Debug)]
pub(super) enum RoomMembers {
    Nobody { since: Tick },
    One(User, Fd),
    Many(Box<ManyMembers>),
}

/// The members of a room with several connections, or with lasting members.
#[derive(Debug, Default)]
pub(super) struct ManyMembers {
    users: BTreeMap<User, RoomMember>,
    /// Users who have a connection here, or had one until less than `left_ms` ago.
    present: usize,
    connections: usize,
    /// Whether the room was told that it isn't told any more who comes and goes.
    is_quiet: bool,
}

/// One user in a room.
#[derive(Debug)]
pub(super) struct RoomMember {
    pub(super) presence: MemberPresence,
    /// Whether the user stays a member without any connection.
    pub(super) lasting: bool,
}

/// A user in a room, as others see it.
#[derive(Debug)]
pub(super) struct RoomMemberView<'a> {
    pub(super) user: &'a User,
    pub(super) lasting: bool,
    /// The time at which the last connection left, while nobody was told.
    pub(super) leaving_since: Option<Tick>,
    pub(super) fds: &'a [Fd],
}

/// Whether a member has connections in the room.
#[derive(Debug)]
pub(super) enum MemberPresence {
    Away,
    /// The last connection left at `since`; nobody was told yet.
    Leaving {
        since: Tick,
    },
    Here(Fds),
}

/// The effect of a connection that enters on the room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The user wasn't here.
    First,
    /// The user has other connections here.
    Further,
    /// The user's last connection left at `since`, and a new one entered before anybody was told.
    Returned { since: Tick },
}

/// The effect of a connection that leaves on the room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The user has other connections here, or the connection wasn't here.
    Unnoticed,
    /// The user has left at once: there is nobody who would have to be told.
    Alone,
    /// The user leaves unless back in time.
    Leaving,
}

/// What becomes of a user whose last connection leaves a room in which nobody else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastUser {
    /// The user has left at once: there is nobody who would have to be told.
    Gone,
    /// The user leaves as any other: somebody may be there on other nodes.
    Leaves,
}

/// The news that a room gets when a user comes or goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PresenceNews {
    /// This user came or went.
    User,
    /// There are too many users now: the room isn't told of them any more.
    Off,
    /// There are few users again: the room is told of them again, and which ones are there.
    On,
    /// Nothing: the room was told before that it isn't told any more.
    Nothing,
}

/// Returns the number of users at which a quiet room is told of them again: a quarter below the
/// bound, so that one user who comes and goes doesn't turn the news on and off.
pub(super) fn users_until_quiet_ends(users_max: usize) -> usize {
    (users_max - users_max / 4).max(1)
}

impl RoomMembers {
    /// Makes the members of a room as they were; `None` if one of them isn't any in truth, or is twice
    /// in the list.
    pub(super) fn as_they_were(
        members: Vec<(User, RoomMember)>,
        is_quiet: bool,
        empty_since: Tick,
    ) -> Option<Self> {
        if let [(user, member)] = &*members
            && let MemberPresence::Here(Fds::One(fd)) = member.presence
            && !member.lasting
            && !is_quiet
        {
            return Some(Self::One(user.clone(), fd));
        }
        if members.is_empty() {
            return Some(Self::Nobody { since: empty_since });
        }
        let count = members.len();
        let mut many = ManyMembers {
            is_quiet,
            ..ManyMembers::default()
        };
        for (_, member) in &members {
            match &member.presence {
                MemberPresence::Away if !member.lasting => return None,
                MemberPresence::Away => continue,
                MemberPresence::Leaving { .. } => {}
                MemberPresence::Here(fds) => many.connections += fds.as_slice().len(),
            }
            many.present += 1;
        }
        many.users = members.into_iter().collect();
        (many.users.len() == count).then(|| Self::Many(Box::new(many)))
    }

    /// Lists the members in the order of their uids, as they are.
    pub(super) fn iter(&self) -> impl Iterator<Item = RoomMemberView<'_>> {
        let one = match self {
            Self::One(user, fd) => Some(RoomMemberView {
                user,
                lasting: false,
                leaving_since: None,
                fds: std::slice::from_ref(fd),
            }),
            _ => None,
        };
        let many = self.many_members(None).map(|(user, member)| {
            let (leaving_since, fds) = match &member.presence {
                MemberPresence::Away => (None, &[][..]),
                MemberPresence::Leaving { since } => (Some(*since), &[][..]),
                MemberPresence::Here(fds) => (None, fds.as_slice()),
            };
            RoomMemberView {
                user,
                lasting: member.lasting,
                leaving_since,
                fds,
            }
        });
        one.into_iter().chain(many)
    }

    /// Whether the room was told that it isn't told any more who comes and goes.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Self::Many(many) if many.is_quiet)
    }

    /// Decides what the room is told of a user who came; rooms of more than `users_max` users
    /// become quiet.
    pub(super) fn news_of_arrival(&mut self, users_max: usize) -> PresenceNews {
        let is_over = self.present() > users_max;
        let was_quiet = match self {
            Self::Many(many) if users_max > 0 => {
                let was_quiet = many.is_quiet;
                many.is_quiet |= is_over;
                was_quiet
            }
            _ => false,
        };
        match (users_max, was_quiet, is_over) {
            (0, ..) | (_, true, _) => PresenceNews::Nothing,
            (_, false, true) => PresenceNews::Off,
            (_, false, false) => PresenceNews::User,
        }
    }

    /// Decides what the room is told of a user who has gone.
    pub(super) fn news_of_departure(&mut self, users_max: usize) -> PresenceNews {
        let ends = self.present() <= users_until_quiet_ends(users_max);
        match self {
            _ if users_max == 0 => PresenceNews::Nothing,
            Self::Many(many) if many.is_quiet && ends => {
                many.is_quiet = false;
                PresenceNews::On
            }
            Self::Many(many) if many.is_quiet => PresenceNews::Nothing,
            _ => PresenceNews::User,
        }
    }

    /// The users who are present, up to `count_max` of them.
    pub(super) fn present_users(&self, count_max: usize) -> Vec<User> {
        let present = self.users(None).filter(|(.., present)| *present);
        present
            .take(count_max)
            .map(|(user, ..)| user.clone())
            .collect()
    }

    /// Users who have a connection here, or had one until less than `left_ms` ago.
    pub(super) fn present(&self) -> usize {
        match self {
            Self::Nobody { .. } => 0,
            Self::One(..) => 1,
            Self::Many(many) => many.present,
        }
    }

    /// Whether `user` has a connection here, or had one until less than `left_ms` ago.
    pub(super) fn is_present(&self, user: &User) -> bool {
        match self {
            Self::Nobody { .. } => false,
            Self::One(one, _) => one == user,
            Self::Many(many) => many
                .users
                .get(user)
                .is_some_and(|member| !matches!(member.presence, MemberPresence::Away)),
        }
    }

    /// The user's connections here.
    pub(super) fn connections_of(&self, user: &User) -> usize {
        match self {
            Self::Nobody { .. } => 0,
            Self::One(one, _) => usize::from(one == user),
            Self::Many(many) => match many.users.get(user).map(|member| &member.presence) {
                Some(MemberPresence::Here(fds)) => fds.as_slice().len(),
                _ => 0,
            },
        }
    }

    /// The user's connections here, in the order in which they came.
    pub(super) fn fds_of(&self, user: &User) -> Vec<Fd> {
        match self {
            Self::One(one, fd) if one == user => vec![*fd],
            Self::Many(many) => match many.users.get(user).map(|member| &member.presence) {
                Some(MemberPresence::Here(fds)) => fds.as_slice().to_vec(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Adds a connection that isn't here.
    pub(super) fn add(&mut self, user: &User, fd: Fd) -> Arrival {
        if matches!(self, Self::Nobody { .. }) {
            *self = Self::One(user.clone(), fd);
            return Arrival::First;
        }
        let many = self.many_mut();
        many.connections += 1;
        let member = many.users.entry(user.clone()).or_insert(RoomMember {
            presence: MemberPresence::Away,
            lasting: false,
        });
        match &mut member.presence {
            MemberPresence::Here(fds) => {
                fds.push(fd);
                Arrival::Further
            }
            MemberPresence::Away => {
                many.present += 1;
                member.presence = MemberPresence::Here(Fds::One(fd));
                Arrival::First
            }
            MemberPresence::Leaving { since } => {
                let since = *since;
                member.presence = MemberPresence::Here(Fds::One(fd));
                Arrival::Returned { since }
            }
        }
    }

    /// Removes a connection.
    pub(super) fn remove(
        &mut self,
        user: &User,
        fd: Fd,
        now: Tick,
        last_user: LastUser,
    ) -> Departure {
        if last_user == LastUser::Leaves && !matches!(self, Self::Nobody { .. }) {
            self.many_mut();
        }
        match self {
            Self::Many(many) => {
                let departure = many.remove(user, fd, now, last_user);
                self.shrink(now);
                departure
            }
            Self::One(one, only) if one == user && *only == fd => {
                *self = Self::Nobody { since: now };
                Departure::Alone
            }
            _ => Departure::Unnoticed,
        }
    }

    /// Removes a user whose last connection left at `since`; `false` when the user is back.
    pub(super) fn end_leaving(&mut self, user: &User, since: Tick, now: Tick) -> bool {
        let Self::Many(many) = self else {
            return false;
        };
        let Some(member) = many.users.get_mut(user) else {
            return false;
        };
        if !matches!(member.presence, MemberPresence::Leaving { since: then } if then == since) {
            return false;
        }
        many.present -= 1;
        member.presence = MemberPresence::Away;
        if !member.lasting {
            many.users.remove(user);
        }
        self.shrink(now);
        true
    }

    /// Begins or ends a lasting membership; `false` if nothing changed.
    pub(super) fn set_lasting(&mut self, user: &User, lasting: bool, now: Tick) -> bool {
        if !lasting && !matches!(self, Self::Many(_)) {
            return false;
        }
        let many = self.many_mut();
        if lasting {
            let member = many.users.entry(user.clone()).or_insert(RoomMember {
                presence: MemberPresence::Away,
                lasting: false,
            });
            return !std::mem::replace(&mut member.lasting, true);
        }
        let Some(member) = many.users.get_mut(user) else {
            return false;
        };
        let was = std::mem::replace(&mut member.lasting, false);
        if matches!(member.presence, MemberPresence::Away) {
            many.users.remove(user);
            self.shrink(now);
        }
        was
    }

    /// Users behind `after` by their uids, with their connections here and whether they are
    /// present; lasting members who are away, too.
    pub(super) fn users(&self, after: Option<&str>) -> impl Iterator<Item = (&User, usize, bool)> {
        let one = match self {
            Self::One(user, _) if after.is_none_or(|after| user.uid() > after) => Some(user),
            _ => None,
        };
        let many = self
            .many_members(after)
            .map(|(user, member)| match &member.presence {
                MemberPresence::Away => (user, 0, false),
                MemberPresence::Leaving { .. } => (user, 0, true),
                MemberPresence::Here(fds) => (user, fds.as_slice().len(), true),
            });
        one.into_iter().map(|user| (user, 1, true)).chain(many)
    }

    fn many_members(&self, after: Option<&str>) -> impl Iterator<Item = (&User, &RoomMember)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let many = match self {
            Self::Many(many) => Some(many),
            _ => None,
        };
        many.into_iter()
            .flat_map(move |many| many.users.range::<str, _>((from, Unbounded)))
    }

    fn many_mut(&mut self) -> &mut ManyMembers {
        if !matches!(self, Self::Many(_)) {
            let mut many = Box::<ManyMembers>::default();
            if let Self::One(user, fd) = self {
                many.users.insert(
                    user.clone(),
                    RoomMember {
                        presence: MemberPresence::Here(Fds::One(*fd)),
                        lasting: false,
                    },
                );
                (many.present, many.connections) = (1, 1);
            }
            *self = Self::Many(many);
        }
        match self {
            Self::Many(many) => many,
            _ => unreachable!("it has many members since just now"),
        }
    }

    /// Gives back the allocation when nobody is left.
    fn shrink(&mut self, now: Tick) {
        if let Self::Many(many) = self
            && many.users.is_empty()
        {
            debug_assert_eq!((many.present, many.connections), (0, 0));
            *self = Self::Nobody { since: now };
        }
    }
}

impl Audience for RoomMembers {
    const LISTING: Listing = Listing::InOrder;

    fn nobody(now: Tick) -> Self {
        Self::Nobody { since: now }
    }

    fn empty_since(&self) -> Option<Tick> {
        match self {
            Self::Nobody { since } => Some(*since),
            _ => None,
        }
    }

    fn connections(&self) -> usize {
        match self {
            Self::Nobody { .. } => 0,
            Self::One(..) => 1,
            Self::Many(many) => many.connections,
        }
    }

    fn fds(&self) -> impl Iterator<Item = Fd> {
        let one = match self {
            Self::One(_, fd) => Some(*fd),
            _ => None,
        };
        let many = self.many_members(None).flat_map(|(_, member)| {
            let fds = match &member.presence {
                MemberPresence::Here(fds) => fds.as_slice(),
                _ => &[],
            };
            fds.iter().copied()
        });
        one.into_iter().chain(many)
    }

    fn members_with(&self, user: &User) -> Option<usize> {
        Some(self.present() + usize::from(!self.is_present(user)))
    }

    fn is_quiet_with(&self, user: &User, users_max: usize) -> bool {
        self.is_quiet()
            || self
                .members_with(user)
                .is_some_and(|users| users > users_max)
    }

    fn gauge(totals: &Totals) -> &Gauge {
        &totals.rooms
    }
}

impl ManyMembers {
    fn remove(&mut self, user: &User, fd: Fd, now: Tick, last_user: LastUser) -> Departure {
        let Some(member) = self.users.get_mut(user) else {
            return Departure::Unnoticed;
        };
        let presence = std::mem::replace(&mut member.presence, MemberPresence::Away);
        let MemberPresence::Here(fds) = presence else {
            member.presence = presence;
            return Departure::Unnoticed;
        };
        let before = fds.as_slice().len();
        let rest = fds.without(fd);
        self.connections -= before - rest.as_ref().map_or(0, |fds| fds.as_slice().len());
        if let Some(fds) = rest {
            member.presence = MemberPresence::Here(fds);
            return Departure::Unnoticed;
        }
        if self.present > 1 || last_user == LastUser::Leaves {
            member.presence = MemberPresence::Leaving { since: now };
            return Departure::Leaving;
        }
        self.present = 0;
        if !member.lasting {
            self.users.remove(user);
        }
        Departure::Alone
    }
}
