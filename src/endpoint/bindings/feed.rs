//! The way of bindings to their store, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::BindingSettings;
use crate::base::Metric;
use crate::base::clock::{random, unix_ms};
use crate::chat::{BindingNode, BindingQueue, BindingStore};

/// Bits of a generation: as many as a double holds exactly, for readers whose numbers are doubles.
const GENERATION_BITS: u32 = 50;

/// The way to the store, as the thread and those who ask for numbers share it.
pub(in crate::endpoint) struct BindingFeed {
    pub(in crate::endpoint) queue: Arc<BindingQueue>,
    pub(super) store: Arc<dyn BindingStore>,
    pub(super) node: BindingNode,
    pub(super) gather: Duration,
    /// Whether the generation was handed over, and so stands in the store already.
    pub(super) is_known: bool,
    pub(super) is_connected: AtomicBool,
    pub(super) is_displaced: AtomicBool,
    pub(super) written: AtomicU64,
    pub(super) compared: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) beats: AtomicU64,
}

impl BindingFeed {
    /// Makes the way to a store, for a generation that was handed over or a new one.
    pub(in crate::endpoint) fn new(settings: &BindingSettings, generation: Option<u64>) -> Self {
        let new = || (random() >> (u64::BITS - GENERATION_BITS)).max(1);
        Self {
            queue: Arc::new(BindingQueue::new(
                settings.store.scope(),
                settings.changes_max,
            )),
            store: Arc::clone(&settings.store),
            node: BindingNode {
                name: settings.node.clone(),
                generation: generation.unwrap_or_else(new),
                started_unix_ms: unix_ms(),
            },
            gather: Duration::from_millis(settings.gather_ms),
            is_known: generation.is_some(),
            is_connected: AtomicBool::new(false),
            is_displaced: AtomicBool::new(false),
            written: AtomicU64::new(0),
            compared: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            beats: AtomicU64::new(0),
        }
    }

    /// Returns the number of this start.
    pub(in crate::endpoint) fn generation(&self) -> u64 {
        self.node.generation
    }

    /// Describes what became of the bindings.
    pub(in crate::endpoint) fn described(&self) -> Vec<Metric> {
        vec![
            Metric::flag(
                "connected",
                "1 while the store of the bindings answers.",
                self.is_connected.load(Relaxed),
            ),
            Metric::flag(
                "displaced",
                "1 while another server has this one's name in the store; nothing is written then.",
                self.is_displaced.load(Relaxed),
            ),
            Metric::gauge(
                "changes",
                "Rows that wait to be written, against `changes_max`.",
                self.queue.size() as u64,
            ),
            Metric::counter(
                "overflows",
                "Times that more rows waited than may, so that all were compared instead.",
                self.queue.overflows(),
            ),
            Metric::counter("written", "Rows written.", self.written.load(Relaxed)),
            Metric::counter(
                "compared",
                "Times that all rows were compared with those in the store.",
                self.compared.load(Relaxed),
            ),
            Metric::counter(
                "failures",
                "Times that the store was out of reach or refused.",
                self.failures.load(Relaxed),
            ),
            Metric::counter("beats", "Signs of life written.", self.beats.load(Relaxed)),
        ]
    }
}
