use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::base::Tick;

/// A field of each kind.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    U64(u64),
    I64(i64),
    U128(u128),
    Flag(bool),
    Moment(u64),
    Bytes(Vec<u8>),
    Text(String),
    Optional(Option<i64>),
    List(Vec<String>),
    Record(Vec<Value>),
}

impl Value {
    fn write(&self, record: &mut RecordWriter<'_>) {
        match self {
            Self::U64(number) => record.u64(*number),
            Self::I64(number) => record.i64(*number),
            Self::U128(number) => record.u128(*number),
            Self::Flag(is_set) => record.flag(*is_set),
            Self::Moment(tick) => record.tick(Tick(*tick)),
            Self::Bytes(bytes) => record.bytes(bytes),
            Self::Text(text) => record.text(text),
            Self::Optional(number) => record.optional(*number, RecordWriter::i64),
            Self::List(texts) => record.list(texts, |record, text| record.text(text)),
            Self::Record(values) => record.record(|record| write_all(values, record)),
        }
    }

    /// Reads a value of the same kind.
    fn read_alike(&self, record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        Ok(match self {
            Self::U64(_) => Self::U64(record.u64()?),
            Self::I64(_) => Self::I64(record.i64()?),
            Self::U128(_) => Self::U128(record.u128()?),
            Self::Flag(_) => Self::Flag(record.flag()?),
            Self::Moment(_) => Self::Moment(record.tick()?.0),
            Self::Bytes(_) => Self::Bytes(record.bytes()?.to_vec()),
            Self::Text(_) => Self::Text(record.text()?.to_owned()),
            Self::Optional(_) => Self::Optional(record.optional(RecordReader::i64)?),
            Self::List(_) => Self::List(record.list(|record| Ok(record.text()?.to_owned()))?),
            Self::Record(values) => Self::Record(read_alike(values, &mut record.record()?)?),
        })
    }
}

fn write_all(values: &[Value], record: &mut RecordWriter<'_>) {
    for value in values {
        value.write(record);
    }
}

fn read_alike(
    values: &[Value],
    record: &mut RecordReader<'_>,
) -> Result<Vec<Value>, HandoverError> {
    values
        .iter()
        .map(|value| value.read_alike(record))
        .collect()
}

fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just(0),
        Just(127),
        Just(128),
        Just(1 << 35),
        Just(u64::MAX),
        any::<u64>()
    ];
    let field = prop_oneof![
        number.clone().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        (-70_i64..70).prop_map(Value::I64),
        any::<u128>().prop_map(Value::U128),
        any::<bool>().prop_map(Value::Flag),
        number.prop_map(Value::Moment),
        vec(any::<u8>(), 0..200).prop_map(Value::Bytes),
        ".{0,20}".prop_map(Value::Text),
        any::<Option<i64>>().prop_map(Value::Optional),
        vec(".{0,4}", 0..5).prop_map(Value::List),
    ];
    field.prop_recursive(3, 20, 4, |field| vec(field, 0..4).prop_map(Value::Record))
}

fn head() -> HandoverHead {
    HandoverHead {
        program: "0.1.0".to_owned(),
        pid: 4_711,
        tick: Tick(86_400_000),
        serials_from: 1 << 40,
    }
}

/// A handover with two sections, and with a record that is empty.
fn small() -> Vec<u8> {
    let mut writer = HandoverWriter::new();
    let section = writer.section("fruit", 3, 2);
    section.record(|record| {
        record.text("apple");
        record.u64(300);
        record.record(|record| record.flag(true));
    });
    section.record(|_| {});
    writer.section("reactor.1", 1, 1).record(|record| {
        record.bytes(&[7; 200]);
    });
    writer.finish(&head())
}

