//! The floor of everything durable: records appended to a file, one write and one sync for as many
//! as are in flight, and nothing else. What a store costs more than this is its own.
//!
//! With [`Settings::journal`] the server's own journal does the same beside it, in turns: a disk
//! that is slow for a moment is so for both.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

use crate::floor::durable_log::{LogTotals, OpenLog};
use crate::floor::log_file::Log;
use crate::measure::failure::Failures;
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, ratio};

/// How long one of the two goes on before it is the other's turn.
const TURN: Duration = Duration::from_millis(200);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// An existing directory on the disk in question; what is made there is removed again.
    pub(crate) data: PathBuf,
    /// Records a sync.
    pub(crate) in_flight: usize,
    /// Bytes of a record; of a message's data for the journal.
    pub(crate) size: usize,
    /// How long, each.
    pub(crate) seconds: Duration,
    /// Whether the journal does it as well.
    pub(crate) journal: bool,
}

/// Runs it.
///
/// # Errors
///
/// The directory or a file in it can't be written.
pub(crate) fn run(settings: &Settings, open: OpenLog) -> anyhow::Result<(Report, Failures)> {
    let mut floor = Log::new(&settings.data)
        .with_context(|| format!("can't make a file in --data {}", settings.data.display()))?;
    let mut journal = match settings.journal {
        true => Some(open(&settings.data, settings.size)?),
        false => None,
    };
    let batch = vec![b'x'; settings.in_flight * settings.size];
    let (mut by_floor, mut by_journal) = (Measured::default(), Measured::default());
    let mut progress = Progress::new();
    while by_floor.time < settings.seconds {
        by_floor.turn(settings.in_flight, || Ok(floor.append(&batch)?))?;
        if let Some(journal) = &mut journal {
            by_journal.turn(settings.in_flight, || {
                (0..settings.in_flight).try_for_each(|_| journal.append())?;
                journal.sync()
            })?;
        }
        progress.tick(|| format!("{} records", by_floor.records));
    }
    let mut report = Report::new("raw-log", settings.title());
    report.json("in_flight", settings.in_flight.into());
    report.json("size", settings.size.into());
    match journal {
        None => by_floor.tell(&mut report),
        Some(journal) => {
            report.note("", &["floor", "journal", "ratio"]);
            by_floor.tell_beside(&by_journal, &mut report);
            tell_totals(journal.totals(), &mut report);
        }
    }
    Ok((report, Failures::default()))
}

fn tell_totals(totals: LogTotals, report: &mut Report) {
    let bytes = ratio(totals.bytes as f64, totals.records as f64);
    report.add(
        "journal_bytes_per_record",
        "bytes/record",
        Figure::Bytes(bytes),
    );
    let mean = ratio(totals.sync_us_sum as f64, totals.syncs as f64);
    report.add(
        "journal_sync_mean_us",
        "sync mean, µs",
        Figure::Micros(mean),
    );
}

impl Settings {
    fn title(&self) -> String {
        format!(
            "raw log in {}: {} records of {} bytes a sync, {} s",
            self.data.display(),
            self.in_flight,
            self.size,
            self.seconds.as_secs_f64()
        )
    }
}

#[derive(Debug, Default)]
struct Measured {
    time: Duration,
    cpu: Duration,
    records: u64,
    commits: u64,
    latency: Latency,
}

impl Measured {
    fn turn(
        &mut self,
        records: usize,
        mut batch: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (begun, cpu) = (Instant::now(), cpu_time());
        let mut last = begun;
        while last - begun < TURN {
            batch()?;
            let now = Instant::now();
            self.latency.record_one(now - last);
            last = now;
            self.commits += 1;
            self.records += records as u64;
        }
        self.time += last - begun;
        self.cpu += cpu_time() - cpu;
        Ok(())
    }

    fn rate(&self) -> f64 {
        ratio(self.records as f64, self.time.as_secs_f64())
    }

    fn commit_rate(&self) -> f64 {
        ratio(self.commits as f64, self.time.as_secs_f64())
    }

    fn cpu_us(&self) -> f64 {
        ratio(self.cpu.as_secs_f64() * 1e6, self.records as f64)
    }

    fn tell(&self, report: &mut Report) {
        report.add("records", "records", Figure::Count(self.records));
        report.add("records_per_second", "records/s", Figure::Rate(self.rate()));
        report.add(
            "syncs_per_second",
            "syncs/s",
            Figure::Rate(self.commit_rate()),
        );
        report.add(
            "cpu_us_per_record",
            "CPU µs/record",
            Figure::Micros(self.cpu_us()),
        );
        report.latency(&self.latency);
    }

    fn tell_beside(&self, other: &Self, report: &mut Report) {
        let rate = |measured: &Self| Figure::Rate(measured.rate());
        report.compare(
            "records_per_second",
            "records/s",
            rate(self),
            rate(other),
            ratio(other.rate(), self.rate()),
        );
        report.compare(
            "cpu_us_per_record",
            "CPU µs/record",
            Figure::Micros(self.cpu_us()),
            Figure::Micros(other.cpu_us()),
            ratio(other.cpu_us(), self.cpu_us()),
        );
        for (key, label, quantile) in [
            ("latency_p50_us", "commit p50, µs", 0.5),
            ("latency_p99_us", "commit p99, µs", 0.99),
        ] {
            let floor = self.latency.quantile_us(quantile);
            let journal = other.latency.quantile_us(quantile);
            report.compare(
                key,
                label,
                Figure::Micros(floor),
                Figure::Micros(journal),
                ratio(journal, floor),
            );
        }
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
