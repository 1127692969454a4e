//! Names of rooms and users.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::error::{ChatError, NameProblem};

/// Bytes of a channel's name at the most; a user's has one less, for the `@` before it.
pub const NAME_BYTES_MAX: usize = 255;

/// The channel of everyone who logged in.
pub const EVERYONE: &str = "*";

/// A user, as one shared allocation that holds the name of the inbox, `@ann`.
///
/// Ordered and found by the uid alone, so that a look-up needs no new string.
#[derive(Clone, PartialEq, Eq)]
pub struct User(Arc<str>);

impl User {
    /// Makes a user of a uid, which must have passed [`check_uid`].
    pub(super) fn new(uid: &str) -> Self {
        // One allocation, not two: there is a user for each message.
        let mut inbox = [b'@'; NAME_BYTES_MAX];
        let Some(place) = inbox.get_mut(1..=uid.len()) else {
            // Restored from a store that was written with a larger bound.
            return Self(format!("@{uid}").into());
        };
        place.copy_from_slice(uid.as_bytes());
        let inbox = std::str::from_utf8(&inbox[..=uid.len()]);
        Self(inbox.expect("it is a text behind an @").into())
    }

    /// Makes a user of the name of the inbox; `None` if that doesn't begin with `@`.
    pub(super) fn of_inbox(inbox: Arc<str>) -> Option<Self> {
        inbox.starts_with('@').then_some(Self(inbox))
    }

    /// Returns the name that the application gave.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0[1..]
    }

    /// Returns the name of the inbox, which is also its topic: `@` and the uid.
    #[must_use]
    pub fn inbox(&self) -> &Arc<str> {
        &self.0
    }
}

impl Ord for User {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uid().cmp(other.uid())
    }
}

impl PartialOrd for User {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Borrow<str> for User {
    fn borrow(&self) -> &str {
        self.uid()
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the name of a room that came in `field`.
///
/// # Errors
///
/// [`ChatError::Name`].
pub fn check_room(field: &'static str, name: &str) -> Result<(), ChatError> {
    if name.starts_with(['@', '*']) {
        let problem = NameProblem::Reserved;
        return Err(ChatError::Name { field, problem });
    }
    check(field, name, NAME_BYTES_MAX)
}

/// Checks the name of a user that came in `field`.
///
/// # Errors
///
/// [`ChatError::Name`].
pub fn check_uid(field: &'static str, uid: &str) -> Result<(), ChatError> {
    check(field, uid, NAME_BYTES_MAX - 1)
}

fn check(field: &'static str, name: &str, bytes_max: usize) -> Result<(), ChatError> {
    let problem = if name.is_empty() {
        NameProblem::Empty
    } else if name.len() > bytes_max {
        NameProblem::TooLong(bytes_max)
    } else if name.contains(char::is_control) {
        NameProblem::Control
    } else {
        return Ok(());
    };
    Err(ChatError::Name { field, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_255_bytes_without_control_characters() {
        let problem = |name: &str| match check_room("room", name) {
            Err(ChatError::Name { problem, .. }) => Some(problem),
            _ => None,
        };
        assert_eq!(problem(""), Some(NameProblem::Empty));
        assert_eq!(problem("a\nb"), Some(NameProblem::Control));
        assert_eq!(problem("a\u{85}"), Some(NameProblem::Control));
        assert_eq!(problem("@ann"), Some(NameProblem::Reserved));
        assert_eq!(problem("*"), Some(NameProblem::Reserved));
        assert_eq!(problem(&"x".repeat(256)), Some(NameProblem::TooLong(255)));
        assert_eq!(problem(&"x".repeat(255)), None);
        assert_eq!(problem("Größe @ *"), None);
        assert!(check_uid("uid", "*").is_ok() && check_uid("uid", &"x".repeat(255)).is_err());
    }

    #[test]
    fn a_user_is_found_by_its_uid() {
        let users: std::collections::BTreeSet<User> = ["bob", "ann"].map(User::new).into();
        assert_eq!(&**users.get("ann").unwrap().inbox(), "@ann");
        for size in [0, 1, 253, 254, 255, 256, 1_000] {
            let uid = "x".repeat(size);
            assert_eq!(User::new(&uid).uid(), uid);
        }
    }
}
