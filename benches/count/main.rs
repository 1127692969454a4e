//! Instructions and allocations an operation, counted by callgrind and compared with what is kept:
//! `cargo bench --profile count --no-default-features --features chat --bench count`.
//!
//! Time tells little on a machine that others use too; instructions are the same in every run, to a
//! part in a thousand. Each operation has two lines in `baselines.txt`. This program starts itself
//! under `valgrind --tool=callgrind` twice an operation, with few rounds and with many; their
//! difference is what the rounds cost, without the start and the preparation.
//!
//! Some operations are counted at two sizes instead, with little there and with much: the second may
//! not be dearer than the first by more than its own tolerance.
//!
//! A count above its baseline by more than the tolerance fails, and so does one below: then the
//! baseline would hide what is lost next. `-- --renew` writes the baselines anew. They hold for one
//! rustc, which stands beside them; with another one nothing can be compared, and that fails too,
//! since a comparison that is skipped is missed by nobody.

mod crowded;
mod operations;

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use crowded::CROWDED;
use operations::{OPERATIONS, Operation};

/// Per cent by which a count may differ from its baseline. The same program counts the same to a
/// part in a thousand, and so did two builds between which modules and types were renamed. What is
/// left is for the compiler, which may inline otherwise when the code around an operation changes.
const TOLERANCE_PERCENT: f64 = 3.0;

/// Per cent by which an operation may be dearer where much is there. Names are found in tables, at the
/// same price however many there are; a search in a tree takes a third to a half more among a thousand
/// times as many, and a walk a multiple.
const GROWTH_PERCENT_MAX: f64 = 20.0;

/// Rounds of the first run and of the second.
const FEW: u64 = 1_000;
const MANY: u64 = 5_000;

const USAGE: &str =
    "cargo bench --profile count --no-default-features --features chat --bench count -- --renew";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["--run", name, rounds] => run(name, rounds),
        _ if arguments.contains(&"--renew") => renew(),
        _ => compare(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("count: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What runs under callgrind.
fn run(name: &str, rounds: &str) -> Result<(), String> {
    let crowded = CROWDED.iter().flat_map(|(little, much)| [little, much]);
    let operation = OPERATIONS
        .iter()
        .chain(crowded)
        .find(|operation| operation.name == name);
    let operation = operation.ok_or_else(|| format!("there is no operation {name}"))?;
    let rounds = rounds.parse().map_err(|_| format!("{rounds} rounds"))?;
    (operation.run)(rounds);
    Ok(())
}

fn renew() -> Result<(), String> {
    let mut text = format!(
        "# Instructions and allocations an operation, for this compiler; see benches/count/main.rs. To renew:\n# {USAGE}\n\
         rustc {}\n",
        compiler()?
    );
    for (name, count) in count_all()? {
        writeln!(text, "{name} {count:.1}").expect("a String takes every byte");
    }
    fs::write(baselines_path(), &text).map_err(|error| format!("baselines.txt: {error}"))?;
    print!("{text}");
    Ok(())
}

fn compare() -> Result<(), String> {
    let kept = fs::read_to_string(baselines_path());
    let kept = kept.map_err(|error| format!("baselines.txt: {error}; {USAGE} makes it"))?;
    let mut baselines = BTreeMap::new();
    for line in kept.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        baselines.insert(name, value);
    }
    let (kept, ours) = (baselines.remove("rustc").unwrap_or("?"), compiler()?);
    if kept != ours {
        return Err(format!(
            "the baselines are those of rustc {kept}, and this is {ours}: take that one, or renew \
             them at a commit that is known to be good: {USAGE}"
        ));
    }
    let mut wrong = 0;
    for (name, count) in count_all()? {
        let baseline = baselines
            .remove(&*name)
            .and_then(|value| value.parse().ok());
        let verdict = match baseline {
            None => Some("has no baseline".to_owned()),
            Some(baseline) => judge(baseline, count),
        };
        let baseline =
            baseline.map_or_else(|| "-".into(), |baseline: f64| format!("{baseline:.1}"));
        let shown = verdict.as_deref().unwrap_or("");
        println!("{name:<36} {count:>10.1}, baseline {baseline:>10}  {shown}");
        wrong += usize::from(verdict.is_some());
    }
    for name in baselines.keys() {
        println!("{name:<36} has a baseline, and is not counted any more");
        wrong += 1;
    }
    let grown = compare_sizes()?;
    match wrong {
        0 if !grown.is_empty() => Err(format!(
            "dearer by more than {GROWTH_PERCENT_MAX} % where much is there: {}",
            grown.join(", ")
        )),
        0 => Ok(()),
        wrong => Err(format!(
            "{wrong} of the counts are not as they were, by more than {TOLERANCE_PERCENT} %. If that \
             is meant, say why in the commit, and renew benches/baselines.txt: {USAGE}"
        )),
    }
}

/// The operations that grow with what is there.
fn compare_sizes() -> Result<Vec<&'static str>, String> {
    let mut grown = Vec::new();
    for (little, much) in CROWDED {
        let ([(_, few), _], [(_, many), _]) = in_parallel(|| count(little), || count(much))?;
        let percent = (many - few) * 100.0 / few;
        println!(
            "{:<24} {many:>10.1}, {} {few:.1}: {percent:+.1} %",
            much.name, little.name
        );
        if percent > GROWTH_PERCENT_MAX {
            grown.push(much.name);
        }
    }
    Ok(grown)
}

