//! What the lock file says: which store this is, and which of its files is the newest.
//!
//! Without it, a directory whose newest file was taken away would look like an older store, and one
//! without any like a new one.

use super::bytes::{Fields, put_u32, put_u64};
use super::files::File;
use std::io;

const MAGIC: &[u8; 8] = b"TIDINGSI";
const SIZE: usize = 32;

/// A store, and its newest file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) key: [u64; 2],
    pub(super) newest: u32,
}

/// What there is to be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Identity(Identity),
    /// Something else.
    Garbage,
}

impl Identity {
    /// Notes it durably.
    pub(super) fn write(&self, file: &dyn File) -> io::Result<()> {
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

    pub(super) fn read(file: &dyn File) -> io::Result<Told> {
        let mut bytes = [0; SIZE];
        let size = file.read_full_at(&mut bytes, 0)?;
        if size == 0 {
            return Ok(Told::Nothing);
        }
        Ok(parse(&bytes[..size]).map_or(Told::Garbage, Told::Identity))
    }
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let checked = bytes.get(..SIZE - 4)?;
    let mut fields = Fields(checked.strip_prefix(MAGIC)?);
    let identity = Identity {
        key: [fields.u64().ok()?, fields.u64().ok()?],
        newest: fields.u32().ok()?,
    };
    let checksum = Fields(&bytes[SIZE - 4..]).u32().ok()?;
    (checksum == crc32c::crc32c(checked)).then_some(identity)
}
