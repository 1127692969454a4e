//! Random things done to a store, a plain model beside it: they have to agree, also after a start,
//! a crash, a loss of power, and when the disk fails.

use std::path::Path;
use std::sync::Arc;

use super::broken::{Disk, EIO, ENOSPC, Fault};
use super::common::settings;
use super::dice::Dice;
use super::model::{DEDUP_MS, Model, Step, retention};
use crate::store::{Journal, MemoryStore, Store, StoreError, StoreSettings, SyncPolicy};

/// Rounds from the environment: some here, many once before a release.
pub(super) fn rounds(short: u64) -> u64 {
    let rounds = std::env::var("TIDINGS_STORE_ROUNDS").ok();
    rounds.map_or(short, |rounds| rounds.parse().expect("a number of rounds"))
}

fn small(dice: &mut Dice) -> StoreSettings {
    StoreSettings {
        segment_bytes_max: *dice.pick(&[600, 2_000, 10_000, 1 << 20]),
        bytes_max: *dice.pick(&[30_000, 1 << 30]),
        upkeep_records_max: *dice.pick(&[1, 3, 1_024]),
        dedup_ms: DEDUP_MS,
        retention: Arc::new(retention),
        ..settings(Path::new("/store"))
    }
}

/// A store and its model.
pub(super) struct Pair {
    pub(super) model: Model,
    pub(super) dice: Dice,
    pub(super) settings: StoreSettings,
    pub(super) now: u64,
    number: u64,
}

/// What became of a batch.
pub(super) enum Batch {
    Committed,
    /// The store may have it or not, but as a whole.
    Failed(Model),
}

impl Pair {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let settings = small(&mut dice);
        Self {
            model: Model::default(),
            dice,
            settings,
            now: Model::first_moment(),
            number: 0,
        }
    }

    /// Some records and a commit.
    pub(super) fn batch(&mut self, store: &mut dyn Store) -> Batch {
        let mut model = self.model.clone();
        for _ in 0..self.dice.below(12) + 1 {
            self.number += 1;
            let mut step = Step::random(&mut self.dice, self.number);
            if self.settings.bytes_max < 1 << 30 {
                // What had to go takes with it, at a start, what was known of repeats.
                step = step.without_sameness();
            }
            let mut next = model.clone();
            let expected = next.take(&step, self.now);
            match step.append(store, self.now) {
                Ok(appended) => {
                    assert_eq!(appended, expected, "{step:?}");
                    model = next;
                }
                Err(error) => assert!(is_trouble(&error), "{error:?}"),
            }
        }
        model.settle();
        match store.commit() {
            Ok(()) => {
                self.model = model;
                for _ in 0..self.dice.below(4) {
                    store.upkeep();
                }
                Batch::Committed
            }
            Err(error) => {
                assert!(is_trouble(&error), "{error:?}");
                Batch::Failed(model)
            }
        }
    }

    /// Time goes by.
    pub(super) fn pass(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        self.now += *self.dice.pick(&[0, 1_000, 2_000, 15_000]);
        self.model.expire(self.now);
        store.maintain(self.now)
    }

    /// The store says what the model says.
    pub(super) fn compare(&mut self, store: &dyn Store) {
        let seen = self.look(store);
        assert_eq!(seen, self.model);
    }

    pub(super) fn look(&mut self, store: &dyn Store) -> Model {
        let seen = Model::of(&*store.reader(), &self.model);
        if self.settings.bytes_max < 1 << 30 {
            self.model.let_go(&seen);
        }
        seen
    }
}

fn is_trouble(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Failed { .. } | StoreError::DiskFull { .. } | StoreError::Io { .. }
    )
}

#[test]
fn a_store_in_memory_does_what_the_model_does() {
    for seed in 0..rounds(40) {
        let mut pair = Pair::new(seed);
        let mut store = MemoryStore::new(pair.settings.clone());
        for _ in 0..60 {
            assert!(matches!(pair.batch(&mut store), Batch::Committed));
            pair.pass(&mut store).unwrap();
            pair.compare(&store);
        }
    }
}

