//! Errors in settings, each with its place.

use std::fmt;
use std::path::PathBuf;

/// The place where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SettingPlace {
    /// A line of a file; 0 stands for the file as a whole.
    File(PathBuf, usize),
    /// A variable of the environment, by its name.
    Environment(String),
    /// A flag of the command line, by its name.
    Flag(String),
}

impl fmt::Display for SettingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One error: its place, and a text that says what is wrong and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The place of the value; `None` when nobody gave the value.
    pub(super) place: Option<SettingPlace>,
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

/// Every error in some settings, shown as one line each.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, place: Option<SettingPlace>, what: impl Into<String>) {
        let what = what.into();
        self.0.push(Problem { place, what });
    }

    /// Sorts errors in a file by line; errors from elsewhere follow.
    pub(super) fn sort(&mut self) {
        self.0.sort_by_key(|problem| match &problem.place {
            Some(SettingPlace::File(_, line)) => *line,
            _ => usize::MAX,
        });
    }

    /// Leaves out what stands in a line of a file.
    pub(super) fn retain_all_but_lines(&mut self) {
        let is_line = |place: &Option<SettingPlace>| matches!(place, Some(SettingPlace::File(_, line)) if *line > 0);
        self.0.retain(|problem| !is_line(&problem.place));
    }

    /// Counts the errors.
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
