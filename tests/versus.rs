//! `benches/versus/run` and `growth`, which measure this server beside others, and the tables in
//! README.md that come from them. Who else is installed doesn't matter here.
//!
//! A program of its own, since it loads both cores, and others' tests have deadlines.
#![cfg(feature = "cli")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

fn script(name: &str) -> Command {
    let mut command = Command::new(root().join("benches/versus").join(name));
    command.args(["--program", env!("CARGO_BIN_EXE_tidings")]);
    command
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script to its end; gives what it printed.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

/// The tables of a text, each a head and its rows; all rows have as many cells as their head.
fn tables(text: &str) -> Vec<Vec<Vec<String>>> {
    let mut tables = Vec::new();
    let mut table: Vec<Vec<String>> = Vec::new();
    for line in text.lines().chain([""]) {
        if let Some(row) = line.strip_prefix('|') {
            let row = row.strip_suffix('|').expect("a row ends with a bar");
            table.push(row.split('|').map(|cell| cell.trim().to_owned()).collect());
        } else if !table.is_empty() {
            let table = std::mem::take(&mut table);
            assert!(table.len() >= 3, "a head, a rule, a row: {table:?}");
            assert!(
                table[1].iter().all(|cell| cell.starts_with("---")),
                "{table:?}"
            );
            for row in &table {
                assert_eq!(row.len(), table[0].len(), "{row:?} below {:?}", table[0]);
            }
            tables.push(table);
        }
    }
    tables
}

/// The first number of a cell such as `5.52 (5.31–5.74)`.
fn figure(cell: &str) -> f64 {
    let digits = cell.split(' ').next().unwrap_or_default().replace(',', "");
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no figure: {cell}"))
}

#[test]
fn this_server_and_its_floor_are_measured_in_turns() {
    let folder = TempDir::new().unwrap();
    let (json, page) = (
        folder.path().join("rounds.json"),
        folder.path().join("page.md"),
    );
    let page_with = |text: &str| {
        format!("before\n<!-- versus: begin -->\n{text}\n<!-- versus: end -->\nbehind\n")
    };
    fs::write(&page, page_with("an older table")).unwrap();
    let text = printed(
        script("run")
            .args([
                "--only",
                "echo-1,get,room-1000-8,stored-batch,floor,tidings-0",
            ])
            .args(["--rounds", "2", "--seconds", "0.2", "--json"])
            .arg(&json)
            .arg("--write")
            .arg(&page)
            .arg("--folder")
            .arg(folder.path()),
    );
    assert!(!text.contains("What went wrong"), "{text}");
    assert!(text.contains("Others on the machine used "), "{text}");
    let tables = tables(&text);
    assert_eq!(tables.len(), 3, "{text}");
    for row in tables.iter().flat_map(|table| &table[2..]) {
        for cell in &row[1..] {
            assert!(figure(cell) > 0.0, "{cell} in {text}");
        }
    }
    let rounds = fs::read_to_string(&json).unwrap();
    let rounds: Vec<Value> = rounds
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        rounds.len(),
        4 * 2 * 2,
        "scenarios, servers, rounds: {rounds:?}"
    );
    for round in rounds {
        assert_eq!(round["failures"], 0, "{round}");
        assert!(round["foreign_percent"].as_f64().unwrap() >= 0.0, "{round}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(
        left.len(),
        2,
        "only the rounds and the page are left: {left:?}"
    );
    let written = fs::read_to_string(&page).unwrap();
    assert_eq!(written, page_with(text.trim()));
}

#[test]
fn growth_is_told_beside_the_floors_own() {
    for (part, sizes) in [
        ("connections", "10,50"),
        ("rooms", "10,150"),
        ("messages", "50,2000"),
    ] {
        let text = printed(
            script("growth")
                .args(["--only", part, "--sizes", sizes])
                .args(["--rounds", "1", "--seconds", "0.2"]),
        );
        let [table] = &tables(&text)[..] else {
            panic!("{part}: {text}");
        };
        assert_eq!(table.len(), 2 + 2, "a row for each size: {text}");
        for cell in table[2..].iter().flat_map(|row| &row[1..]) {
            assert!(figure(cell) > 0.0, "{cell} in {text}");
        }
        assert!(text.contains(" of the floor, so × "), "{text}");
    }
}

/// Servers and generators below a process: their numbers. What else is there, such as a shell that
/// looks for python, comes and goes.
fn tidings_below(of: u32) -> BTreeSet<u32> {
    let is_tidings = |pid: &u32| {
        let program = fs::read_link(format!("/proc/{pid}/exe"));
        program.is_ok_and(|path| path == Path::new(env!("CARGO_BIN_EXE_tidings")))
    };
    descendants(of).into_iter().filter(is_tidings).collect()
}

/// The processes below this one: their numbers.
fn descendants(of: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    let tasks = fs::read_dir(format!("/proc/{of}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().map(|pid| pid.parse().unwrap()) {
            all.insert(child);
            all.extend(descendants(child));
        }
    }
    all
}

#[test]
fn whoever_stops_it_leaves_no_server_and_no_folder_behind() {
    for signal in ["INT", "TERM"] {
        let folder = TempDir::new().unwrap();
        let mut run = script("run")
            .args([
                "--only",
                "stored-one,floor,tidings-1",
                "--seconds",
                "60",
                "--folder",
            ])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let since = Instant::now();
        // Both servers and the generator.
        let mut below = BTreeSet::new();
        while below.len() < 3 {
            below = tidings_below(run.id());
            assert!(since.elapsed() < PATIENCE, "only {below:?} came about");
            std::thread::yield_now();
        }
        let pid = run.id().to_string();
        let told = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(told.unwrap().success());
        assert!(!run.wait().unwrap().success(), "it was told to stop");
        for pid in below {
            let left = PathBuf::from(format!("/proc/{pid}"));
            assert!(!left.exists(), "{pid} is left after SIG{signal}");
        }
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?} after SIG{signal}");
    }
}

#[test]
fn the_tables_of_the_readme_stand_between_their_markers_and_have_figures() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for name in ["versus", "growth"] {
        let (begin, end) = (
            format!("<!-- {name}: begin -->"),
            format!("<!-- {name}: end -->"),
        );
        let (_, rest) = readme
            .split_once(&begin)
            .unwrap_or_else(|| panic!("no {begin}"));
        let (text, rest) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
        assert!(
            !rest.contains(&begin) && !rest.contains(&end),
            "{name} twice"
        );
        assert!(
            text.contains(&format!("`benches/versus/{}`", command(name))),
            "{text}"
        );
        let tables = tables(text);
        assert!(!tables.is_empty(), "{name} has no table");
        for row in tables.iter().flat_map(|table| &table[2..]) {
            let figures = row.iter().filter(|cell| cell.contains('–'));
            for cell in figures {
                assert!(figure(cell) > 0.0, "{row:?}");
            }
        }
    }
}

/// The script that writes the tables of this name.
fn command(name: &str) -> &str {
    match name {
        "versus" => "run",
        name => name,
    }
}
