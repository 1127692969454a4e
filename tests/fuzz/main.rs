//! The fuzz targets as an ordinary test: every input of the corpus, and inputs made of those.
//!
//! `TIDINGS_FUZZ_ROUNDS=20000 cargo test --test fuzz` makes so many inputs of each that is kept,
//! and `TIDINGS_FUZZ_SEED=7` other ones. What fails is written to a file and named; put it into the
//! corpus once it is mended. CONTRIBUTING.md tells how the fuzzer itself is run.
#![cfg(feature = "chat")]

mod mutate;
mod targets;

use std::env;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use mutate::{Dice, mutate};
use targets::TARGETS;

/// Inputs that are made of each of the corpus: enough to find what a careless change breaks, and
/// about a second of a test without optimisation.
const ROUNDS: u64 = 40;

/// Files of a corpus at the least: fewer would mean that a folder was lost.
const CORPUS_MIN: usize = 20;

fn from_environment(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(number) => number
            .parse()
            .unwrap_or_else(|_| panic!("{name} has to be a number")),
        Err(_) => default,
    }
}

/// The kept inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let files = fs::read_dir(folder.join(target)).expect("a target has a corpus");
    let mut inputs: Vec<_> = files
        .map(|file| file.expect("a readable folder").path())
        .map(|path| (path.clone(), fs::read(path).expect("a readable file")))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= CORPUS_MIN, "{target}: {}", inputs.len());
    inputs
}

/// Tries an input; keeps and names one that fails.
fn attempt((name, target): targets::Target, input: &[u8], origin: &str) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| target(input))) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        fs::write(&path, input).expect("a writable folder");
        eprintln!(
            "{name} failed on {origin}, which is kept in {}",
            path.display()
        );
        panic::resume_unwind(panic);
    }
}

fn run(target: targets::Target) {
    let (name, _) = target;
    let (rounds, seed) = (
        from_environment("TIDINGS_FUZZ_ROUNDS", ROUNDS),
        from_environment("TIDINGS_FUZZ_SEED", 1),
    );
    let corpus = corpus(name);
    for (path, input) in &corpus {
        attempt(target, input, &path.display().to_string());
    }
    for (path, input) in &corpus {
        for round in 0..rounds {
            // Each by itself, so that a new file in the corpus changes little for the others.
            let place = input.len() as u64 ^ round.rotate_left(20) ^ seed.rotate_left(40);
            let mut dice = Dice::new(place);
            let (_, other) = &corpus[dice.below(corpus.len())];
            let mut mutated = input.clone();
            mutate(&mut mutated, other, &mut dice);
            let origin = format!("{}, seed {seed}, round {round}", path.display());
            attempt(target, &mutated, &origin);
        }
    }
}

#[test]
fn a_head_is_the_same_however_it_is_cut_and_within_its_bounds() {
    run(TARGETS[0]);
}

#[test]
fn a_body_is_the_same_however_it_is_cut_and_what_its_chunks_say() {
    run(TARGETS[1]);
}

#[test]
fn a_handshake_is_answered_as_tungstenite_does() {
    run(TARGETS[2]);
}

#[test]
fn frames_of_a_client_are_what_tungstenite_takes_them_for() {
    run(TARGETS[3]);
}

#[test]
fn a_frame_of_a_link_is_understood_by_both_ends() {
    run(TARGETS[4]);
}

#[test]
fn nothing_is_told_of_a_journal_that_is_not_there() {
    run(TARGETS[5]);
}

#[test]
fn a_handover_is_read_to_its_end_or_refused() {
    run(TARGETS[6]);
}

#[cfg(feature = "deflate")]
#[test]
fn whatever_comes_compressed_is_inflated_within_its_bound() {
    run(TARGETS[7]);
}
