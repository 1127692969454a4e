//! Handovers of earlier versions, as files, are read by this one.

use tidings::base::Tick;
use tidings::handover::{Handover, RecordReader};

/// Made by the description of the format alone, with a field of a newer image at the end of its head
/// and in its table.
const FIRST: &[u8] = include_bytes!("golden-1.bin");

#[test]
fn a_handover_of_the_first_format_is_read() {
    let handover = Handover::read(FIRST).expect("it is whole");
    let head = handover.head();
    assert_eq!((&*head.program, head.pid), ("0.1.0", 4_711));
    assert_eq!((head.tick, head.serials_from), (Tick(86_400_000), 1 << 40));
    let names: Vec<_> = handover.sections().map(|section| section.name()).collect();
    assert_eq!(names, ["fruit", "reactor.1", "empty"]);

    let fruit = handover.needed("fruit").expect("the first");
    assert_eq!((fruit.version(), fruit.check(2)), (3, Ok(())));
    assert!(fruit.check(1).is_err(), "it asks for a reader of version 2");
    let mut records = fruit.records();
    let mut record = records.needed().expect("the first record");
    assert_eq!(record.text().expect("a text"), "apple");
    assert_eq!(record.u64().expect("a number"), 300);
    assert_eq!(record.i64().expect("a number below 0"), -3);
    assert!(record.flag().expect("a yes"));
    assert_eq!(record.tick().expect("a moment"), Tick::NEVER);
    assert_eq!(record.bytes().expect("bytes"), b"\0\xff");
    let number = |record: &mut RecordReader<'_>| record.optional(RecordReader::u64);
    assert_eq!(number(&mut record).expect("no number"), None);
    assert_eq!(number(&mut record).expect("a number"), Some(7));
    assert_eq!(record.list(RecordReader::text).expect("a list"), ["a", "b"]);
    assert_eq!(record.u128().expect("a long number"), 5);
    let mut inner = record.record().expect("a record inside");
    assert_eq!((inner.u8().expect("1"), inner.u8().expect("2")), (1, 2));
    assert!(inner.is_at_end() && record.is_at_end());
    assert!(records.needed().expect("the second record").is_at_end());
    assert!(records.next().is_none());
}
