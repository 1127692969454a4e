//! The list of all descriptors that a handover names, so that each is looked at before it can be taken
//! for another one.

use std::os::fd::RawFd;

use super::kernel::DescriptorKind;
use crate::handover::{Handover, HandoverError, SectionFormat, SectionWriter};

/// The section of the descriptors.
pub const DESCRIPTORS: SectionFormat = SectionFormat {
    name: "descriptors",
    version: 1,
    oldest_reader: 1,
};

/// The kinds, by their numbers in the section.
const KINDS: [DescriptorKind; 3] = [
    DescriptorKind::Socket,
    DescriptorKind::File,
    DescriptorKind::Other,
];

/// Writes the list.
pub(super) fn write(named: &[(RawFd, DescriptorKind)], section: &mut SectionWriter) {
    section.record(|record| {
        record.list(named.iter(), |record, (number, kind)| {
            record.u64(u64::from(number.unsigned_abs()));
            let kind = KINDS.iter().position(|one| one == kind);
            record.size(kind.unwrap_or_default());
        });
    });
}

/// Reads the list.
pub(super) fn named_in(
    handover: &Handover<'_>,
) -> Result<Vec<(RawFd, DescriptorKind)>, HandoverError> {
    let section = handover.needed(DESCRIPTORS.name)?;
    section.check(DESCRIPTORS.version)?;
    let mut record = section.records().needed()?;
    record.list(|record| {
        let number = record.u32()?;
        let number =
            RawFd::try_from(number).map_err(|_| record.refuse("no descriptor has that number"))?;
        let kind = record.size()?;
        let kind = KINDS.get(kind).copied();
        kind.map(|kind| (number, kind))
            .ok_or_else(|| record.refuse("there is no such kind of descriptor"))
    })
}
