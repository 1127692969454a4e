//! Puts a handover together.

use super::SectionFormat;
use super::head::HandoverHead;
use super::record_writer::{RecordWriter, write_record};

/// The first bytes of a handover.
pub(super) const MAGIC: [u8; 8] = *b"TIDINGSU";

/// The version of the container, and the oldest whose reader understands it.
pub(super) const CONTAINER_VERSION: u16 = 1;
const CONTAINER_OLDEST_READER: u16 = 1;

/// Bytes in front of the head.
pub(super) const PREFIX_SIZE: usize = 16;

/// Bytes of a checksum.
pub(super) const CHECKSUM_SIZE: usize = 4;

/// Gathers sections, in the order in which they are begun.
#[derive(Debug, Default)]
pub struct HandoverWriter {
    sections: Vec<(SectionName, SectionWriter)>,
}

#[derive(Debug)]
struct SectionName {
    name: String,
    version: u16,
    oldest_reader: u16,
}

impl HandoverWriter {
    /// Starts without a section.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a section. Each name is used once.
    pub fn section(&mut self, name: &str, version: u16, oldest_reader: u16) -> &mut SectionWriter {
        self.insert(name, version, oldest_reader, SectionWriter::new());
        let (_, section) = self.sections.last_mut().expect("it was just put in");
        section
    }

    /// Begins the section of this format.
    pub fn section_of(&mut self, format: SectionFormat) -> &mut SectionWriter {
        self.section(format.name, format.version, format.oldest_reader)
    }

    /// Adds a section that was written elsewhere, such as on the thread that owns what it describes.
    pub fn insert(&mut self, name: &str, version: u16, oldest_reader: u16, section: SectionWriter) {
        debug_assert!(self.sections.iter().all(|(known, _)| known.name != name));
        let name = SectionName {
            name: name.to_owned(),
            version,
            oldest_reader,
        };
        self.sections.push((name, section));
    }

    /// Counts the bytes of all sections.
    #[must_use]
    pub fn size(&self) -> usize {
        self.sections
            .iter()
            .map(|(_, section)| section.size())
            .sum()
    }

    /// Returns the whole.
    #[must_use]
    pub fn finish(self, head: &HandoverHead) -> Vec<u8> {
        let mut table = Vec::new();
        write_record(&mut table, |record| head.write(record));
        for (name, section) in &self.sections {
            write_record(&mut table, |record| name.write(record, section));
        }
        let table_size = u32::try_from(table.len() + CHECKSUM_SIZE).expect("a table has few lines");
        let mut bytes = Vec::with_capacity(PREFIX_SIZE + table_size as usize + self.size());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&CONTAINER_VERSION.to_le_bytes());
        bytes.extend_from_slice(&CONTAINER_OLDEST_READER.to_le_bytes());
        bytes.extend_from_slice(&table_size.to_le_bytes());
        bytes.extend_from_slice(&table);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        for (_, section) in self.sections {
            bytes.extend_from_slice(&section.bytes);
        }
        bytes
    }
}

impl SectionName {
    fn write(&self, record: &mut RecordWriter<'_>, section: &SectionWriter) {
        record.text(&self.name);
        record.u64(self.version.into());
        record.u64(self.oldest_reader.into());
        record.size(section.size());
        record.u64(crc32c::crc32c(&section.bytes).into());
    }
}

/// Writes the records of one section.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SectionWriter {
    bytes: Vec<u8>,
}

impl SectionWriter {
    /// Starts without a record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record.
    pub fn record(&mut self, write: impl FnOnce(&mut RecordWriter<'_>)) {
        write_record(&mut self.bytes, write);
    }

    /// Counts the bytes of all records.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes of all records.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
