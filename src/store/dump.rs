//! Dumps the records of a store as lines of JSON.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::batch::BATCH_SIZE;
use super::directory::list_offline;
use super::error::StoreError;
use super::files::{FileSystem, OpenMode, OsFiles};
use super::log_record::{LogPlace, LogRecord};
use super::names;
use super::raw_record::raw_records;
use super::scan::{Scan, ScanStep};

/// Passes every record of a store to `tell` as a line of JSON, in the order of the segments. Damage
/// is a line as well, and reading goes on behind it.
///
/// # Errors
///
/// The directory or a file can't be read, somebody has it open, or `tell` fails.
pub fn dump(
    directory: &Path,
    tell: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<(), StoreError> {
    dump_on(&OsFiles::default(), directory, tell)
}

/// Does the same as [`dump`] on any file system.
pub(super) fn dump_on(
    files: &dyn FileSystem,
    directory: &Path,
    tell: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<(), StoreError> {
    let (numbers, _held) = list_offline(files, directory)?;
    for number in numbers {
        let path = directory.join(names::segment(number));
        let name = names::segment(number);
        let mut tell = |mut line: Map<String, Value>, at: u64| {
            line.insert("file".into(), name.as_str().into());
            line.insert("at".into(), at.into());
            tell(&Value::Object(line).to_string())
                .map_err(|source| StoreError::io("tell of", &path, source))
        };
        let flaw = |flaw: &str| Map::from_iter([("damage".to_owned(), flaw.into())]);
        let file = (files.open(&path, OpenMode::Read))
            .map_err(|source| StoreError::io("open", &path, source))?;
        let mut scan = match Scan::begin(file, &path, number) {
            Ok(scan) => scan,
            Err(StoreError::Io { what, path, source }) => {
                return Err(StoreError::Io { what, path, source });
            }
            Err(error) => {
                tell(flaw(&error.to_string()), 0)?;
                continue;
            }
        };
        loop {
            let bad = match scan.step()? {
                ScanStep::Batch { at, head, body } => {
                    for (start, raw) in raw_records(body) {
                        let line = match LogRecord::read(raw) {
                            Ok(log_record) => told(&log_record, head.at_ms),
                            Err(what) => flaw(what),
                        };
                        tell(line, at + (BATCH_SIZE + start) as u64)?;
                    }
                    continue;
                }
                ScanStep::End => break,
                ScanStep::Bad { batch, at, flaw } => (batch, at, flaw),
            };
            tell(flaw(bad.2), bad.1)?;
            if scan.skip_to_batch(bad.0)?.is_none() {
                break;
            }
        }
    }
    Ok(())
}

fn told(log_record: &LogRecord<'_>, at_ms: u64) -> Map<String, Value> {
    let place = |place: &LogPlace<'_>| {
        json!({
            "channel": place.channel, "epoch": place.at.epoch.bits(), "offset": place.at.offset,
        })
    };
    let line = match log_record {
        LogRecord::Message(message) => json!({
            "kind": if message.is_moved { "moved" } else { "message" },
            "places": message.places().map(|there| place(&there)).collect::<Vec<_>>(),
            "id": message.body.id, "from": message.body.from, "to": message.body.to,
            "ts": message.body.ts, "data": message.body.data, "mark": message.mark,
            "opens": message.opens,
            "sameness": message.idempotency_key.map(|key| format!("{key:032x}")),
        }),
        LogRecord::Purge { channel, epoch } => {
            json!({ "kind": "purge", "channel": channel, "epoch": epoch.bits() })
        }
        LogRecord::Trim { channel, through } => {
            json!({ "kind": "trim", "channel": channel, "through": through })
        }
        LogRecord::Forget { channel } => json!({ "kind": "forget", "channel": channel }),
        LogRecord::Ack {
            channel,
            reader,
            offset,
        } => json!({ "kind": "ack", "channel": channel, "reader": reader, "offset": offset }),
        LogRecord::Member {
            room,
            user,
            lasting,
        } => json!({ "kind": "member", "room": room, "user": user, "lasting": lasting }),
        LogRecord::Opener { channel, user } => {
            json!({ "kind": "opener", "channel": channel, "user": user })
        }
        LogRecord::Mark { producer, number } => {
            json!({ "kind": "mark", "producer": producer, "number": number })
        }
        LogRecord::Serials { below } => json!({ "kind": "serials", "below": below }),
        LogRecord::Checkpoint {
            forgotten,
            serials_below,
            needed,
        } => json!({
            "kind": "checkpoint", "forgotten": forgotten, "serials_below": serials_below,
            "needs": needed.iter().map(|segment| names::segment(segment.number)).collect::<Vec<_>>(),
        }),
        LogRecord::Channel {
            channel,
            epoch,
            floor,
            newest,
        } => json!({
            "kind": "channel", "channel": channel, "epoch": epoch.bits(), "floor": floor,
            "newest": newest,
        }),
        LogRecord::CheckpointEnd => json!({ "kind": "checkpoint_end" }),
    };
    let Value::Object(mut line) = line else {
        unreachable!("all of them are objects");
    };
    line.insert("written_at".into(), at_ms.into());
    line
}
