//! The reasons why bytes are no handover, or none for this program.

use thiserror::Error;

/// A handover that this program can't take over; the message names the place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The bytes don't begin as a handover does.
    #[error("this is no handover")]
    Foreign,
    /// The container is of a version that this program can't read.
    #[error("the handover has version {version}, which this program is too old to read")]
    Container {
        /// The version of the container.
        version: u16,
    },
    /// The table is damaged, or the sections have another size than it says.
    #[error("the table of the handover is damaged: {0}")]
    Table(&'static str),
    /// The bytes of a section don't fit its checksum.
    #[error("section {section} of the handover is damaged")]
    Checksum {
        /// The name of the section.
        section: String,
    },
    /// This program doesn't know the section, so it would lose what stands in it.
    #[error("this program doesn't know section {section} of the handover")]
    UnknownSection {
        /// The name of the section.
        section: String,
    },
    /// This program knows the section, but is older than what the section asks for.
    #[error(
        "section {section} of the handover asks for a reader of version {oldest_reader}, and this \
         program has {reader}"
    )]
    NewerSection {
        /// The name of the section.
        section: String,
        /// The oldest version whose reader understands the section.
        oldest_reader: u16,
        /// The version that this program has.
        reader: u16,
    },
    /// This program needs a section that isn't there.
    #[error("section {section} is missing from the handover")]
    MissingSection {
        /// The name of the section.
        section: String,
    },
    /// A field of a record is wrong.
    #[error("record {record} of section {section} of the handover: {flaw}")]
    Field {
        /// The name of the section.
        section: String,
        /// The number of the record in its section, counted from 0.
        record: usize,
        /// What is wrong.
        flaw: FieldFlaw,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FieldFlaw {
    /// The bytes end before the field does.
    #[error("it ends in the middle of a field")]
    Short,
    /// The record ends before the field, which has no default.
    #[error("a field is missing")]
    Missing,
    /// A number is too large for what it counts, or has more bytes than it needs.
    #[error("a number is out of range")]
    Range,
    /// A text isn't UTF-8.
    #[error("a text is not UTF-8")]
    NotText,
    /// The fields can be read, and contradict each other or what else is known.
    #[error("{0}")]
    Meaning(&'static str),
}
