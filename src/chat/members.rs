//! Who is in one room.

use std::collections::BTreeMap;

use super::fds::Fds;
use super::name::User;
use crate::base::Fd;
use crate::base::Tick;

/// The people of one room. Most rooms of a crowd that never meets have one connection: those take
/// no allocation.
#[derive(Debug)]
pub(super) enum RoomMembers {
    Nobody { since: Tick },
    One(User, Fd),
    ManyMembers(Box<ManyMembers>),
}

#[derive(Debug, Default)]
pub(super) struct ManyMembers {
    users: BTreeMap<User, Member>,
    /// Users who are here, or went so lately that they haven't left.
    present: usize,
    connections: usize,
}

/// One user in a room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) presence: MemberPresence,
    /// Stays a member without any connection.
    pub(super) lasting: bool,
}

#[derive(Debug)]
pub(super) enum MemberPresence {
    Away,
    /// The last connection went then; nobody was told yet.
    Leaving {
        since: Tick,
    },
    Here(Fds),
}

/// What a connection's coming means to the room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The user wasn't here.
    First,
    /// The user has other connections here.
    Further,
    /// The user went then, and was back before anybody was told.
    Returned { since: Tick },
}

/// What a connection's going means to the room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The user has other connections here, or the connection wasn't here.
    Unnoticed,
    /// The user has left at once: there is nobody who would have to be told.
    Alone,
    /// The user leaves unless back in time.
    Leaving,
}

impl RoomMembers {
    /// Users who are here, or went so lately that they haven't left.
    pub(super) fn present(&self) -> usize {
        match self {
            Self::Nobody { .. } => 0,
            Self::One(..) => 1,
            Self::ManyMembers(crowd) => crowd.present,
        }
    }

    pub(super) fn connections(&self) -> usize {
        match self {
            Self::Nobody { .. } => 0,
            Self::One(..) => 1,
            Self::ManyMembers(crowd) => crowd.connections,
        }
    }

    /// Since when there are neither connections nor members; `None` when there are.
    pub(super) fn empty_since(&self) -> Option<Tick> {
        match self {
            Self::Nobody { since } => Some(*since),
            _ => None,
        }
    }

    pub(super) fn is_present(&self, user: &User) -> bool {
        match self {
            Self::Nobody { .. } => false,
            Self::One(one, _) => one == user,
            Self::ManyMembers(crowd) => crowd
                .users
                .get(user)
                .is_some_and(|member| !matches!(member.presence, MemberPresence::Away)),
        }
    }

    /// A connection that isn't here comes.
    pub(super) fn add(&mut self, user: &User, fd: Fd) -> Arrival {
        if matches!(self, Self::Nobody { .. }) {
            *self = Self::One(user.clone(), fd);
            return Arrival::First;
        }
        let crowd = self.crowd();
        crowd.connections += 1;
        let member = crowd.users.entry(user.clone()).or_insert(Member {
            presence: MemberPresence::Away,
            lasting: false,
        });
        match &mut member.presence {
            MemberPresence::Here(fds) => {
                fds.push(fd);
                Arrival::Further
            }
            MemberPresence::Away => {
                crowd.present += 1;
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

    /// A connection goes.
    pub(super) fn remove(&mut self, user: &User, fd: Fd, now: Tick) -> Departure {
        match self {
            Self::ManyMembers(crowd) => {
                let departure = crowd.remove(user, fd, now);
                self.settle(now);
                departure
            }
            Self::One(one, only) if one == user && *only == fd => {
                *self = Self::Nobody { since: now };
                Departure::Alone
            }
            _ => Departure::Unnoticed,
        }
    }

    /// Takes out a user who went at `since`; `false` when that isn't so any more.
    pub(super) fn leave(&mut self, user: &User, since: Tick, now: Tick) -> bool {
        let Self::ManyMembers(crowd) = self else {
            return false;
        };
        let Some(member) = crowd.users.get_mut(user) else {
            return false;
        };
        if !matches!(member.presence, MemberPresence::Leaving { since: then } if then == since) {
            return false;
        }
        crowd.present -= 1;
        member.presence = MemberPresence::Away;
        if !member.lasting {
            crowd.users.remove(user);
        }
        self.settle(now);
        true
    }

    /// Makes a user a lasting member, or no longer; whether that changed anything.
    pub(super) fn set_lasting(&mut self, user: &User, lasting: bool, now: Tick) -> bool {
        if !lasting && !matches!(self, Self::ManyMembers(_)) {
            return false;
        }
        let crowd = self.crowd();
        if lasting {
            let member = crowd.users.entry(user.clone()).or_insert(Member {
                presence: MemberPresence::Away,
                lasting: false,
            });
            return !std::mem::replace(&mut member.lasting, true);
        }
        let Some(member) = crowd.users.get_mut(user) else {
            return false;
        };
        let was = std::mem::replace(&mut member.lasting, false);
        if matches!(member.presence, MemberPresence::Away) {
            crowd.users.remove(user);
            self.settle(now);
        }
        was
    }

    /// All connections that are here.
    pub(super) fn fds(&self) -> impl Iterator<Item = Fd> {
        let one = match self {
            Self::One(_, fd) => Some(*fd),
            _ => None,
        };
        let many = self.crowd_members(None).flat_map(|(_, member)| {
            let fds = match &member.presence {
                MemberPresence::Here(fds) => fds.as_slice(),
                _ => &[],
            };
            fds.iter().copied()
        });
        one.into_iter().chain(many)
    }

    /// Users behind `after` by their uids, with their connections here and whether they are
    /// present; lasting members who are away, too.
    pub(super) fn users(&self, after: Option<&str>) -> impl Iterator<Item = (&User, usize, bool)> {
        let one = match self {
            Self::One(user, _) if after.is_none_or(|after| user.uid() > after) => Some(user),
            _ => None,
        };
        let many = self
            .crowd_members(after)
            .map(|(user, member)| match &member.presence {
                MemberPresence::Away => (user, 0, false),
                MemberPresence::Leaving { .. } => (user, 0, true),
                MemberPresence::Here(fds) => (user, fds.as_slice().len(), true),
            });
        one.into_iter().map(|user| (user, 1, true)).chain(many)
    }

    fn crowd_members(&self, after: Option<&str>) -> impl Iterator<Item = (&User, &Member)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let crowd = match self {
            Self::ManyMembers(crowd) => Some(crowd),
            _ => None,
        };
        crowd
            .into_iter()
            .flat_map(move |crowd| crowd.users.range::<str, _>((from, Unbounded)))
    }

    fn crowd(&mut self) -> &mut ManyMembers {
        if !matches!(self, Self::ManyMembers(_)) {
            let mut crowd = Box::<ManyMembers>::default();
            if let Self::One(user, fd) = self {
                crowd.users.insert(
                    user.clone(),
                    Member {
                        presence: MemberPresence::Here(Fds::One(*fd)),
                        lasting: false,
                    },
                );
                (crowd.present, crowd.connections) = (1, 1);
            }
            *self = Self::ManyMembers(crowd);
        }
        match self {
            Self::ManyMembers(crowd) => crowd,
            _ => unreachable!("it was made a crowd just now"),
        }
    }

    /// A crowd that is gone takes its allocation along.
    fn settle(&mut self, now: Tick) {
        if let Self::ManyMembers(crowd) = self
            && crowd.users.is_empty()
        {
            debug_assert_eq!((crowd.present, crowd.connections), (0, 0));
            *self = Self::Nobody { since: now };
        }
    }
}

impl ManyMembers {
    fn remove(&mut self, user: &User, fd: Fd, now: Tick) -> Departure {
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
        if self.present > 1 {
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
