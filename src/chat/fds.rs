//! A few connections, at least one.

use crate::base::Fd;

/// The connections of one user; nearly always one, which takes no allocation.
#[derive(Debug)]
pub(super) enum Fds {
    One(Fd),
    /// Two or more connections, in the order in which they came.
    #[expect(clippy::box_collection, reason = "16 bytes for the many who have one")]
    Many(Box<Vec<Fd>>),
}

impl Fds {
    /// Makes the connections of this list, which are different ones; `None` if it is empty.
    pub(super) fn of(fds: Vec<Fd>) -> Option<Self> {
        match *fds {
            [] => None,
            [only] => Some(Self::One(only)),
            _ => Some(Self::Many(Box::new(fds))),
        }
    }

    /// The connections in the order in which they came.
    pub(super) fn as_slice(&self) -> &[Fd] {
        match self {
            Self::One(fd) => std::slice::from_ref(fd),
            Self::Many(fds) => fds,
        }
    }

    /// Adds a connection that isn't in here.
    pub(super) fn push(&mut self, fd: Fd) {
        debug_assert!(!self.as_slice().contains(&fd), "{fd} twice");
        match self {
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, fd])),
            Self::Many(fds) => fds.push(fd),
        }
    }

    /// The other connections, without `fd`; `None` when there are none.
    pub(super) fn without(self, fd: Fd) -> Option<Self> {
        match self {
            Self::One(only) => (only != fd).then_some(self),
            Self::Many(mut fds) => {
                fds.retain(|other| *other != fd);
                match **fds {
                    [] => None,
                    [only] => Some(Self::One(only)),
                    _ => Some(Self::Many(fds)),
                }
            }
        }
    }
}
