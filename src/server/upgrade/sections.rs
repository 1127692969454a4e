//! What the callbacks of a program know, in named sections of a handover.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::handover::{Handover, HandoverError, RecordReader, SectionFormat, SectionWriter};

/// The section of all that [`Builder::on_freeze`](crate::server::Builder::on_freeze) writes down.
pub(super) const SECTIONS: SectionFormat = SectionFormat {
    name: "sections",
    version: 1,
    oldest_reader: 1,
};

/// The sections that [`Builder::on_freeze`](crate::server::Builder::on_freeze) writes: what the callbacks
/// of a program know, for those of the next image.
#[derive(Debug, Default)]
pub struct FreezeSections {
    sections: Vec<FreezeSection>,
}

#[derive(Debug)]
struct FreezeSection {
    name: String,
    version: u16,
    bytes: Vec<u8>,
}

impl FreezeSections {
    /// Writes a section. What the bytes mean is the program's own matter; `version` is raised whenever a
    /// program that knows the version before could not read them any more.
    ///
    /// Each name may be written once; the upgrade is refused otherwise.
    pub fn write(&mut self, name: &str, version: u16, bytes: impl Into<Vec<u8>>) {
        self.sections.push(FreezeSection {
            name: name.to_owned(),
            version,
            bytes: bytes.into(),
        });
    }

    /// Puts the sections into a handover.
    pub(super) fn hand_over(self, section: &mut SectionWriter) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for one in &self.sections {
            if !names.insert(&one.name) {
                return Err(format!("on_freeze has written section {} twice", one.name));
            }
            section.record(|record| {
                record.text(&one.name);
                record.u64(one.version.into());
                record.bytes(&one.bytes);
            });
        }
        Ok(())
    }
}

/// The sections that the image before has written, as [`Builder::on_thaw`](crate::server::Builder::on_thaw)
/// gets them.
///
/// Each has to be asked for: the upgrade is taken back because of a section that nobody has read, since
/// the program would forget what stands there.
#[derive(Debug)]
pub struct ThawSections<'a> {
    from: &'a str,
    sections: Vec<(&'a str, ThawedSection<'a>)>,
    read: RefCell<BTreeSet<&'a str>>,
}

/// A section, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThawedSection<'a> {
    /// The version that its writer has given it.
    pub version: u16,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// The reason why a section can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SectionError {
    /// The image before has written none of this name.
    #[error("the image before has written no section {0}")]
    Missing(String),
    /// The image before has written one that is too new.
    #[error("section {name} has version {version}, and this program knows {known} at most")]
    Newer {
        /// The name of the section.
        name: String,
        /// The version of the section.
        version: u16,
        /// The newest version that this program knows.
        known: u16,
    },
}

impl<'a> ThawSections<'a> {
    /// Finds the sections in a handover.
    pub(super) fn of(handover: &'a Handover<'_>) -> Result<Self, HandoverError> {
        let section = handover.needed(SECTIONS.name)?;
        section.check(SECTIONS.version)?;
        let read = |record: Result<RecordReader<'a>, HandoverError>| {
            let mut record = record?;
            let (name, version) = (record.text()?, record.u16()?);
            let bytes = record.bytes()?;
            Ok((name, ThawedSection { version, bytes }))
        };
        Ok(Self {
            from: &handover.head().program,
            sections: section.records().map(read).collect::<Result<_, _>>()?,
            read: RefCell::default(),
        })
    }

    /// The version of the program that wrote them, as its `Builder::upgradable` says.
    #[must_use]
    pub fn from(&self) -> &str {
        self.from
    }

    /// Reads a section, of which this program knows the versions up to `known`.
    ///
    /// # Errors
    ///
    /// [`SectionError`]: there is none, or a newer one.
    pub fn read(&self, name: &str, known: u16) -> Result<ThawedSection<'a>, SectionError> {
        let found = self.find(name, known)?;
        found.ok_or_else(|| SectionError::Missing(name.to_owned()))
    }

    /// Reads a section that an older program may not have written.
    ///
    /// # Errors
    ///
    /// [`SectionError::Newer`].
    pub fn find(&self, name: &str, known: u16) -> Result<Option<ThawedSection<'a>>, SectionError> {
        let mut sections = self.sections.iter();
        let Some((own_name, section)) = sections.find(|(own_name, _)| *own_name == name) else {
            return Ok(None);
        };
        self.read.borrow_mut().insert(own_name);
        match section.version <= known {
            true => Ok(Some(*section)),
            false => Err(SectionError::Newer {
                name: name.to_owned(),
                version: section.version,
                known,
            }),
        }
    }

    /// The first section that nobody has asked for.
    pub(super) fn unread(&self) -> Option<&'a str> {
        let read = self.read.borrow();
        let mut names = self.sections.iter().map(|(name, _)| *name);
        names.find(|name| !read.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Tick;
    use crate::handover::{HandoverHead, HandoverWriter};

    fn handed_over(sections: &[(&str, u16, &str)]) -> Result<Vec<u8>, String> {
        let mut out = FreezeSections::default();
        for (name, version, bytes) in sections {
            out.write(name, *version, *bytes);
        }
        let mut writer = HandoverWriter::new();
        out.hand_over(writer.section_of(SECTIONS))?;
        Ok(writer.finish(&HandoverHead {
            program: "shop 3".to_owned(),
            pid: 1,
            tick: Tick(2),
            serials_from: 3,
        }))
    }

    #[test]
    fn sections_are_read_by_their_names_and_none_is_forgotten() {
        let bytes = handed_over(&[("counts", 2, "seven"), ("names", 1, "")]).unwrap();
        let handover = Handover::read(&bytes).unwrap();
        let sections = ThawSections::of(&handover).unwrap();
        assert_eq!(sections.from(), "shop 3");
        assert_eq!(sections.unread(), Some("counts"));
        let counts = sections.read("counts", 2).unwrap();
        assert_eq!((counts.version, counts.bytes), (2, &b"seven"[..]));
        // An older one is the reader's matter.
        assert_eq!(sections.read("counts", 3).unwrap().version, 2);
        assert_eq!(sections.unread(), Some("names"));
        assert_eq!(sections.find("names", 1).unwrap().unwrap().bytes, b"");
        assert_eq!(sections.unread(), None);
        assert_eq!(sections.find("places", 1), Ok(None));
        let missing = SectionError::Missing("places".to_owned());
        assert_eq!(sections.read("places", 1), Err(missing));
    }

    #[test]
    fn a_section_of_a_newer_version_is_refused_by_its_name() {
        let bytes = handed_over(&[("counts", 3, "eight")]).unwrap();
        let handover = Handover::read(&bytes).unwrap();
        let sections = ThawSections::of(&handover).unwrap();
        let refused = sections.read("counts", 2).unwrap_err();
        assert_eq!(Err(&refused), sections.find("counts", 2).as_ref());
        assert_eq!(
            refused.to_string(),
            "section counts has version 3, and this program knows 2 at most"
        );
    }

    #[test]
    fn a_section_is_written_once() {
        let refused = handed_over(&[("a", 1, ""), ("a", 1, "")]).unwrap_err();
        assert_eq!(refused, "on_freeze has written section a twice");
    }
}
