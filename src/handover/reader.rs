//! Takes a handover apart.

use super::SectionFormat;
use super::error::{FieldFlaw, HandoverError};
use super::head::HandoverHead;
use super::record_reader::RecordReader;
use super::varint::{take_bytes, take_varint};
use super::writer::{CHECKSUM_SIZE, CONTAINER_VERSION, MAGIC, PREFIX_SIZE};

/// The name under which errors speak of head and table.
const TABLE: &str = "table";

/// A handover whose checksums are right.
#[derive(Debug, Clone)]
pub struct Handover<'a> {
    head: HandoverHead,
    sections: Vec<Section<'a>>,
}

impl<'a> Handover<'a> {
    /// Takes head and table apart, and compares all checksums.
    ///
    /// # Errors
    ///
    /// The bytes are no handover, a newer one than this program can read, or damaged.
    pub fn read(bytes: &'a [u8]) -> Result<Self, HandoverError> {
        let (table, sections) = divide(bytes)?;
        let mut records = Records::of_bytes(TABLE, table);
        let mut head = records
            .next()
            .ok_or(HandoverError::Table("it is empty"))??;
        let head = HandoverHead::read(&mut head)?;
        let (mut rest, mut known) = (sections, Vec::<Section<'a>>::new());
        for line in records {
            let section = Section::read(&mut line?, &mut rest)?;
            if known.iter().any(|other| other.name == section.name) {
                return Err(HandoverError::Table("two sections have one name"));
            }
            known.push(section);
        }
        match rest {
            [] => Ok(Self {
                head,
                sections: known,
            }),
            _ => Err(HandoverError::Table("bytes stand behind the last section")),
        }
    }

    /// The image that wrote it.
    #[must_use]
    pub fn head(&self) -> &HandoverHead {
        &self.head
    }

    /// The section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<Section<'a>> {
        let mut sections = self.sections.iter();
        sections.find(|section| section.name == name).copied()
    }

    /// The section of this name, which has to be there.
    ///
    /// # Errors
    ///
    /// It isn't there.
    pub fn needed(&self, name: &str) -> Result<Section<'a>, HandoverError> {
        let missing = || HandoverError::MissingSection {
            section: name.to_owned(),
        };
        self.section(name).ok_or_else(missing)
    }

    /// All sections, in the order in which they were written.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = Section<'a>> {
        self.sections.iter().copied()
    }

    /// Compares all sections with those that this program knows; nothing is taken over by halves.
    ///
    /// # Errors
    ///
    /// A section is unknown, or asks for a newer reader than this program has.
    pub fn check(&self, known: &[SectionFormat]) -> Result<(), HandoverError> {
        for section in &self.sections {
            let kind = section.kind();
            let Some(format) = known.iter().find(|format| format.name == kind) else {
                return Err(HandoverError::UnknownSection {
                    section: section.name.to_owned(),
                });
            };
            section.check(format.version)?;
        }
        Ok(())
    }
}

/// Compares the checksum of head and table; returns their records and the bytes of all sections.
fn divide(bytes: &[u8]) -> Result<(&[u8], &[u8]), HandoverError> {
    let after_magic = bytes.strip_prefix(&MAGIC).ok_or(HandoverError::Foreign)?;
    let short = HandoverError::Table("it is cut short");
    let Some(([v0, v1, o0, o1, size @ ..], _)) = after_magic.split_first_chunk::<8>() else {
        return Err(short);
    };
    let version = u16::from_le_bytes([*v0, *v1]);
    let oldest_reader = u16::from_le_bytes([*o0, *o1]);
    if oldest_reader > CONTAINER_VERSION {
        return Err(HandoverError::Container { version });
    }
    let size = u32::from_le_bytes(*size) as usize;
    let checked_size = size.checked_sub(CHECKSUM_SIZE).ok_or(short.clone())?;
    let checked = bytes.get(..PREFIX_SIZE + checked_size);
    let checked = checked.ok_or(short.clone())?;
    let behind = bytes[checked.len()..].split_first_chunk();
    let (checksum, sections) = behind.ok_or(short)?;
    if crc32c::crc32c(checked) != u32::from_le_bytes(*checksum) {
        return Err(HandoverError::Table("its checksum is another one"));
    }
    Ok((&checked[PREFIX_SIZE..], sections))
}

/// The records of one part of the server.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    name: &'a str,
    version: u16,
    oldest_reader: u16,
    bytes: &'a [u8],
}

impl<'a> Section<'a> {
    fn read(line: &mut RecordReader<'a>, sections: &mut &'a [u8]) -> Result<Self, HandoverError> {
        let (name, version, oldest_reader) = (line.text()?, line.u16()?, line.u16()?);
        let (size, checksum) = (line.u64()?, line.u32()?);
        let bytes = take_bytes(sections, size)
            .map_err(|_| HandoverError::Table("a section is cut short"))?;
        if crc32c::crc32c(bytes) != checksum {
            return Err(HandoverError::Checksum {
                section: name.to_owned(),
            });
        }
        Ok(Self {
            name,
            version,
            oldest_reader,
            bytes,
        })
    }

    /// Gives the bytes of records a name, as if they had been read; for a trial without a container.
    #[must_use]
    pub fn of(name: &'a str, version: u16, bytes: &'a [u8]) -> Self {
        Self {
            name,
            version,
            oldest_reader: version,
            bytes,
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The name up to a dot, which is that of a [`SectionFormat`].
    #[must_use]
    pub fn kind(&self) -> &'a str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// The version of its writer.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The bytes of all records.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its records, in the order in which they were written.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        Records::of_bytes(self.name, self.bytes)
    }

    /// Compares the section with the version that its reader has.
    ///
    /// # Errors
    ///
    /// The section asks for a newer one.
    pub fn check(&self, reader: u16) -> Result<(), HandoverError> {
        match self.oldest_reader <= reader {
            true => Ok(()),
            false => Err(HandoverError::NewerSection {
                section: self.name.to_owned(),
                oldest_reader: self.oldest_reader,
                reader,
            }),
        }
    }
}

/// The records of a section, one after the other; an error is the last.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    section: &'a str,
    bytes: &'a [u8],
    record: usize,
}

impl<'a> Records<'a> {
    pub(super) fn of_bytes(section: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            section,
            bytes,
            record: 0,
        }
    }

    /// The next record, which has to be there.
    ///
    /// # Errors
    ///
    /// It isn't, or is cut short.
    pub fn needed(&mut self) -> Result<RecordReader<'a>, HandoverError> {
        let missing = RecordReader::new(&[], self.section, self.record);
        self.next()
            .unwrap_or_else(|| Err(missing.refuse("it is missing")))
    }

    fn take(&mut self) -> Result<&'a [u8], FieldFlaw> {
        let size = take_varint(&mut self.bytes)?;
        take_bytes(&mut self.bytes, size)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordReader<'a>, HandoverError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let record = self.record;
        self.record += 1;
        Some(match self.take() {
            Ok(bytes) => Ok(RecordReader::new(bytes, self.section, record)),
            Err(flaw) => {
                self.bytes = &[];
                Err(HandoverError::Field {
                    section: self.section.to_owned(),
                    record,
                    flaw,
                })
            }
        })
    }
}
