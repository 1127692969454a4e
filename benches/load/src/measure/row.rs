//! One figure of all rounds, alone or beside the floor's.

use crate::measure::latency::Latency;
use crate::measure::report::{Figure, Report, median, quantiles, ratio};

/// A figure by round; without any when it was not measured.
#[derive(Debug)]
pub(crate) struct Row {
    key: String,
    label: String,
    unit: fn(f64) -> Figure,
    by_round: Vec<f64>,
}

impl Row {
    /// A figure that each round has.
    pub(crate) fn new(key: &str, label: &str, unit: fn(f64) -> Figure, by_round: &[f64]) -> Self {
        Self {
            key: key.into(),
            label: label.into(),
            unit,
            by_round: by_round.into(),
        }
    }

    /// The quantiles of all rounds together; keys begin with `prefix`, labels with `name`.
    pub(crate) fn quantiles(prefix: &str, name: &str, latency: &Latency) -> [Self; 5] {
        quantiles(latency).map(|(key, label, us)| Self {
            key: format!("{prefix}{key}"),
            label: format!("{name}{label}"),
            unit: Figure::Micros,
            by_round: vec![us],
        })
    }

    fn median(&self) -> Figure {
        (self.unit)(median(self.by_round.iter().copied()))
    }
}

/// Adds the medians of all rows that were measured.
pub(crate) fn add_alone(report: &mut Report, rows: &[Row]) {
    for row in rows.iter().filter(|row| !row.by_round.is_empty()) {
        report.add(&row.key, &row.label, row.median());
    }
}

/// Adds the medians of the server beside those of the floor. A ratio is the median of the rounds'
/// own ratios, since a shared machine drifts from round to round by more than two servers differ.
pub(crate) fn add_beside(report: &mut Report, floor: &[Row], server: &[Row]) {
    report.note("", &["floor", "server", "server/floor"]);
    for server in server.iter().filter(|row| !row.by_round.is_empty()) {
        let floor = floor.iter().find(|row| row.key == server.key);
        let Some(floor) = floor.filter(|row| !row.by_round.is_empty()) else {
            let figure = server.median();
            report.json(&server.key, figure.json());
            report.note(&server.label, &["", &figure.shown()]);
            continue;
        };
        let by_round = server.by_round.iter().zip(&floor.by_round);
        let ratio = median(by_round.map(|(&server, &floor)| ratio(server, floor)));
        let (key, label) = (&server.key, &server.label);
        report.compare(key, label, floor.median(), server.median(), ratio);
    }
}
