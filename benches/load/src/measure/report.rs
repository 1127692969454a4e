//! What a run found: a table for people, a line of JSON for programs.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::measure::failure::Failures;
use crate::measure::latency::Latency;

/// Where the line of JSON goes.
#[derive(Clone, Debug)]
pub(crate) enum JsonTo {
    /// Nowhere: the table only.
    Nowhere,
    /// To standard output, alone; the table moves to standard error.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// One figure with its unit.
#[derive(Clone, Debug)]
pub(crate) enum Figure {
    /// A number of things.
    Count(u64),
    /// Things a second.
    Rate(f64),
    /// Microseconds.
    Micros(f64),
    /// Seconds.
    Seconds(f64),
    /// Bytes.
    Bytes(f64),
    /// A share of 100.
    Percent(f64),
    /// One figure divided by another.
    Ratio(f64),
}

impl Figure {
    /// The figure for people, with its unit where the label doesn't say it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Count(count) => grouped(*count as f64, 0),
            Self::Rate(rate) => grouped(*rate, 0),
            Self::Micros(us) if *us >= 1000.0 => grouped(*us, 0),
            Self::Micros(us) if *us >= 10.0 => format!("{us:.1}"),
            Self::Micros(us) => format!("{us:.3}"),
            Self::Seconds(seconds) => format!("{seconds:.2}"),
            Self::Bytes(bytes) => grouped(*bytes, 0),
            Self::Percent(percent) => format!("{percent:.2} %"),
            Self::Ratio(ratio) => format!("{ratio:.2}"),
        }
    }

    /// The figure for programs, to three decimals.
    pub(crate) fn json(&self) -> Value {
        let rounded = |number: f64| json!((number * 1000.0).round() / 1000.0);
        match self {
            Self::Count(count) => json!(count),
            Self::Rate(number) | Self::Micros(number) | Self::Seconds(number) => rounded(*number),
            Self::Bytes(number) | Self::Percent(number) | Self::Ratio(number) => rounded(*number),
        }
    }
}

/// Figures in the order in which they are shown.
#[derive(Debug, Default)]
pub(crate) struct Report {
    title: String,
    rows: Vec<(String, Vec<String>)>,
    json: Map<String, Value>,
}

impl Report {
    /// Begins a report on a mode; the title is the table's first line.
    pub(crate) fn new(mode: &str, title: String) -> Self {
        let mut json = Map::new();
        json.insert("mode".into(), mode.into());
        json.insert("title".into(), title.as_str().into());
        Self {
            title,
            rows: Vec::new(),
            json,
        }
    }

    /// Adds a row of one figure.
    pub(crate) fn add(&mut self, key: &str, label: &str, figure: Figure) {
        self.rows.push((label.into(), vec![figure.shown()]));
        self.json.insert(key.into(), figure.json());
    }

    /// Adds a row of words that is for people only.
    pub(crate) fn note(&mut self, label: &str, cells: &[&str]) {
        self.rows.push((
            label.into(),
            cells.iter().map(|cell| cell.to_string()).collect(),
        ));
    }

    /// Adds a value that is for programs only.
    pub(crate) fn json(&mut self, key: &str, value: Value) {
        self.json.insert(key.into(), value);
    }

    /// Adds a row of floor, server, and how many times the floor the server is.
    pub(crate) fn compare(
        &mut self,
        key: &str,
        label: &str,
        floor: Figure,
        server: Figure,
        ratio: f64,
    ) {
        let ratio = Figure::Ratio(ratio);
        self.rows.push((
            label.into(),
            [&floor, &server, &ratio].map(Figure::shown).into(),
        ));
        self.json.insert(format!("floor_{key}"), floor.json());
        self.json.insert(key.into(), server.json());
        self.json.insert(format!("ratio_{key}"), ratio.json());
    }

    /// Adds the usual quantiles; keys begin with `latency_`.
    pub(crate) fn latency(&mut self, latency: &Latency) {
        for (key, label, us) in quantiles(latency) {
            self.add(key, label, Figure::Micros(us));
        }
    }

