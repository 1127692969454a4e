//! The journeys of `src/architecture.rs`: each names files that are there, forms that stand in them,
//! and counts both as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One journey: its heading, and what its section says.
struct Journey<'a> {
    heading: &'a str,
    /// `12 files, 6 forms.`
    counts: Option<&'a str>,
    steps: Vec<Step<'a>>,
}

/// One line of a journey's table.
struct Step<'a> {
    /// The file, below `src`.
    file: &'a str,
    /// The types that are the message's form in that file.
    forms: Vec<&'a str>,
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn step(line: &str) -> Option<Step<'_>> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').collect();
    let [_thread, file, _does, form, _end] = *cells else {
        return None;
    };
    Some(Step {
        // The heading of the table quotes none.
        file: quoted(file).first().copied()?,
        forms: quoted(form),
    })
}

fn journeys(text: &str) -> Vec<Journey<'_>> {
    let mut journeys: Vec<Journey<'_>> = Vec::new();
    let lines = text.lines().filter_map(|line| line.strip_prefix("//! "));
    for line in lines.skip_while(|line| *line != "# Journeys").skip(1) {
        if let Some(heading) = line.strip_prefix("## ") {
            journeys.push(Journey {
                heading,
                counts: None,
                steps: Vec::new(),
            });
        } else if line.starts_with("# ") {
            break;
        } else if let Some(journey) = journeys.last_mut() {
            journey.steps.extend(step(line));
            if line.ends_with(" forms.") {
                journey.counts = Some(line);
            }
        }
    }
    journeys
}

#[test]
fn the_journeys_name_the_files_and_forms_that_are_there_and_count_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let text = fs::read_to_string(source.join("architecture.rs")).unwrap();
    let journeys = journeys(&text);
    assert_eq!(journeys.len(), 3, "a message in, a stored say, a POST");
    for Journey {
        heading,
        counts,
        steps,
    } in journeys
    {
        let (mut files, mut forms) = (BTreeSet::new(), BTreeSet::new());
        for step in &steps {
            let code = fs::read_to_string(source.join(step.file))
                .unwrap_or_else(|error| panic!("{heading}: {}: {error}", step.file));
            for form in &step.forms {
                let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
                let is_there = words.any(|word| word == *form);
                assert!(is_there, "{heading}: {} knows no {form}", step.file);
            }
            files.insert(step.file);
            forms.extend(step.forms.iter().copied());
        }
        let counted = format!("{} files, {} forms.", files.len(), forms.len());
        assert_eq!(counts, Some(&*counted), "{heading}");
    }
}
