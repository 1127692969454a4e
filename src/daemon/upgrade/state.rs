//! What a daemon hands over of itself: how it was started, what its settings were read from, and the
//! descriptors that are its own.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use tidings::handover::{
    Handover, HandoverError, RecordReader, RecordWriter, SectionFormat, SectionWriter,
};
use tidings::server::upgrade::kernel::DescriptorKind;

use crate::config::FileTexts;
use crate::control::{ControlPeer, SocketPlace};

/// The section of the daemon.
pub(crate) const DAEMON: SectionFormat = SectionFormat {
    name: "daemon",
    version: 2,
    oldest_reader: 1,
};

/// A daemon, as the next image goes on with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonState {
    /// The arguments as they were given, secrets and all.
    pub arguments: Vec<OsString>,
    /// The path that the program was started by.
    pub started_by: PathBuf,
    /// The texts that the settings in force were read from.
    pub texts: FileTexts,
    /// The time of the start, in Unix milliseconds.
    pub started_unix_ms: u64,
    /// The number of the settings in force, and since when they are, in Unix milliseconds.
    pub generation: u64,
    /// See `generation`.
    pub in_force_since_unix_ms: u64,
    /// Whether a terminal can take the daemon with it.
    pub had_terminal: bool,
    /// The moment from which nothing was read, by the monotonic clock, in microseconds.
    pub stood_since_us: u64,
    /// The connections that are carried.
    pub connections: u64,
    /// The lock of the data.
    pub lock: Option<RawFd>,
    /// The control socket.
    pub control: Option<(RawFd, SocketPlace)>,
    /// Clients of the control socket without an answer.
    pub peers: Vec<ControlPeer>,
    /// Errands that were asked for and wait.
    pub pending: PendingErrands,
    /// The addresses of sockets that the program was started with.
    pub given: Vec<String>,
    /// WebSockets that belong to `/echo`.
    pub echoes: Vec<u64>,
    /// The counts of errands that have ended.
    pub errand_counts: Vec<u64>,
}

/// One errand of each kind may wait while another is done. Those that wait go on in the next image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingErrands {
    /// The settings are read anew.
    pub reload: bool,
    /// The log file is opened anew.
    pub reopen_log: bool,
    /// The workers and the processes are renewed.
    pub renew: bool,
    /// The program is replaced.
    pub upgrade: bool,
}

impl PendingErrands {
    /// Whether nothing is to be done.
    pub fn is_none(self) -> bool {
        !(self.reload || self.reopen_log || self.renew || self.upgrade)
    }
}

impl DaemonState {
    /// Lists the descriptors that it names.
    pub(crate) fn descriptors(&self) -> Vec<(RawFd, DescriptorKind)> {
        let lock = self.lock.map(|number| (number, DescriptorKind::File));
        let control = self.control.iter().map(|(number, _)| *number);
        let peers = self.peers.iter().map(|peer| peer.descriptor);
        let sockets = control.chain(peers);
        let sockets = sockets.map(|number| (number, DescriptorKind::Socket));
        lock.into_iter().chain(sockets).collect()
    }

    pub(crate) fn write(&self, section: &mut SectionWriter) {
        section.record(|record| {
            let arguments = self.arguments.iter();
            record.list(arguments, |record, one| record.bytes(one.as_bytes()));
            write_path(record, &self.started_by);
            record.list(self.texts.iter(), |record, (path, text)| {
                record.record(|record| {
                    write_path(record, path);
                    record.text(text);
                });
            });
            record.u64(self.started_unix_ms);
            record.u64(self.generation);
            record.u64(self.in_force_since_unix_ms);
            record.flag(self.had_terminal);
            record.u64(self.stood_since_us);
            record.u64(self.connections);
            record.optional(self.lock, write_number);
            record.optional(self.control.as_ref(), |record, (number, place)| {
                record.record(|record| {
                    write_number(record, *number);
                    write_path(record, &place.path);
                    record.u64(place.identity.0);
                    record.u64(place.identity.1);
                });
            });
            record.list(self.peers.iter(), |record, peer| {
                record.record(|record| {
                    write_number(record, peer.descriptor);
                    record.bytes(&peer.asked);
                    record.flag(peer.awaits_upgrade);
                });
            });
            record.flag(self.pending.reload);
            record.flag(self.pending.reopen_log);
            record.list(self.given.iter(), |record, address| record.text(address));
            record.list(self.echoes.iter(), |record, fd| record.u64(*fd));
            record.list(self.errand_counts.iter(), |record, count| {
                record.u64(*count)
            });
            record.flag(self.pending.upgrade);
            record.flag(self.pending.renew);
        });
    }