/// What is wrong with a count, if anything is.
fn judge(baseline: f64, count: f64) -> Option<String> {
    if baseline == 0.0 {
        // One in twenty rounds is growth of a table.
        return (count >= 0.05).then(|| format!("+{count:.1}"));
    }
    let percent = (count - baseline) * 100.0 / baseline;
    (percent.abs() > TOLERANCE_PERCENT).then(|| format!("{percent:+.1} %"))
}

/// Instructions and allocations of each operation, by their names; two at a time, since valgrind
/// uses one processor.
fn count_all() -> Result<Vec<(String, f64)>, String> {
    let half = OPERATIONS.len() / 2;
    let (first, second) = OPERATIONS.split_at(half);
    let count = |part: &[Operation]| {
        let counts = part.iter().map(count).collect::<Result<Vec<_>, _>>();
        counts.map(|counts| counts.concat())
    };
    let (first, second) = in_parallel(|| count(first), || count(second))?;
    Ok([first, second].concat())
}

fn in_parallel<T: Send>(
    first: impl FnOnce() -> Result<T, String> + Send,
    second: impl FnOnce() -> Result<T, String>,
) -> Result<(T, T), String> {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second()?;
        Ok((first.join().expect("it doesn't panic")?, second))
    })
}

fn count(operation: &Operation) -> Result<[(String, f64); 2], String> {
    let name = operation.name;
    let (few, few_allocations) = whole_run(name, FEW)?;
    let (many, many_allocations) = whole_run(name, MANY)?;
    let a_round = |few: u64, many: u64| (many - few) as f64 / (MANY - FEW) as f64;
    Ok([
        (name.into(), a_round(few, many)),
        (
            format!("{name}-allocations"),
            a_round(few_allocations, many_allocations),
        ),
    ])
}

/// Instructions and allocations of a whole run.
fn whole_run(name: &str, rounds: u64) -> Result<(u64, u64), String> {
    let this = env::current_exe().map_err(|error| error.to_string())?;
    let out = env::temp_dir().join(format!("callgrind.{}.{name}", std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--error-exitcode=1"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(this)
        .args(["--run", name, &rounds.to_string()])
        // Nothing of the surroundings may choose an implementation.
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default());
    let ran = valgrind.output();
    let ran = ran.map_err(|error| format!("valgrind: {error} (tests/tools/install gets it)"))?;
    let written = fs::read_to_string(&out);
    fs::remove_file(&out).ok();
    let total = written.ok().and_then(|written| {
        let line = written
            .lines()
            .find_map(|line| line.strip_prefix("totals: "));
        let total = line.and_then(|total| total.trim().parse().ok());
        total.map(|total: u64| (total, allocations(&written)))
    });
    total.ok_or_else(|| {
        let told = String::from_utf8_lossy(&ran.stderr);
        format!("callgrind counted nothing of {name}: {told}")
    })
}

/// Calls of the functions that give memory, in what callgrind has written: a name stands only where
/// it comes first, a number everywhere.
fn allocations(written: &str) -> u64 {
    let (mut names, mut called, mut calls) = (HashMap::new(), "", 0);
    for line in written.lines() {
        if let Some((kind, function)) = line.split_once("fn=") {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if kind == "c" {
                called = names.get(number).copied().unwrap_or("");
            }
        } else if let Some(rest) = line.strip_prefix("calls=")
            && [
                "malloc",
                "calloc",
                "realloc",
                "posix_memalign",
                "aligned_alloc",
            ]
            .contains(&called)
        {
            let count = rest.split(' ').next().unwrap_or("");
            calls += count.parse::<u64>().unwrap_or(0);
        }
    }
    calls
}

/// `1.95.0 (59807616e 2026-04-14)`.
fn compiler() -> Result<String, String> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let told = Command::new(rustc).arg("--version").output();
    let told = told.map_err(|error| format!("rustc: {error}"))?.stdout;
    let told = String::from_utf8_lossy(&told);
    Ok(told.trim().trim_start_matches("rustc ").to_owned())
}

fn baselines_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baselines.txt")
}