#[test]
fn a_journal_does_what_the_model_does_over_starts_and_crashes() {
    let (mut starts, mut torn, mut moved, mut dropped) = (0, 0, 0, 0);
    for seed in 0..rounds(60) {
        let disk = Disk::default();
        let mut pair = Pair::new(seed);
        let mut store = open(&disk, &pair.settings).unwrap();
        for _ in 0..40 {
            assert!(matches!(pair.batch(&mut store), Batch::Committed), "{seed}");
            pair.pass(&mut store).unwrap();
            pair.compare(&store);
            let end = pair.dice.below(12);
            if end >= 4 {
                continue;
            }
            starts += 1;
            let totals = store.reader().totals();
            moved += totals.moved;
            dropped += u64::from(totals.bytes < pair.settings.bytes_max && totals.trimmed > 0);
            let mut unfinished = pair.model.clone();
            if end > 0 {
                if pair.dice.below(2) == 0 {
                    // Somewhere in the middle of the next batch, or of what is due then.
                    let nth = pair.dice.below(6);
                    let written = pair.dice.below(2_000) as usize;
                    disk.fail(nth, 1, Fault::Power { written });
                    if let Batch::Failed(model) = pair.batch(&mut store) {
                        unfinished = model;
                    }
                    _ = store.maintain(pair.now);
                }
                disk.die();
            }
            drop(store);
            match end {
                0 => {}
                1 => disk.revive(),
                _ => disk.revive_from_power_loss(&mut pair.dice),
            }
            store = open(&disk, &pair.settings).unwrap_or_else(|e| panic!("{seed}: {e:?}"));
            torn += store.reader().totals().torn_bytes;
            pair.model.expire(pair.now);
            unfinished.expire(pair.now);
            store.maintain(pair.now).unwrap();
            let seen = pair.look(&store);
            if seen != pair.model {
                unfinished.let_go(&seen);
                let seen = Model::of(&*store.reader(), &unfinished);
                assert_eq!(seen, unfinished, "{seed}: neither is it {:#?}", pair.model);
                pair.model = unfinished;
            }
        }
    }
    // Otherwise nothing was tried.
    assert!(starts > 0 && torn > 0 && moved > 0 && dropped > 0);
    println!("{starts} starts, {torn} torn bytes, {moved} records moved");
}

#[test]
fn a_journal_does_what_the_model_does_on_a_disk_that_fails() {
    let (mut failures, mut recovered) = (0, 0);
    for seed in 0..rounds(60) {
        let disk = Disk::default();
        let mut pair = Pair::new(seed);
        let mut store = open(&disk, &pair.settings).unwrap();
        for _ in 0..30 {
            if pair.dice.below(3) == 0 {
                let fault = match pair.dice.below(5) {
                    0 => Fault::Forgets,
                    code => Fault::Error {
                        code: if code < 3 { EIO } else { ENOSPC },
                        written: pair.dice.below(400) as usize,
                    },
                };
                disk.fail(pair.dice.below(12), pair.dice.below(4) + 1, fault);
            }
            failures += u64::from(matches!(pair.batch(&mut store), Batch::Failed(_)));
            _ = pair.pass(&mut store);
            disk.heal();
            pair.compare(&store);
            let mut tries = 0;
            while let Err(error) = store.maintain(pair.now) {
                pair.now += 1_000;
                pair.model.expire(pair.now);
                tries += 1;
                assert!(tries < 10, "{seed}: it doesn't recover: {error:?}");
            }
            recovered += tries;
            pair.compare(&store);
            if pair.dice.below(4) == 0 {
                if pair.dice.below(2) == 0 {
                    disk.die();
                }
                drop(store);
                if disk.is_dead() {
                    disk.revive_from_power_loss(&mut pair.dice);
                }
                store = open(&disk, &pair.settings).unwrap_or_else(|e| panic!("{seed}: {e:?}"));
                store.maintain(pair.now).unwrap();
                pair.compare(&store);
            }
        }
    }
    assert!(failures > 0 && recovered > 0);
    println!("{failures} failed commits, {recovered} tries to recover");
}

#[test]
fn without_a_sync_for_each_batch_a_crash_of_the_process_loses_nothing() {
    for sync in [SyncPolicy::Os, SyncPolicy::IntervalMs(3_000)] {
        for seed in 0..rounds(30) {
            let disk = Disk::default();
            let mut pair = Pair::new(seed);
            pair.settings.sync = sync;
            let mut store = open(&disk, &pair.settings).unwrap();
            for _ in 0..30 {
                assert!(matches!(pair.batch(&mut store), Batch::Committed));
                pair.pass(&mut store).unwrap();
                if pair.dice.below(6) == 0 {
                    disk.die();
                    drop(store);
                    disk.revive();
                    store = open(&disk, &pair.settings).unwrap();
                    store.maintain(pair.now).unwrap();
                }
                pair.compare(&store);
            }
        }
    }
}

#[test]
fn without_a_sync_for_each_batch_a_loss_of_power_leaves_a_beginning() {
    for sync in [SyncPolicy::Os, SyncPolicy::IntervalMs(3_000)] {
        for seed in 0..rounds(60) {
            let disk = Disk::default();
            let mut pair = Pair::new(seed);
            pair.settings.sync = sync;
            pair.settings.bytes_max = 1 << 30;
            let mut store = open(&disk, &pair.settings).unwrap();
            let mut lives = vec![pair.model.clone()];
            for _ in 0..pair.dice.below(30) + 1 {
                assert!(matches!(pair.batch(&mut store), Batch::Committed));
                pair.pass(&mut store).unwrap();
                lives.push(pair.model.clone());
            }
            disk.die();
            drop(store);
            disk.revive_from_power_loss(&mut pair.dice);
            store = open(&disk, &pair.settings).unwrap_or_else(|e| panic!("{seed}: {e:?}"));
            store.maintain(pair.now).unwrap();
            let reader = store.reader();
            let is_one = lives.iter_mut().any(|life| {
                life.expire(pair.now);
                Model::of(&*reader, life) == *life
            });
            assert!(is_one, "{seed}");
        }
    }
}

pub(super) fn open(disk: &Disk, settings: &StoreSettings) -> Result<Journal, StoreError> {
    Journal::open_on(Arc::new(disk.clone()), settings.clone())
}