proptest! {
    #[test]
    fn what_was_written_is_read(records in vec(vec(any_value(), 0..6), 0..6)) {
        let mut writer = HandoverWriter::new();
        writer.section("empty", 1, 1);
        let section = writer.section("values", 2, 1);
        for values in &records {
            section.record(|record| write_all(values, record));
        }
        let bytes = writer.finish(&head());
        let handover = Handover::read(&bytes).expect("it was just written");
        prop_assert_eq!(handover.head(), &head());
        let section = handover.needed("values").expect("it was written");
        prop_assert_eq!(section.records().count(), records.len());
        for (values, record) in records.iter().zip(section.records()) {
            let mut record = record.expect("its size was written");
            prop_assert_eq!(&read_alike(values, &mut record).expect("as written"), values);
            prop_assert!(record.is_at_end());
        }
        prop_assert_eq!(handover.needed("empty").expect("it, too").records().count(), 0);
    }

    #[test]
    fn fields_of_a_newer_writer_are_skipped_and_those_of_an_older_one_have_defaults(
        known in vec(any_value(), 0..5),
        newer in vec(any_value(), 0..5),
    ) {
        let mut section = SectionWriter::new();
        section.record(|record| {
            write_all(&known, record);
            // Inside a record, too.
            record.record(|record| write_all(&newer, record));
            write_all(&newer, record);
        });
        section.record(|record| record.text("behind"));
        let mut records = Section::of("values", 1, section.as_bytes()).records();
        let mut record = records.needed().expect("the first");
        prop_assert_eq!(&read_alike(&known, &mut record).expect("as written"), &known);
        let behind = records.needed().expect("the second").text().map(str::to_owned);
        prop_assert_eq!(behind.expect("a text"), "behind");

        let mut older = SectionWriter::new();
        older.record(|record| write_all(&known, record));
        let mut record = Section::of("values", 1, older.as_bytes()).records().needed().expect("one");
        read_alike(&known, &mut record).expect("as written");
        for value in &newer {
            let default = record.or(value.clone(), |record| value.read_alike(record));
            prop_assert_eq!(&default.expect("the default"), value);
        }
        prop_assert_eq!(record.or(5, RecordReader::u64).expect("the default"), 5);
        prop_assert!(record.u64().is_err(), "without a default it is missing");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300), kinds in vec(any_value(), 0..6)) {
        let mut record = RecordReader::new(&bytes, "any", 0);
        let _ = read_alike(&kinds, &mut record);
        let records = Records::of_bytes("any", &bytes);
        prop_assert!(records.filter(Result::is_err).count() <= 1);
        prop_assert!(Handover::read(&bytes).is_err());
    }

    #[test]
    fn a_number_has_one_encoding(number: u64) {
        let (bytes, size) = varint::varint(number);
        let mut rest = &bytes[..size];
        prop_assert_eq!(varint::take_varint(&mut rest), Ok(number));
        prop_assert!(rest.is_empty());
        // The same with a byte more than it needs.
        if size < varint::VARINT_SIZE_MAX {
            let mut longer = bytes[..=size].to_vec();
            longer[size - 1] |= 0x80;
            longer[size] = 0;
            prop_assert_eq!(varint::take_varint(&mut &longer[..]), Err(FieldFlaw::Range));
        }
    }
}

#[test]
fn a_handover_with_any_bit_flipped_or_cut_anywhere_is_refused() {
    let bytes = small();
    Handover::read(&bytes).expect("whole, it is read");
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(Handover::read(&flipped).is_err(), "bit {bit} of byte {at}");
        }
        assert!(Handover::read(&bytes[..at]).is_err(), "cut at {at}");
    }
    let longer = [&bytes[..], b"\0"].concat();
    let refused = Handover::read(&longer).expect_err("a byte more");
    assert!(refused.to_string().ends_with("behind the last section"));
}

#[test]
fn a_handover_that_is_too_new_is_refused_by_name() {
    const FRUIT: SectionFormat = SectionFormat {
        name: "fruit",
        version: 2,
        oldest_reader: 2,
    };
    const REACTOR: SectionFormat = SectionFormat {
        name: "reactor",
        ..FRUIT
    };
    let bytes = small();
    let handover = Handover::read(&bytes).expect("whole");
    assert_eq!(handover.check(&[FRUIT, REACTOR]), Ok(()));
    let unknown = handover.check(&[FRUIT]).expect_err("one less");
    assert_eq!(
        unknown.to_string(),
        "this program doesn't know section reactor.1 of the handover"
    );
    let older = SectionFormat {
        version: 1,
        ..FRUIT
    };
    let newer = handover.check(&[older, REACTOR]).expect_err("older");
    assert_eq!(
        newer.to_string(),
        "section fruit of the handover asks for a reader of version 2, and this program has 1"
    );
    let missing = handover.needed("store").expect_err("never written");
    assert_eq!(
        missing.to_string(),
        "section store is missing from the handover"
    );
}

#[test]
fn a_newer_container_is_refused_before_anything_of_it_is_read() {
    let mut bytes = small();
    // The oldest reader stands behind the version.
    bytes[8..12].copy_from_slice(&[9, 0, 2, 0]);
    let refused = Handover::read(&bytes).expect_err("too new");
    assert_eq!(refused, HandoverError::Container { version: 9 });
}

#[test]
fn an_error_names_section_record_and_flaw() {
    let mut section = SectionWriter::new();
    section.record(|record| record.flag(true));
    section.record(|record| record.u64(70_000));
    let mut records = Section::of("fruit", 1, section.as_bytes()).records();
    records.needed().expect("the first");
    let mut record = records.needed().expect("the second");
    let error = |record: &RecordReader<'_>, flaw| {
        let refused = record.refuse(flaw).to_string();
        assert_eq!(
            refused,
            format!("record 1 of section fruit of the handover: {flaw}")
        );
    };
    error(&record, "it has no stone");
    let refused = record.u16().expect_err("a number above 65,535");
    assert_eq!(
        refused.to_string(),
        "record 1 of section fruit of the handover: a number is out of range"
    );
    let missing = records.needed().expect_err("there are two");
    assert_eq!(
        missing.to_string(),
        "record 2 of section fruit of the handover: it is missing"
    );
}

#[test]
fn a_list_longer_than_its_record_is_refused_before_memory_is_asked_for() {
    let mut section = SectionWriter::new();
    section.record(|record| record.size(usize::MAX >> 1));
    let mut record = Section::of("fruit", 1, section.as_bytes())
        .records()
        .needed()
        .expect("one");
    assert!(record.list(RecordReader::u64).is_err());
}

#[test]
fn small_numbers_and_moments_that_never_come_take_one_byte() {
    let mut section = SectionWriter::new();
    section.record(|record| {
        record.u64(127);
        record.i64(-64);
        record.tick(Tick::NEVER);
    });
    assert_eq!(section.as_bytes(), [3, 127, 127, 0]);
}
