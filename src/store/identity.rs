//! The identity of a store, as its lock file says: its key, and the number of its newest segment.
//!
//! Without it, a directory whose newest segment was taken away would look like an older store, and
//! one without any segment like a new store.

use super::bytes::{FieldReader, put_u32, put_u64};
use super::files::StoreFile;
use std::io;

const MAGIC: &[u8; 8] = b"TIDINGSI";
const SIZE: usize = 32;

/// The key of a store, and the number of its newest segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoreIdentity {
    pub(super) key: [u64; 2],
    pub(super) newest: u32,
}

/// The contents of a lock file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoredIdentity {
    Absent,
    Present(StoreIdentity),
    /// The file holds bytes that are no identity.
    Unreadable,
}

impl StoreIdentity {
    /// Writes the identity durably.
    pub(super) fn write(&self, file: &dyn StoreFile) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend_from_slice(MAGIC);
        put_u64(&mut bytes, self.key[0]);
        put_u64(&mut bytes, self.key[1]);
        put_u32(&mut bytes, self.newest);
        let checksum = crc32c::crc32c(&bytes);
        put_u32(&mut bytes, checksum);
        file.write_all_at(&bytes, 0)?;
        file.sync_data()
    }

    /// Reads the identity from the lock file.
    pub(super) fn read(file: &dyn StoreFile) -> io::Result<StoredIdentity> {
        let mut bytes = [0; SIZE];
        let size = file.read_full_at(&mut bytes, 0)?;
        if size == 0 {
            return Ok(StoredIdentity::Absent);
        }
        Ok(parse(&bytes[..size]).map_or(StoredIdentity::Unreadable, StoredIdentity::Present))
    }
}

fn parse(bytes: &[u8]) -> Option<StoreIdentity> {
    let checked = bytes.get(..SIZE - 4)?;
    let mut fields = FieldReader(checked.strip_prefix(MAGIC)?);
    let identity = StoreIdentity {
        key: [fields.u64().ok()?, fields.u64().ok()?],
        newest: fields.u32().ok()?,
    };
    let checksum = FieldReader(&bytes[SIZE - 4..]).u32().ok()?;
    (checksum == crc32c::crc32c(checked)).then_some(identity)
}
