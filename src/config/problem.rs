//! What is wrong with settings, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file, at this line; 0 for the file as a whole.
    File(PathBuf, usize),
    /// In the environment, by the name of the variable.
    Environment(String),
    /// On the command line, by the name of the flag.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong: where, what, and how it is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Nowhere, when it is about a value that nobody gave.
    pub(super) place: Option<Place>,
    pub(super) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// All that is wrong with some settings; a line each.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, place: Option<Place>, what: impl Into<String>) {
        let what = what.into();
        self.0.push(Problem { place, what });
    }

    /// Brings those of a file into the order of its lines; those from elsewhere follow.
    pub(super) fn sort(&mut self) {
        self.0.sort_by_key(|problem| match &problem.place {
            Some(Place::File(_, line)) => *line,
            _ => usize::MAX,
        });
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}