    /// Adds how many failures there were, and of what kind.
    pub(crate) fn failures(&mut self, failures: &Failures) {
        self.add("failures", "failures", Figure::Count(failures.count()));
        let mut kinds = Map::new();
        for (kind, count, words) in failures.iter() {
            self.rows.push((
                format!("  {kind}"),
                vec![count.to_string(), format!("first: {words}")],
            ));
            kinds.insert(kind.into(), json!({ "count": count, "first": words }));
        }
        self.json.insert("failures_by_kind".into(), kinds.into());
    }

    /// Prints the table, and the JSON where it was asked to go.
    ///
    /// # Errors
    ///
    /// The output or the file can't be written.
    pub(crate) fn print(&self, to: &JsonTo) -> io::Result<()> {
        let line = Value::Object(self.json.clone());
        match to {
            JsonTo::Nowhere => print_text(&self.table()),
            JsonTo::Stdout => {
                // The reader of the JSON may be the only one.
                _ = write!(io::stderr().lock(), "{}", self.table());
                print_text(&format!("{line}\n"))
            }
            JsonTo::File(path) => {
                print_text(&self.table())?;
                writeln!(
                    OpenOptions::new().create(true).append(true).open(path)?,
                    "{line}"
                )
            }
        }
    }

    fn table(&self) -> String {
        let label_width = self
            .rows
            .iter()
            .map(|(label, _)| label.chars().count())
            .max()
            .unwrap_or(0);
        let mut table = format!("{}\n", self.title);
        for (label, cells) in &self.rows {
            let pad = label_width - label.chars().count();
            table += &format!("  {label}{}", " ".repeat(pad));
            for cell in cells {
                table += &format!("  {cell:>14}");
            }
            table.push('\n');
        }
        table
    }
}

/// The quantiles that every latency is reported by: key, label, microseconds.
pub(crate) fn quantiles(latency: &Latency) -> [(&'static str, &'static str, f64); 5] {
    [
        (
            "latency_p50_us",
            "latency p50, µs",
            latency.quantile_us(0.5),
        ),
        (
            "latency_p90_us",
            "latency p90, µs",
            latency.quantile_us(0.9),
        ),
        (
            "latency_p99_us",
            "latency p99, µs",
            latency.quantile_us(0.99),
        ),
        (
            "latency_p999_us",
            "latency p99.9, µs",
            latency.quantile_us(0.999),
        ),
        ("latency_max_us", "latency max, µs", latency.max_us()),
    ]
}

/// The first divided by the second; 0 when there is nothing to divide by.
pub(crate) fn ratio(figure: f64, by: f64) -> f64 {
    if by > 0.0 { figure / by } else { 0.0 }
}

/// The middle one of some figures; the mean of the two middle ones of an even number; 0 of none.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    match (figures.len(), figures.len() / 2) {
        (0, _) => 0.0,
        (count, middle) if count % 2 == 1 => figures[middle],
        (_, middle) => (figures[middle - 1] + figures[middle]) / 2.0,
    }
}

/// A number with a comma at every thousand.
pub(crate) fn grouped(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let end = text.find('.').unwrap_or(text.len());
    let mut grouped = String::with_capacity(text.len() + end / 3);
    for (index, digit) in text[..end].char_indices() {
        if index > 0 && (end - index) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &text[end..]
}

fn print_text(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match printed {
        // `head` has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_off() {
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(-123.4, 1), "-123.4");
        assert_eq!(grouped(999.0, 0), "999");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_comparison_gives_floor_server_and_ratio() {
        let mut report = Report::new("echo", "t".into());
        report.compare(
            "rate",
            "messages/s",
            Figure::Rate(200.0),
            Figure::Rate(100.0),
            0.5,
        );
        assert_eq!(report.json["ratio_rate"], 0.5);
        assert_eq!(report.json["floor_rate"], 200.0);
        assert!(report.table().contains("0.50"));
    }
}