    pub fn read(handover: &Handover<'_>) -> Result<Self, HandoverError> {
        let section = handover.needed(DAEMON.name)?;
        section.check(DAEMON.version)?;
        let record = &mut section.records().needed()?;
        let mut state = Self {
            arguments: record.list(|record| Ok(OsString::from_vec(record.bytes()?.to_vec())))?,
            started_by: read_path(record)?,
            texts: record
                .list(|record| {
                    let record = &mut record.record()?;
                    Ok((read_path(record)?, record.text()?.to_owned()))
                })?
                .into_iter()
                .collect(),
            started_unix_ms: record.u64()?,
            generation: record.u64()?,
            in_force_since_unix_ms: record.u64()?,
            had_terminal: record.flag()?,
            stood_since_us: record.u64()?,
            connections: record.u64()?,
            lock: record.optional(read_number)?,
            control: record.optional(|record| {
                let record = &mut record.record()?;
                let number = read_number(record)?;
                let path = read_path(record)?;
                let identity = (record.u64()?, record.u64()?);
                Ok((number, SocketPlace { path, identity }))
            })?,
            peers: record.list(|record| {
                let record = &mut record.record()?;
                Ok(ControlPeer {
                    descriptor: read_number(record)?,
                    asked: record.bytes()?.to_vec(),
                    awaits_upgrade: record.flag()?,
                })
            })?,
            pending: PendingErrands {
                reload: record.flag()?,
                reopen_log: record.flag()?,
                ..PendingErrands::default()
            },
            given: record.list(|record| Ok(record.text()?.to_owned()))?,
            echoes: record.list(RecordReader::u64)?,
            errand_counts: record.or(Vec::new(), |record| record.list(RecordReader::u64))?,
        };
        // Since version 2.
        state.pending.upgrade = record.or(false, RecordReader::flag)?;
        state.pending.renew = record.or(false, RecordReader::flag)?;
        Ok(state)
    }
}

fn write_number(record: &mut RecordWriter<'_>, number: RawFd) {
    record.u64(u64::from(number.unsigned_abs()));
}

fn read_number(record: &mut RecordReader<'_>) -> Result<RawFd, HandoverError> {
    let number = record.u32()?;
    RawFd::try_from(number).map_err(|_| record.refuse("no descriptor has that number"))
}

fn write_path(record: &mut RecordWriter<'_>, path: &Path) {
    record.bytes(path.as_os_str().as_bytes());
}

fn read_path(record: &mut RecordReader<'_>) -> Result<PathBuf, HandoverError> {
    Ok(OsStr::from_bytes(record.bytes()?).into())
}

#[cfg(test)]
mod tests {
    use tidings::handover::{HandoverHead, HandoverWriter};

    use super::*;

    fn state() -> DaemonState {
        let place = SocketPlace {
            path: "/run/control.sock".into(),
            identity: (1, 2),
        };
        DaemonState {
            arguments: vec!["tidings".into(), OsString::from_vec(vec![b'-', 0xff])],
            started_by: "/usr/bin/tidings".into(),
            texts: [("t.toml".into(), "listen = \"[::1]:1\"".to_owned())]
                .into_iter()
                .collect(),
            started_unix_ms: 3,
            generation: 4,
            in_force_since_unix_ms: 5,
            had_terminal: true,
            stood_since_us: 6,
            connections: 7,
            lock: Some(8),
            control: Some((9, place)),
            peers: vec![ControlPeer {
                descriptor: 10,
                asked: b"{\"comm".to_vec(),
                awaits_upgrade: true,
            }],
            pending: PendingErrands {
                reload: true,
                reopen_log: false,
                renew: false,
                upgrade: true,
            },
            given: vec!["[::1]:1".to_owned()],
            echoes: vec![11, 1 << 40],
            errand_counts: vec![12, 0, 13],
        }
    }

    #[test]
    fn what_was_handed_over_is_taken_over() {
        let without = DaemonState {
            lock: None,
            control: None,
            peers: Vec::new(),
            ..state()
        };
        for state in [state(), without] {
            let mut writer = HandoverWriter::new();
            state.write(writer.section_of(DAEMON));
            let bytes = writer.finish(&HandoverHead {
                program: "0".into(),
                pid: 1,
                tick: tidings::base::Tick(2),
                serials_from: 3,
            });
            let handover = Handover::read(&bytes).expect("a handover");
            assert_eq!(DaemonState::read(&handover).expect("a daemon"), state);
        }
    }
}
