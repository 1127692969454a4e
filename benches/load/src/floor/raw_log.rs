//! The floor of everything durable: records appended to a file, one write and one sync for as many
//! as are in flight, and nothing else. What a store costs more than this is its own.
//!
//! With `--journal` the log of the program does the same beside it, in turns: a disk that is slow
//! for a moment is slow for both.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use rustix::time::{ClockId, clock_gettime};

use crate::flags::{JsonFlag, seconds};
use crate::floor::durable_log::{LogTotals, OpenLog};
use crate::floor::log_file::LogFile;
use crate::measure::failure::Failures;
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, ratio};

/// How long one of the two goes on before it is the other's turn.
const TURN: Duration = Duration::from_millis(200);

/// The floor of what is durable: records appended to a file, one sync for all in flight.
#[derive(Debug, Args)]
pub(crate) struct RawLog {
    /// Directory on the disk in question; what is made in it is removed again.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Records that wait for one sync.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Bytes of a record.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    size: u32,
    /// Measured time, in seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Has the server's own journal do it beside, in turns.
    #[arg(long)]
    journal: bool,
    #[command(flatten)]
    pub(crate) json: JsonFlag,
}

impl RawLog {
    /// Runs it; `open` makes the log that `--journal` asks for.
    ///
    /// # Errors
    ///
    /// The directory or a file in it can't be written.
    pub(crate) fn run(&self, open: OpenLog) -> anyhow::Result<(Report, Failures)> {
        let (in_flight, size) = (self.in_flight as usize, self.size as usize);
        let mut floor = LogFile::new(&self.data)
            .with_context(|| format!("can't make a file in --data {}", self.data.display()))?;
        let mut journal = match self.journal {
            true => Some(open(&self.data, size)?),
            false => None,
        };
        let batch = vec![b'x'; in_flight * size];
        let (mut by_floor, mut by_journal) = (LogFigures::default(), LogFigures::default());
        let mut progress = Progress::new();
        while by_floor.time < self.seconds {
            by_floor.turn(in_flight, || Ok(floor.append(&batch)?))?;
            if let Some(journal) = &mut journal {
                by_journal.turn(in_flight, || {
                    (0..in_flight).try_for_each(|_| journal.append())?;
                    journal.sync()
                })?;
            }
            progress.tick(|| format!("{} records", by_floor.records));
        }
        let mut report = Report::new("raw-log", self.title());
        report.json("in_flight", in_flight.into());
        report.json("size", size.into());
        match journal {
            None => by_floor.add_to(&mut report),
            Some(journal) => {
                report.note("", &["floor", "journal", "ratio"]);
                by_floor.compare_in(&by_journal, &mut report);
                add_totals(journal.totals(), &mut report);
            }
        }
        Ok((report, Failures::default()))
    }

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

fn add_totals(totals: LogTotals, report: &mut Report) {
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

#[derive(Debug, Default)]
struct LogFigures {
    time: Duration,
    cpu: Duration,
    records: u64,
    commits: u64,
    latency: Latency,
}

impl LogFigures {
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

    fn add_to(&self, report: &mut Report) {
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

    fn compare_in(&self, other: &Self, report: &mut Report) {
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
