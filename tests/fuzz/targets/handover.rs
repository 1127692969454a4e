//! A handover: any bytes are refused or read; what is read has every field refused or read, and is
//! read the same after it was written again.
//!
//! The first byte says what is done before it is read: with `m` (and any odd byte) its checksums are
//! mended, so that what stands behind them is tried too; else it is read as it is.

use tidings::handover::{Handover, HandoverError, HandoverWriter, RecordReader, RecordWriter};
use tidings::net::budget::ByteBudget;
use tidings::net::frame_table::HandedFrames;
use tidings::net::reactor::ReactorHandover;

/// Bytes in front of the table, and where its size stands.
const PREFIX_SIZE: usize = 16;
const TABLE_SIZE_AT: usize = 12;

/// Records inside one another that are read.
const DEPTH_MAX: usize = 4;

/// Reads a handover, each field as something that its own bytes choose.
pub fn handover(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    if first % 2 == 1 {
        mend(&mut bytes);
    }
    let Ok(handover) = Handover::read(&bytes) else {
        return;
    };
    read_reactors(&handover);
    let mut writer = HandoverWriter::new();
    for section in handover.sections() {
        let copy = writer.section(section.name(), section.version(), 1);
        let mut records = section.records();
        for mut record in records.by_ref().map_while(Result::ok) {
            read_each_as_all(&record, DEPTH_MAX);
            copy.record(|copy| while copy_field(&mut record, copy).is_ok() {});
        }
        assert!(records.next().is_none(), "an error is the last");
    }
    let size = writer.size();
    let written = writer.finish(handover.head());
    let again = Handover::read(&written).expect("it was just written");
    assert_eq!(again.head(), handover.head());
    assert_eq!(again.sections().len(), handover.sections().len());
    assert!(size <= bytes.len(), "{size} of {}", bytes.len());
}

/// Reads reactors with their frames: whatever stands there, connections or a refusal come out.
fn read_reactors(handover: &Handover<'_>) {
    let budget = ByteBudget::new(0);
    let frames = handover.needed("frames");
    let Ok(frames) = frames.and_then(|frames| HandedFrames::read(frames, &budget)) else {
        return;
    };
    for section in handover.sections() {
        if let Ok(reactor) = ReactorHandover::read(section, &frames) {
            assert!(reactor.sockets().len() <= section.as_bytes().len());
        }
    }
    drop(frames);
    assert_eq!(budget.bytes(), 0, "no frame is kept");
}

/// Reads the fields of a record as numbers, as texts, and so on; nothing panics.
fn read_each_as_all(record: &RecordReader<'_>, depth: usize) {
    let until_refused = |read: &mut dyn FnMut(&mut RecordReader<'_>) -> bool| {
        let mut record = record.clone();
        while read(&mut record) {}
    };
    until_refused(&mut |record| record.u64().is_ok());
    until_refused(&mut |record| record.u8().is_ok());
    until_refused(&mut |record| record.i64().is_ok());
    until_refused(&mut |record| record.u128().is_ok());
    until_refused(&mut |record| record.flag().is_ok());
    until_refused(&mut |record| record.tick().is_ok());
    until_refused(&mut |record| record.text().is_ok());
    until_refused(&mut |record| record.list(RecordReader::text).is_ok());
    until_refused(&mut |record| record.optional(RecordReader::bytes).is_ok());
    until_refused(&mut |record| match record.record() {
        Ok(inner) if depth > 0 => {
            read_each_as_all(&inner, depth - 1);
            true
        }
        read => read.is_ok(),
    });
}

/// Copies a field: a text where there is one, else a number.
fn copy_field(
    record: &mut RecordReader<'_>,
    copy: &mut RecordWriter<'_>,
) -> Result<(), HandoverError> {
    let text = record.clone().text().map(str::to_owned);
    match text {
        Ok(text) => {
            copy.text(&text);
            record.text().map(drop)
        }
        Err(_) => record.u64().map(|number| copy.u64(number)),
    }
}

/// Makes the checksums right, as far as the sizes go. Written by the description of the format alone,
/// so that a checksum which the reader takes for right is.
fn mend(bytes: &mut Vec<u8>) {
    let Some(size) = bytes.get(TABLE_SIZE_AT..PREFIX_SIZE) else {
        return;
    };
    let size = u32::from_le_bytes(size.try_into().expect("four bytes")) as usize;
    let Some(end) = size.checked_sub(4).map(|size| PREFIX_SIZE + size) else {
        return;
    };
    if bytes.len() < end + 4 {
        return;
    }
    let table = mend_table(&bytes[PREFIX_SIZE..end], &bytes[end + 4..]);
    let table_size = (table.len() + 4) as u32;
    let mut mended = bytes[..TABLE_SIZE_AT].to_vec();
    mended.extend_from_slice(&table_size.to_le_bytes());
    mended.extend_from_slice(&table);
    mended.extend_from_slice(&crc32c::crc32c(&mended).to_le_bytes());
    mended.extend_from_slice(&bytes[end + 4..]);
    *bytes = mended;
}

/// The table with the checksum of each section; from the first line that isn't one on it stays as it is.
fn mend_table(table: &[u8], mut sections: &[u8]) -> Vec<u8> {
    let mut rest = table;
    let mut mended = Vec::new();
    if let Some(head) = take_sized(&mut rest) {
        put_sized(&mut mended, head);
    }
    let mut unread = rest;
    while let Some(line) = take_sized(&mut rest) {
        let Some(line) = mend_line(line, &mut sections) else {
            break;
        };
        put_sized(&mut mended, &line);
        unread = rest;
    }
    mended.extend_from_slice(unread);
    mended
}

fn mend_line(line: &[u8], sections: &mut &[u8]) -> Option<Vec<u8>> {
    let mut rest = line;
    take_sized(&mut rest)?;
    take_number(&mut rest)?;
    take_number(&mut rest)?;
    let size = usize::try_from(take_number(&mut rest)?).ok()?;
    let (section, behind) = sections.split_at_checked(size)?;
    *sections = behind;
    let mut mended = line[..line.len() - rest.len()].to_vec();
    take_number(&mut rest)?;
    put_number(&mut mended, crc32c::crc32c(section).into());
    mended.extend_from_slice(rest);
    Some(mended)
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = usize::try_from(take_number(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    Some(taken)
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_sized(bytes: &mut Vec<u8>, sized: &[u8]) {
    put_number(bytes, sized.len() as u64);
    bytes.extend_from_slice(sized);
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
