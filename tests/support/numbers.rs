//! The two shapes in which a front shows its numbers.

use std::collections::BTreeSet;

use serde_json::Value;

/// The names of all numbers in the JSON of `/v1/stats`, as `/metrics` should have them.
fn names_of_stats(stats: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (key, value) in stats.as_object().unwrap() {
        let mut of_object = |value: &Value, prefix: &str| {
            for (name, value) in value.as_object().unwrap() {
                // A pid tells processes apart; it counts nothing.
                if (value.is_u64() || value.is_boolean()) && name != "pid" {
                    names.insert(format!("{prefix}{name}"));
                }
            }
        };
        match value {
            Value::Object(_) if key == "totals" => of_object(value, ""),
            Value::Object(_) => of_object(value, &format!("{key}_")),
            Value::Array(rows) => {
                let row = match &**key {
                    "mailboxes" => "mailbox",
                    "processes" => "process",
                    plural => plural.strip_suffix('s').unwrap(),
                };
                rows.iter()
                    .for_each(|value| of_object(value, &format!("{row}_")));
            }
            Value::Number(_) | Value::Bool(_) => drop(names.insert(key.clone())),
            Value::String(_) | Value::Null => {}
        }
    }
    names
}

/// Checks that `/v1/stats` and `/metrics` show the same numbers under the same names.
#[track_caller]
pub fn assert_same_names(stats: &Value, metrics: &str, prefix: &str) {
    let lines = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let names = lines.map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = name.strip_prefix(prefix).unwrap();
        match kind {
            "counter" => name.strip_suffix("_total").unwrap().to_owned(),
            _ => name.to_owned(),
        }
    });
    let of_metrics: BTreeSet<String> = names.collect();
    let of_stats = names_of_stats(stats);
    let apart: Vec<_> = of_stats.symmetric_difference(&of_metrics).collect();
    assert!(apart.is_empty(), "only in one of the two: {apart:?}");
    assert!(of_stats.len() > 15, "{of_stats:?}");
}
