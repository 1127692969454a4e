//! The handover: the bytes in which one image of the program tells the next what it knew.
//!
//! A [`HandoverWriter`] gathers sections, each the state of one part of the server, and puts a
//! [`HandoverHead`] and a table in front of them; [`Handover::read`] takes the whole apart. What stands
//! in a section is written down beside the state that it describes. Nothing here does input or output,
//! or knows what a section means.
//!
//! # The format
//!
//! Numbers of a fixed size are in little endian; all others are varints: seven bits a byte, the lowest
//! first, in as few bytes as the number needs.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `TIDINGSU` |
//! | 2, 2 | version of the container, and the oldest version whose reader understands it |
//! | 4 | size of what follows up to the first section, checksum included |
//! | | a record: the head |
//! | | a record for each section: name, version, oldest reader, size, CRC-32C of its bytes |
//! | 4 | CRC-32C of everything before it |
//! | | the sections, one behind the other |
//!
//! A section is a row of records. A record is its size in bytes, as a varint, and then its fields, in an
//! order that both sides know: numbers, texts and bytes behind their size, lists behind their length,
//! and records again.
//!
//! # How it may change
//!
//! Fields are only ever added at the end of a record: a reader skips those behind the ones it knows, and
//! gives a default for those that are missing ([`RecordReader::or`]). That raises the section's version.
//! A change of meaning raises its oldest reader as well, and a program that is older refuses the section
//! by its name ([`Handover::check`]).
//!
//! Invariant: any bytes are read to the end or refused with a [`HandoverError`]; none panics, and none
//! has more memory asked for than the bytes have themselves.

mod error;
mod head;
mod reader;
mod record_reader;
mod record_writer;
#[cfg(test)]
mod tests;
mod varint;
mod writer;

pub use error::{FieldFlaw, HandoverError};
pub use head::HandoverHead;
pub use reader::{Handover, Records, Section};
pub use record_reader::RecordReader;
pub use record_writer::RecordWriter;
#[cfg(feature = "chat")]
pub(crate) use varint::{take_bytes, take_varint, varint};
pub use writer::{HandoverWriter, SectionWriter};

/// The name of a section, and the versions of what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionFormat {
    /// The name; the part behind a dot, such as the number of a reactor, tells those of a kind apart.
    pub name: &'static str,
    /// The version that this program writes.
    pub version: u16,
    /// The oldest version whose reader understands it.
    pub oldest_reader: u16,
}
